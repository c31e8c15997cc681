//! What `doorward check` calls valid, a gateway starts with, and what it does not, none does.

use std::path::Path;

use serde_json::Value;

use crate::world::{Recorder, STAFF_MAY_ALL, Speaks, doorward, surroundings, written};

/// The codes of all errors in a configuration, as `check --json` has them.
async fn errors(config: &Path) -> Vec<String> {
    let ran = doorward(config, &["check", "--json"]).await;
    let answer: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(ran.code == Some(0), answer["valid"] == true, "{ran:?}");
    assert_eq!(answer["digest"].is_string(), answer["valid"] == true, "{ran:?}");
    let findings = answer["findings"].as_array().expect("findings").iter();
    let errors = findings.filter(|finding| finding["severity"] == "error");
    errors.map(|finding| finding["code"].as_str().expect("a code").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_gateway_starts_with_is_not_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::start("wiki", Speaks::Modern).await;
    let made = |name: &str| {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        std::fs::write(folder.path().join(format!("{name}.pem")), made.cert.pem()).expect("written");
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.path().join(format!("{name}.key")), key).expect("written");
    };
    made("one");
    made("other");
    let rego = |source: &str| {
        format!("{STAFF_MAY_ALL}regoPolicies:\n  - {{name: a, source: \"package a\\n{source}\"}}\n")
    };
    let rule = |pattern: &str| {
        format!(
            "policies:\n  - {{id: p, name: P, roles: [staff], rules: [{{action: allow, conditions: [{{param: x, operator: regex, value: \"{pattern}\"}}]}}]}}\n"
        )
    };
    let tls = |cert: &str, key: &str| format!("{STAFF_MAY_ALL}tls: {{cert: {cert}.pem, key: {key}.key}}\n");
    let cases: [(String, &[&str]); 9] = [
        (STAFF_MAY_ALL.to_owned(), &[]),
        (rego("deny contains \\\"no\\\" if input.tool == \\\"x\\\""), &[]),
        (rego("allow if {"), &["rego"]),
        (
            rego(
                "allow if http.send({\\\"method\\\": \\\"get\\\", \\\"url\\\": \\\"https://x\\\"}).status_code == 200",
            ),
            &["rego"],
        ),
        (rego("allow contains \\\"yes\\\" if input.tool == \\\"x\\\""), &["rego"]),
        (rego("redact contains \\\"/a\\\" if input.tool == \\\"x\\\""), &["rego"]),
        (rule("("), &["policy"]),
        (tls("one", "one"), &[]),
        (tls("one", "other"), &["tls"]),
    ];
    for (rest, expected) in cases {
        let config = written(folder.path(), &recorder, &rest);
        assert_eq!(errors(&config).await, *expected, "{rest}");
        let started = doorward::runtime::start(&config, surroundings(&[])).await;
        assert_eq!(started.is_ok(), expected.is_empty(), "{rest}");
        if let Ok(running) = started {
            running.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_policies_that_are_missing_does_not_pass() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("none.yaml");
    let mut command = tokio::process::Command::new(crate::world::program());
    command
        .args(["selftest", "--calls", "20"])
        .env("MCP_GATEWAY_CONFIG", &missing)
        .current_dir(folder.path());
    let ran = command.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.code() == Some(1) && said.contains("Config not found: "), "{said}");
}
