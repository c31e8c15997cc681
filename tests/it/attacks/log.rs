//! Whoever can write to the folder of the log tries to make it forget.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{ALICE, Ran, STAFF_MAY_ALL, World, doorward, entries};

/// The folder of a gateway that has made calls and stopped.
async fn past(rest: &str) -> TempDir {
    let world = World::start(&["github"], &format!("{STAFF_MAY_ALL}{rest}")).await;
    world.recorders[0].offer("echo");
    let alice = world.modern("/mcp", ALICE);
    for text in ["one", "two"] {
        alice.call("github__echo", json!({"text": text})).await;
    }
    let World { folder, running, .. } = world;
    running.stop().await;
    folder
}

fn config(folder: &TempDir) -> PathBuf {
    folder.path().join("gateway.yaml")
}

fn audit(folder: &TempDir) -> PathBuf {
    folder.path().join("data/audit")
}

async fn verify(folder: &TempDir, more: &[&str]) -> Ran {
    doorward(&config(folder), &[&["audit", "verify"], more].concat()).await
}

/// Starts a gateway that cannot start.
async fn refused(folder: &TempDir) -> Ran {
    let ran = doorward(&config(folder), &["serve", "--port", "0"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    ran
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_vanished_fails_verify_doctor_and_start_until_a_new_one_is_asked_for() {
    let folder = past("").await;
    let whole = verify(&folder, &[]).await;
    assert!(whole.code == Some(0) && whole.out.starts_with("✅"), "{whole:?}");
    for name in ["segments", "checkpoints", "index.db", "bookmark.json"] {
        remove(&audit(&folder).join(name));
    }
    let ran = verify(&folder, &[]).await;
    assert!(ran.code == Some(1) && ran.out.starts_with("❌") && ran.err.contains("missing"), "{ran:?}");
    let ran = refused(&folder).await;
    assert!(ran.err.contains("signed") && ran.err.contains("[ledger-less]"), "{ran:?}");
    let ran = doorward(&config(&folder), &["doctor", "--offline"]).await;
    assert!(ran.code == Some(1) && ran.out.contains("--new-log REASON"), "{ran:?}");
    // Not even the folder is left.
    remove(&audit(&folder));
    assert_eq!(verify(&folder, &[]).await.code, Some(1));
    refused(&folder).await;

    let told = doorward::runtime::Surroundings {
        new_log: Some("the disk was lost".to_owned()),
        ..crate::world::system()
    };
    let running = doorward::runtime::start(&config(&folder), told).await.expect("it begins anew");
    running.stop().await;
    let first = entries(folder.path()).remove(0);
    assert_eq!((&first["event"], &first["reason"]), (&json!("new-log"), &json!("the disk was lost")));
    let ran = verify(&folder, &["--json"]).await;
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &said["valid"]), (Some(0), &json!(true)), "{said}");
    // Left in a service file, the option does no harm.
    let ran = doorward(&config(&folder), &["serve", "--port", "0", "--new-log", "again"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("[ledger-holds]"), "{ran:?}");
    assert_eq!(entries(folder.path())[0], first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_checked_with_the_key_of_key_dir_or_the_one_that_was_written_down() {
    let (mine, other) = (past("").await, past("").await);
    let key = |folder: &TempDir| {
        fs::read_to_string(audit(folder).join("ledger.pub")).expect("a key").trim().to_owned()
    };
    let real = key(&mine);
    assert_eq!(verify(&mine, &["--key", &real]).await.code, Some(0));
    let (name, rest) = real.split_once('+').expect("a name");
    let (_, public) = rest.split_once('+').expect("a hash");
    let ran = verify(&mine, &["--key", &format!("{name}+00000000+{public}")]).await;
    assert!(ran.code == Some(1) && ran.err.contains("no public key of a log"), "{ran:?}");
    // A log of the same form, signed with another key, key and all.
    for name in ["segments", "checkpoints", "ledger.pub", "bookmark.json"] {
        let (from, to) = (audit(&other).join(name), audit(&mine).join(name));
        if from.is_dir() {
            for entry in fs::read_dir(&from).expect("a folder").filter_map(Result::ok) {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
            }
        } else {
            fs::copy(from, to).expect("copied");
        }
    }
    let ran = verify(&mine, &[]).await;
    assert!(ran.code == Some(1) && ran.err.contains("public key beside the log"), "{ran:?}");
    assert_eq!(verify(&mine, &["--key", &real]).await.code, Some(1));
    assert!(refused(&mine).await.err.contains("[ledger-other-key]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sealing_or_salting_key_and_an_impossible_name_are_refused() {
    let folder = past("").await;
    for name in ["seal.key", "ledger-salt.key"] {
        let path = folder.path().join("data/keys").join(name);
        let real = fs::read(&path).expect("a key");
        fs::write(&path, [7; 32]).expect("written");
        let ran = refused(&folder).await;
        assert!(ran.err.contains(name) && ran.err.contains("[ledger-other-key]"), "{ran:?}");
        let ran = verify(&folder, &[]).await;
        assert!(ran.code == Some(1) && ran.out.starts_with("❌"), "{ran:?}");
        assert!(
            ran.err.contains(&format!("{name} is not the key that this log was written with")),
            "{ran:?}"
        );
        fs::write(&path, real).expect("put back");
        assert_eq!(verify(&folder, &[]).await.code, Some(0), "{name}");
    }
    let text = fs::read_to_string(config(&folder)).expect("text");
    for origin in ["two words", "a+b", "a\\nb", ""] {
        fs::write(config(&folder), format!("{text}audit: {{origin: \"{origin}\"}}\n")).expect("written");
        let ran = doorward(&config(&folder), &["check"]).await;
        assert!(ran.code == Some(1) && ran.out.contains("[log-name]"), "{origin}: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_was_altered_or_deleted_and_an_index_that_was_edited_are_found() {
    let folder = past("audit: {capture: full}\n").await;
    let whole = verify(&folder, &[]).await;
    assert!(whole.out.contains("the index agrees") && whole.out.contains("are there and open"), "{whole:?}");
    let index = rusqlite::Connection::open(audit(&folder).join("index.db")).expect("an index");
    index.execute_batch("UPDATE calls SET consumer = 'bob'").expect("edited");
    drop(index);
    let ran = verify(&folder, &[]).await;
    assert!(ran.code == Some(1) && ran.err.contains("doorward audit reindex"), "{ran:?}");
    let ran = doorward(&config(&folder), &["audit", "log"]).await;
    assert!(ran.code == Some(1) && ran.err.contains("[ledger-index-differs]"), "{ran:?}");
    let ran = doorward(&config(&folder), &["audit", "reindex"]).await;
    assert!(ran.code == Some(0) && ran.out.contains("2 calls"), "{ran:?}");
    assert_eq!(verify(&folder, &[]).await.code, Some(0));

    let payloads = audit(&folder).join("payloads");
    let days = fs::read_dir(&payloads).expect("payloads").filter_map(|day| Some(day.ok()?.path()));
    let minutes =
        days.flat_map(|day| fs::read_dir(day).expect("a day")).filter_map(|it| Some(it.ok()?.path()));
    let file = minutes.min().expect("a minute");
    let mut bytes = fs::read(&file).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("written");
    assert_eq!(verify(&folder, &[]).await.code, Some(1));
    remove(&payloads);
    let ran = verify(&folder, &[]).await;
    assert!(ran.code == Some(1) && ran.err.contains("are missing"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_beside_the_log_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let folder = past(
        "audit: {dir: ./elsewhere, capture: full}\nlimits: [{name: q, kind: quota, max: 9, per: day}]\n",
    )
    .await;
    let data = folder.path().join("data");
    let log = folder.path().join("elsewhere");
    let mut open = vec![data.clone(), log.clone()];
    let mut seen = Vec::new();
    while let Some(path) = open.pop() {
        assert_eq!(mode(&path), if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        if path.is_dir() {
            open.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("there").path()));
        }
        seen.push(path);
    }
    let must =
        ["index.db", "bookmark.json", "checkpoints", "segments", "payloads"].map(|name| log.join(name));
    for path in must.into_iter().chain(["quotas.db", "keys"].map(|name| data.join(name))) {
        assert!(seen.contains(&path), "{} of {seen:?}", path.display());
    }
    let fresh = tempfile::tempdir().expect("a folder");
    let config = fresh.path().join("gateway.yaml");
    assert_eq!(doorward(&config, &["init", "--yes"]).await.code, Some(0));
    assert_eq!(mode(&config), 0o600);
    assert!(fs::read_to_string(&config).expect("text").contains("capture: full"));
    let ran = doorward(&config, &["check"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_show_no_secret_that_is_known_or_can_be_told_by_its_looks() {
    let server = "servers:\n  - {id: github, url: \"http://127.0.0.1:1/mcp\", credential: {kind: bearer, token: correct-horse-battery}, enabled: true}\n";
    let world = World::start(&[], &format!("{server}{STAFF_MAY_ALL}")).await;
    let arguments = json!({
        "note": format!("card 4111 1111 1111 1111, sk-live-abc123, mine {ALICE}, theirs correct-horse-battery"),
        "plain": "order 4111111111111112",
    });
    world.modern("/mcp", ALICE).call("github__echo", arguments).await;
    let record = world.records().pop().expect("a record");
    let shown: Value = serde_json::from_str(record["args"].as_str().expect("a preview")).expect("JSON");
    assert_eq!(
        shown,
        json!({"note": "card [masked], [masked], mine [masked], theirs [masked]", "plain": "order 4111111111111112"})
    );
    world.stop().await;
}
