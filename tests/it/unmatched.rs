//! Names in rules and limits that no server offers are found by whoever can know it.

use serde_json::{Value, json};

use crate::program::Program;
use crate::world::{ALICE, Client, Recorder, Speaks, doorward, eventually, written};

const MISTYPED: &str = "policies:
  - {id: staff, name: Staff, roles: [staff], rules: [{server: github, tool: get_isue, action: deny}, {action: allow}]}
limits:
  - {name: all, kind: quota, key: grant, max: 1000, per: day}
  - {name: refunds, key: grant, server: github, tool: create_refnd, max: 5}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_server_offers_is_told_by_log_check_and_doctor_once_it_can_be_known() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let config = written(folder.path(), &recorder, MISTYPED);
    let log = folder.path().join("log");
    let said = |words: &str| std::fs::read_to_string(&log).expect("a log").matches(words).count();
    let found = async || {
        let ran = doorward(&config, &["check", "--json"]).await;
        let answer: Value = serde_json::from_str(&ran.out).expect("JSON");
        assert_eq!((ran.code, &answer["valid"]), (Some(0), &json!(true)), "{ran:?}");
        let findings = answer["findings"].as_array().expect("findings").clone();
        let named = findings.into_iter().filter(|finding| finding["code"] == "unmatched-name");
        named
            .map(|it| [&it["path"], &it["remedy"]].map(|it| it.as_str().unwrap_or("").to_owned()))
            .collect::<Vec<_>>()
    };
    let rule = ["policies[0].rules[0].tool", "did you mean `get_issue`?"].map(str::to_owned);
    let limit = ["limits[1].tool", "did you mean `create_refund`?"].map(str::to_owned);
    let nothing: Vec<[String; 2]> = Vec::new();

    assert_eq!(found().await, nothing, "no gateway runs");
    let program = Program::start(&config, &log, &[]).await;
    assert_eq!(found().await, nothing, "the server has not been asked");
    let client = Client::modern(program.address, "/mcp", ALICE);
    assert_eq!(client.tools().await.len(), 5);
    eventually("the log says both", async || said(&rule[1]) == 1 && said(&limit[1]) == 1).await;
    assert_eq!(client.call("github__get_issue", json!({})).await.summary(), "200 ok");
    client.tools().await;
    assert_eq!(found().await, [rule.clone(), limit.clone()]);
    assert_eq!((said(&rule[1]), said(&limit[1])), (1, 1), "neither a call nor a list says it again");
    let ran = doorward(&config, &["doctor", "--offline", "--json"]).await;
    let answer: Value = serde_json::from_str(&ran.out).expect("JSON");
    let checks = answer["checks"].as_array().expect("checks").iter();
    let names: Vec<_> = checks.filter(|check| check["check"] == "names").collect();
    assert_eq!(names.len(), 2, "{ran:?}");
    let message =
        "policies[0].rules[0].tool: `get_isue` matches no tool that `github` offers, so it has no effect";
    assert_eq!(names[0], &json!({"check": "names", "status": "warn", "message": message, "remedy": rule[1]}));

    written(folder.path(), &recorder, &MISTYPED.replace("get_isue", "get_issue"));
    eventually("the other configuration is in force", async || said(&limit[1]) == 2).await;
    assert_eq!(found().await, [limit]);
    assert_eq!(said(&rule[1]), 1, "what is mended is not said again");
    let denied = client.call("github__get_issue", json!({})).await.text();
    assert!(denied.starts_with("[POLICY DENIED]"), "{denied}");
    assert_eq!(recorder.calls(), ["get_issue"]);
    program.stop().await;
}
