//! Every code that anybody can meet has its page, and every page is of a code that there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use doorward::explain::pages;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{ALICE, Recorder, STAFF_MAY_ALL, Speaks, World, doorward};

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the project").join("crates")
}

/// The source of a file or of a folder, without its tests.
fn source(place: &str) -> String {
    let mut text = String::new();
    let mut places = vec![crates().join(place)];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = fs::read_dir(&place).expect("a folder").filter_map(Result::ok);
            places.extend(entries.map(|entry| entry.path()));
        } else {
            let whole = fs::read_to_string(&place).expect("a source file");
            text.push_str(whole.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
    text
}

/// The first text after each place where one of `marks` stands.
fn texts(source: &str, marks: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for mark in marks {
        for rest in source.split(mark).skip(1) {
            if let Some(rest) = rest.trim_start().strip_prefix('"') {
                found.extend(rest.split('"').next().map(str::to_owned));
            }
        }
    }
    found
}

/// The words that a function of this name gives out.
fn words_of(place: &str, function: &str) -> BTreeSet<String> {
    let source = source(place);
    let start = source.find(&format!("fn {function}(")).expect("the function");
    let body = &source[start..];
    let found = texts(&body[..body.find("\n    }\n").expect("its end")], &["=>"]);
    assert!(!found.is_empty(), "{place} gives out words in {function}");
    found
}

/// Numbers written `-32_000` or `-32000` behind these marks.
fn numbers(source: &str, marks: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for mark in marks {
        for rest in source.split(mark).skip(1) {
            let number: String = rest.chars().take_while(|it| "-0123456789_".contains(*it)).collect();
            let number = number.replace('_', "");
            if number.len() > 5 {
                found.insert(number);
            }
        }
    }
    found
}

/// The HTTP statuses that refuse, by their names and numbers.
fn statuses(source: &str) -> BTreeSet<String> {
    let named = source.split("StatusCode::").skip(1).filter_map(|rest| {
        let name = rest.split(|c: char| !c.is_ascii_uppercase() && c != '_').next()?;
        (400..600)
            .filter_map(|number| StatusCode::from_u16(number).ok())
            .find(|status| status.canonical_reason().is_some_and(|reason| spelled(reason) == name))
    });
    // What an impossible number would be answered as.
    let named = named.filter(|status| *status != StatusCode::INTERNAL_SERVER_ERROR);
    named.map(|status| status.as_u16().to_string()).collect()
}

fn spelled(reason: &str) -> String {
    reason.to_uppercase().replace([' ', '-'], "_")
}

/// All codes, from the source of where they are made.
fn known() -> BTreeSet<String> {
    let mut known: BTreeSet<String> = ["exit-1", "exit-2", "exit-3", "exit-4"].map(str::to_owned).into();
    let places = ["doorward/src/config", "doorward/src/config.rs", "doorward/src/runtime/examine.rs"];
    let config = places.map(source).concat();
    known.extend(texts(&config, &[".error(", ".warn("]));
    for (place, function) in [
        ("upstream/src/error.rs", "code"),
        ("ledger/src/error.rs", "code"),
        ("vault/src/key.rs", "code"),
        ("gateway/src/door/serve.rs", "code"),
        ("identity/src/refused.rs", "reason"),
        ("model/src/outcome.rs", "as_str"),
        ("gateway/src/turned_away.rs", "as_str"),
    ] {
        known.extend(words_of(place, function));
    }
    known.extend(texts(&source("gateway/src/codes.rs"), &["&str ="]));
    known.extend(texts(&source("model/src/decision.rs"), &["DEFAULT_DENY: &str ="]));
    known.extend(texts(&source("policy/src/rego/statement.rs"), &["POLICY_ERROR: &str ="]));
    known.extend(texts(&source("gateway/src/door"), &["reason:"]));
    known.extend(texts(&source("gateway/src/allowance.rs"), &["REASON: &str ="]));
    known.extend(texts(&source("gateway/src/refusals.rs"), &["LEFT_OUT: &str ="]));
    known.extend(numbers(&source("wire/src/error.rs"), &["i32 = "]));
    known.extend(numbers(&source("gateway/src"), &["i32 = ", "code: "]));
    known.extend(statuses(&source("gateway/src")));
    known
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let documented: BTreeSet<_> = pages().map(|page| page.code.to_owned()).collect();
    assert_eq!(documented.len(), pages().count(), "each once");
    let known = known();
    let missing: Vec<_> = known.difference(&documented).collect();
    assert!(missing.is_empty(), "without a page in docs/reference/error-codes.md: {missing:?}");
    let stale: Vec<_> = documented.difference(&known).collect();
    assert!(stale.is_empty(), "pages of codes that nothing gives out: {stale:?}");
    for page in pages() {
        assert!(page.meaning.ends_with('.') && page.remedy.ends_with('.'), "{page:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_explained_and_a_wrong_one_gets_a_hint() {
    let nowhere = Path::new("/nowhere");
    let ran = doorward(nowhere, &["explain", "ledger-locked"]).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.starts_with("ledger-locked\n\nAnother process has this log open.\nCause:  "), "{ran:?}");
    let ran = doorward(nowhere, &["explain", "-32602", "--json"]).await;
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(said["code"], "-32602");
    let ran = doorward(nowhere, &["explain", "ledger-lokced"]).await;
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (Some(1), "there is no code `ledger-lokced`; did you mean `ledger-locked`?\n")
    );
    let ran = doorward(nowhere, &["explain", "HTTP", "401", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&ran.out).expect("JSON")["code"], "401");
    let all: Value =
        serde_json::from_str(&doorward(nowhere, &["explain", "--json"]).await.out).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(pages().count()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_paste_is_explained() {
    let pasted = [
        ("HTTP/1.1 401 Unauthorized", "401"),
        ("  405  ", "405"),
        ("Error: Streamable HTTP error: 503 Service Unavailable", "503"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: x"}}"#, "-32602"),
        (r#"{"code":-32603,"message":"x","data":{"code":"upstream-timeout"}}"#, "upstream-timeout"),
        ("[POLICY DENIED] No matching policy rules (default deny)", "default_deny"),
        ("[POLICY DENIED] policy_error: refunds: too many instructions", "policy_error"),
        ("gateway.yaml:3:1: error: host: can be reached by others [open-bind]", "open-bind"),
        ("cannot open the log [file]", "file"),
        ("Tool \"x\" not found in any registered server", "-32602"),
        ("Authentication failed", "401"),
    ];
    for (text, code) in pasted {
        let ran = doorward(Path::new("/nowhere"), &["explain", text]).await;
        assert!(ran.code == Some(0) && ran.out.starts_with(&format!("{code}\n\n")), "{text}: {ran:?}");
    }
    let ran = doorward(Path::new("/nowhere"), &["explain", "the file is late"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_carries_its_code_to_client_and_operator() {
    let slow = Recorder::start("slow", Speaks::Modern).await;
    slow.offer("wait");
    let entry = format!("  - {{id: slow, url: \"{}\", timeout: 300, enabled: true}}", slow.url());
    let world = World::start(&[], &format!("servers:\n{entry}\n{STAFF_MAY_ALL}")).await;
    let call = world.modern("/mcp/slow", ALICE).call("wait", json!({})).await.json();
    assert_eq!(call["result"]["_meta"]["dev.doorward/error"], json!({"code": "upstream-timeout"}), "{call}");
    let legacy = world.legacy("/mcp/slow", ALICE).await.call("wait", json!({})).await.json();
    assert_eq!(
        legacy["result"]["_meta"]["dev.doorward/error"],
        json!({"code": "upstream-timeout"}),
        "{legacy}"
    );

    let locked = doorward(&world.config_path(), &["serve", "--port", "0"]).await;
    assert!(locked.err.contains(" [ledger-locked]\n"), "{locked:?}");
    world.stop().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, "prot: 7\n").expect("written");
    let checked = doorward(&path, &["check"]).await;
    assert!(checked.out.contains("[unknown-key]"), "{checked:?}");
}
