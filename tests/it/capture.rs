//! What is kept of arguments and results beyond the record: sealed, apart, and shown
//! only to who may see it.

use std::fs;

use serde_json::{Value, json};

use crate::program::{Program, run};
use crate::secrets::files_holding;
use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, configuration, eventually};

const CARGO: &str = "forty-two crates of oranges";

#[tokio::test(flavor = "multi_thread")]
async fn whole_arguments_and_results_are_kept_sealed_and_read_with_their_key() {
    let recorder = Recorder::start("github", Speaks::Modern).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    let text = configuration(folder.path(), std::slice::from_ref(&recorder), STAFF_MAY_ALL);
    fs::write(&config, format!("audit: {{capture: full}}\n{text}")).expect("written");
    let gateway = Program::start(&config, &folder.path().join("log"), &[]).await;
    let alice = Client::modern(gateway.address, "/mcp", ALICE);
    let long = format!("{CARGO} {}", "x".repeat(2_000));
    assert_eq!(alice.call("github__echo", json!({ "load": long, "a_password": CARGO })).await.status, 200);

    let log = async |arguments: &[&str]| -> Value {
        serde_json::from_str(&run(&config, arguments).await).expect("JSON")
    };
    let plain = log(&["audit", "log", "--json"]).await;
    assert!(plain[0]["args"].as_str().is_some_and(|args| args.contains("[masked]") && args.len() < 1_100));
    assert_eq!(plain[0]["response"], "");
    let full = log(&["audit", "log", "--json", "--full"]).await;
    let args: Value = serde_json::from_str(full[0]["args"].as_str().expect("text")).expect("JSON");
    assert_eq!(args, json!({ "load": long, "a_password": CARGO }));
    let response: Value = serde_json::from_str(full[0]["response"].as_str().expect("text")).expect("JSON");
    assert!(response["content"][0]["text"].as_str().is_some_and(|text| text.contains(&long)));

    // The scope `audit.read` shows records; what was kept needs one of its own.
    let gateway_tools = Client::modern(gateway.address, "/mcp/_gateway", ALICE);
    assert!(!gateway_tools.call("audit_log", json!({})).await.text().contains(&"x".repeat(1_500)));
    gateway.stop().await;
    let text = fs::read_to_string(&config)
        .expect("text")
        .replace("[audit.read]", "[audit.read, audit.payload.read]");
    fs::write(&config, text).expect("written");
    let gateway = Program::start(&config, &folder.path().join("log"), &[]).await;
    let gateway_tools = Client::modern(gateway.address, "/mcp/_gateway", ALICE);
    assert!(gateway_tools.call("audit_log", json!({})).await.text().contains(&"x".repeat(1_500)));
    gateway.stop().await;

    // On disk there is no more of it than the preview says.
    let data = folder.path().join("data");
    assert_eq!(files_holding(&data, &"x".repeat(1_500)), Vec::<String>::new());
    let payloads = data.join("audit/payloads");
    assert!(payloads.exists());
    assert_eq!(files_holding(&payloads, "oranges"), Vec::<String>::new());
    // Without the key nothing is shown, and the reason is named.
    fs::write(data.join("keys/seal.key"), [7; 32]).expect("written");
    let output = tokio::process::Command::new(crate::world::program())
        .arg("--config")
        .arg(&config)
        .args(["audit", "log", "--full"])
        .output()
        .await
        .expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("sealed with another key"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_server_more_or_less_is_kept_than_of_the_others() {
    let mut recorders = Vec::new();
    for name in ["usual", "silent", "whole"] {
        recorders.push(Recorder::start(name, Speaks::Modern).await);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    let text = configuration(folder.path(), &recorders, STAFF_MAY_ALL)
        .replace("{id: silent,", "{id: silent, capture: none,")
        .replace("{id: whole,", "{id: whole, capture: full,");
    fs::write(&config, &text).expect("written");
    let log = folder.path().join("log");
    let gateway = Program::start(&config, &log, &[]).await;
    let alice = Client::modern(gateway.address, "/mcp", ALICE);
    for name in ["usual", "silent", "whole"] {
        let answer = alice.call(&format!("{name}__echo"), json!({ "a_password": CARGO })).await;
        assert_eq!(answer.summary(), "200 ok");
    }
    let records = run(&config, &["audit", "log", "--json", "--full"]).await;
    let records: Value = serde_json::from_str(&records).expect("JSON");
    let kept = |server: &str| {
        let of = records.as_array().into_iter().flatten().find(|record| record["serverId"] == server);
        of.and_then(|record| record["args"].as_str()).expect("a record").to_owned()
    };
    assert_eq!(kept("usual"), r#"{"a_password":"[masked]"}"#);
    assert_eq!(kept("silent"), "{}");
    assert_eq!(kept("whole"), json!({ "a_password": CARGO }).to_string());

    // What a reload cannot change, it names.
    fs::write(&config, text.replace("capture: none,", "capture: keys,")).expect("written");
    let said = "`servers[].capture` has changed: that takes force at the next start";
    eventually("the change is named", async || fs::read_to_string(&log).is_ok_and(|log| log.contains(said)))
        .await;
    assert_eq!(alice.call("silent__echo", json!({ "key_of_it": CARGO })).await.summary(), "200 ok");
    gateway.stop().await;
    let records = run(&config, &["audit", "log", "--json"]).await;
    assert!(!records.contains("key_of_it"), "as before");
}
