//! `doorward selftest`: it passes on this program, and each question can be failed.

use std::fs;

use doorward::config::Config;
use doorward::selftest::{
    Answer, Effort, Outcome, Setup, Stage, before, default_deny, deterministic, one_policy, precise, theirs,
    verifiable,
};
use serde_json::{Value, json};

use crate::world::{STAFF_MAY_ALL, configuration, doorward, program};

const FEW: Effort = Effort { calls: 60 };

#[track_caller]
fn failed(answer: &Answer, words: &str) {
    assert_eq!(answer.outcome, Outcome::Fail, "{answer:?}");
    assert!(answer.evidence.contains(words), "should say …{words}…: {answer:?}");
}

/// The usual stage with other policies, or more of them.
async fn stage(rest: Value) -> Stage {
    let mut setup = Setup::governed(&program());
    for (name, value) in rest.as_object().expect("an object") {
        setup.rest[name] = value.clone();
    }
    Stage::start(setup).await.expect("a gateway")
}

fn allow_all() -> Value {
    json!([{"id": "all", "roles": ["*"], "rules": [{"action": "allow"}]}])
}

#[tokio::test(flavor = "multi_thread")]
async fn this_program_passes_and_touches_nothing_of_its_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    let text = configuration(folder.path(), &[], STAFF_MAY_ALL);
    fs::write(&config, format!("{text}servers:\n  - {{id: github, command: /nowhere, enabled: true}}\n"))
        .expect("written");
    let ran = doorward(&config, &["selftest", "--calls", "100", "--json"]).await;
    let said: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let outcomes: Vec<_> = said["answers"].as_array().expect("answers").iter().collect();
    let outcomes: Vec<_> = outcomes
        .iter()
        .map(|answer| format!("{} {}", answer["question"], answer["outcome"]).replace('"', ""))
        .collect();
    let expected = [
        "default-deny PASS",
        "before PASS",
        "deterministic PASS",
        "no-model PASS",
        "precise PASS",
        "one-policy PASS",
        "verifiable PASS",
        "replayable PASS",
        "provable PASS",
        "yours-deterministic PASS",
        "yours-one-policy PASS",
    ];
    assert_eq!(outcomes, expected);
    assert_eq!((&said["ok"], &said["passed"], &said["failed"]), (&json!(true), &json!(11), &json!(0)));
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 1, "nothing but the configuration: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_allows_without_a_policy_fails() {
    let stage = stage(json!({"policies": allow_all()})).await;
    failed(&default_deny(&stage).await, "is shown");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_arrives_before_its_record_fails() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let looked_at = Some(elsewhere.path().to_owned());
    let setup = Setup { looked_at, ..Setup::governed(&program()) };
    let stage = Stage::start(setup).await.expect("a gateway");
    failed(&before(&stage, FEW).await, "before its decision was in the log");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_that_changes_fails() {
    let limit = json!([{"name": "few", "kind": "rate", "key": "person", "max": 30, "per": "minute"}]);
    let stage = stage(json!({"limits": limit})).await;
    failed(&deterministic(&stage).await, "and then with");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cannot_single_out_fails() {
    let listed = stage(json!({"policies": allow_all()})).await;
    failed(&precise(&listed).await, "delete_repository");
    listed.stop().await;
    let shallow = stage(json!({"regoPolicies": []})).await;
    failed(&precise(&shallow).await, "create_refund with");
    shallow.stop().await;
}

const BY_CLIENT: &str = "package clients\ndeny contains \"not with this client\" if input.context.client.name == \"cursor-vscode\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_for_each_client_fails() {
    let rego = json!([{"name": "clients", "source": BY_CLIENT}]);
    let stage = stage(json!({"regoPolicies": rego})).await;
    failed(&one_policy(&stage).await, "cursor-vscode");
    stage.stop().await;

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.json");
    let text = json!({
        "servers": [{"id": "github", "url": "http://127.0.0.1:1/mcp", "enabled": true}],
        "policies": [{"id": "p", "roles": ["staff"], "rules": [{"tool": "get_*", "action": "allow"}]}],
        "regoPolicies": rego,
    });
    fs::write(&path, text.to_string()).expect("written");
    let config = Config::load(&path, &|_| None).expect("valid").config;
    let answers = theirs(&config, &program()).await.expect("examined");
    assert_eq!(answers[0].outcome, Outcome::Pass, "{answers:?}");
    failed(&answers[1], "cursor-vscode");
    assert_eq!(doorward(&path, &["selftest", "--calls", "20"]).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_log_and_other_policies_fail() {
    let stage = stage(json!({})).await;
    assert_eq!(deterministic(&stage).await.outcome, Outcome::Pass);
    let mut ended = stage.stop().await;
    let outcomes = |answers: Vec<Answer>| answers.iter().map(|answer| answer.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(verifiable(&ended)), [Outcome::Pass, Outcome::Pass, Outcome::Pass]);

    let rules = &mut ended.config.policies[0].rules;
    rules.retain(|rule| rule.tool.as_deref() != Some("delete_repository"));
    failed(&verifiable(&ended)[1], "delete_repository was decided");

    let segments = ended.folder.path().join("data/audit/segments");
    let segment = fs::read_dir(segments).expect("segments").next().expect("one").expect("readable").path();
    let text = fs::read_to_string(&segment).expect("text");
    fs::write(&segment, text.replacen("\"deny\"", "\"allow\"", 1)).expect("written");
    failed(&verifiable(&ended)[0], "does not hold");
    failed(&verifiable(&ended)[2], "the index says something else of entry");
}
