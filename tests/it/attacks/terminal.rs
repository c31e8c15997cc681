//! Whatever clients and servers call themselves and say: a line of the log stays a line, a row of a
//! table a row, and no terminal obeys.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::children::{echoes, in_yaml};
use super::server::{Server, answer, result};
use crate::program::Program;
use crate::world::{ALICE, Client, configuration, doorward};

/// Would be a line of its own, colours a terminal, rings, turns the order of letters, and hides.
const EVIL: &str = "x\n2026-01-01T00:00:00.000000Z  INFO forged: all is well\r\u{1b}[31m\u{1b}]0;title\u{7}\u{9b}2J\u{8}\u{7f}\u{202e}dlrow\u{2066}\u{200b}\u{feff}\u{e0041}\u{2028}y";

/// Characters that stand for themselves and can be seen.
fn is_plain(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

fn assert_plain(place: &str, text: &str) {
    for line in text.lines() {
        let odd: Vec<_> = line.chars().filter(|c| !is_plain(*c)).collect();
        assert!(odd.is_empty(), "{place}: {odd:?} in {line:?}");
        assert!(!line.starts_with("2026-01-01T00:00:00.000000Z  INFO forged"), "{place}: {line}");
    }
}

const RULES: &str = "rateLimit: {enabled: false}\npolicies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}]}\n";

/// A server every word of which is evil, and which offers one thing twice.
async fn evil() -> Server {
    let greeting = json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "logging": {}}, "instructions": EVIL, "serverInfo": {"name": EVIL, "version": EVIL}});
    let list = json!({"tools": [
        {"name": EVIL, "description": EVIL, "inputSchema": {"type": "object"}},
        {"name": format!("{EVIL}2"), "inputSchema": {"type": "object"}},
        {"name": format!("{EVIL}2"), "inputSchema": {"type": "object"}},
        {"name": "fail", "inputSchema": {"type": "object"}},
        {"name": "say", "inputSchema": {"type": "object"}},
        {"name": "unauthorized", "inputSchema": {"type": "object"}},
        {"name": "nonsense", "inputSchema": {"type": "object"}},
    ]});
    Server::start_rude(move |head, message| {
        if !head.starts_with("post") {
            return answer("405 Method Not Allowed", "text/plain", "");
        }
        let error = |code: i64| json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": EVIL, "data": EVIL}}).to_string();
        let text = json!({"content": [{"type": "text", "text": EVIL}]});
        match (message["method"].as_str().unwrap_or_default(), message["params"]["name"].as_str()) {
            ("server/discover", _) => answer("200 OK", "application/json", &error(-32601)),
            ("initialize", _) => result(message, greeting.clone()),
            ("tools/list", _) => result(message, list.clone()),
            ("tools/call", Some("fail")) => answer("200 OK", "application/json", &error(-32000)),
            ("tools/call", Some("unauthorized")) => {
                answer("401 Unauthorized", "text/plain\r\nwww-authenticate: Bearer realm=\"\u{9b}2J\u{202e}\"", EVIL)
            }
            ("tools/call", Some("nonsense")) => answer("200 OK", "application/json", &format!("{{\"{EVIL}\":1,\"{EVIL}\":2}}")),
            ("tools/call", _) => result(message, text),
            _ if message["id"].is_null() => answer("202 Accepted", "text/plain", ""),
            _ => answer("200 OK", "application/json", &error(-32601)),
        }
    })
    .await
}

async fn serve(config: &Path, log: &Path, format: &str) -> Program {
    let variables = [("DOORWARD_LOG", "trace")];
    // The format of the log has no variable: it is a word of the command.
    let script = format!("exec \"$0\" \"$@\" --log-format {format}");
    let under = ["sh", "-c", &script].map(std::ffi::OsStr::new);
    Program::start_under(&under, config, log, &variables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_log_is_one_line_that_can_be_read_and_so_is_a_row_of_a_table() {
    for format in ["text", "json"] {
        let server = evil().await;
        let folder = tempfile::tempdir().expect("a folder");
        let (config, log) = (folder.path().join("gateway.yaml"), folder.path().join("log"));
        let chatter = in_yaml(&json!(format!("{EVIL}\n\u{1b}c\n")).to_string());
        let child = echoes(&["echo", EVIL], "child", &format!("env: {{CHATTER: {chatter}}}, "));
        let rest = format!("{child}{}{RULES}", server.section("evil"));
        fs::write(&config, configuration(folder.path(), &[], &rest)).expect("written");
        let gateway = serve(&config, &log, format).await;

        let modern = Client::modern(gateway.address, "/mcp", ALICE);
        let legacy = Client::legacy(gateway.address, "/mcp", ALICE, "2025-11-25").await;
        let info = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": EVIL, "version": EVIL}});
        let open = json!({"jsonrpc": "2.0", "id": EVIL, "method": "initialize", "params": info});
        let opened = Client::modern(gateway.address, "/mcp", ALICE);
        let mut headers = opened.headers();
        headers.remove("mcp-protocol-version");
        let answer = opened.raw(hyper::Method::POST, &headers, open.to_string().into()).await;
        assert_eq!(answer.json()["id"], EVIL, "{answer:?}");
        let named = legacy.with_session(answer.headers["mcp-session-id"].to_str().expect("ASCII"));
        for client in [&modern, &legacy, &named] {
            client.tools().await;
            for tool in ["say", "fail", "nonsense", "unauthorized"] {
                let answer = client.call(&format!("evil__{tool}"), json!({EVIL: EVIL})).await;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            client.call("child__echo", json!({"password": EVIL, EVIL: [EVIL]})).await;
        }
        for client in [&legacy, &named] {
            for name in [format!("evil__{EVIL}"), EVIL.to_owned(), format!("{EVIL}__x")] {
                client.call(&name, json!({})).await;
            }
            let note = json!({"jsonrpc": "2.0", "method": "notifications/\u{1b}[31m\n\u{202e}"});
            assert_eq!(client.post(&note).await.status, 202);
            let unknown = json!({"jsonrpc": "2.0", "id": 2, "method": "no\u{1b}[2J\n\u{202e}"});
            assert_eq!(client.post(&unknown).await.summary(), "200 -32601");
        }

        let records = doorward(&config, &["audit", "log", "--limit", "1000", "--json"]).await.out;
        let records: Vec<Value> = serde_json::from_str(&records).expect("JSON");
        let is_evil = |record: &&Value| record["tool"].as_str().is_some_and(|tool| tool.contains(EVIL));
        let call = records.iter().find(is_evil).expect("a record")["id"].as_str().expect("an id").to_owned();
        for command in [
            &["audit", "log"][..],
            &["audit", "stats"],
            &["usage"],
            &["audit", "log", "--tool", "*x*"],
            &["servers", "list"],
            &["doctor"],
            &["debug", "trace", &call],
        ] {
            let ran = doorward(&config, command).await;
            assert!(ran.out.lines().count() > 1, "{command:?}: {ran:?}");
            assert_plain(&format!("{command:?}"), &ran.out);
            assert_plain(&format!("{command:?}"), &ran.err);
        }
        let rows = doorward(&config, &["audit", "log", "--limit", "1000"]).await.out;
        assert_eq!(rows.lines().count(), records.len(), "a record is a row");
        gateway.stop().await;

        let text = fs::read_to_string(&log).expect("a log");
        assert!(text.contains("it is offered more than once") && text.contains("stderr: "), "{text}");
        assert_plain("the log", &text);
        for line in text.lines() {
            match format {
                "text" => assert!(line.starts_with("20") && line.as_bytes().get(10) == Some(&b'T'), "{line}"),
                _ => assert!(
                    serde_json::from_str::<Value>(line).is_ok_and(|line| line["timestamp"].is_string()),
                    "{line}"
                ),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_says_to_whoever_calls_it_by_hand_drives_no_terminal() {
    let server = evil().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (config, log) = (folder.path().join("gateway.yaml"), folder.path().join("log"));
    let port = crate::program::free_port();
    let rest = format!("port: {port}\nservers:\n{}{RULES}", server.section("evil"));
    fs::write(&config, configuration(folder.path(), &[], &rest)).expect("written");
    let gateway = Program::start_on(port, &[], &config, &log, &[]).await;
    let drives = |text: &str| {
        text.chars().any(|c| {
            (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
    };
    for tool in ["say", "fail", "nonsense"] {
        let ran = doorward(&config, &["call", "evil", tool, "--key", ALICE]).await;
        assert!(!drives(&ran.out) && !drives(&ran.err), "{ran:?}");
        assert_eq!((ran.out + &ran.err).contains("forged"), tool != "nonsense");
    }
    // Whoever wants to have it exactly, has it as JSON.
    let exact = doorward(&config, &["call", "evil", "say", "--key", ALICE, "--json"]).await;
    let exact: Value = serde_json::from_str(&exact.out).expect("JSON");
    assert_eq!(exact["result"]["content"][0]["text"], EVIL);
    gateway.stop().await;
}
