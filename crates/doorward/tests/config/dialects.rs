//! What a file leaves unsaid means what it meant before a key was added to it.

use std::path::Path;

use doorward::config::audit::Capture;
use doorward::config::limits::Limits;

use super::{QUIET, load};

/// A value for every key of the outermost level but those that are there to change limits and
/// records.
const ADDED: [&str; 16] = [
    "$schema: gateway.schema.json",
    "host: localhost",
    "port: 3200",
    "tls: {cert: tls.pem, key: tls.pem}",
    "trustedProxies: [10.0.0.1]",
    "allowedHosts: [gate.example]",
    "cors: {origin: 'https://app.example'}",
    "ipFilter: {enabled: true, ips: ['*']}",
    "dataDir: elsewhere",
    "shared: redis://127.0.0.1:6379",
    "servers: [{id: files, command: mcp-files, enabled: true, protocol: modern}]",
    "auth: {type: none}",
    "policies: []",
    "regoPolicies: [{name: a, file: rules.rego}]",
    "metering: {enabled: true, dimensions: [calls, latency, errors]}",
    "x-note: 1",
];

/// How calls are limited and recorded by a file that has this key, if it has it not yet.
fn with(text: &str, added: &str) -> (Limits, Capture) {
    let key = added.split(':').next().unwrap_or_default();
    let is_there = text.lines().any(|line| line.starts_with(&format!("{key}:")));
    let text = if is_there { text.to_owned() } else { format!("{text}{added}\n") };
    let loaded = load(&text).map_err(|lints| lints[0].to_string()).expect(added);
    (loaded.config.limits, loaded.config.audit.capture)
}

#[test]
fn another_key_changes_no_limit_and_nothing_that_is_recorded() {
    let theirs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/example-gateway.yaml");
    let theirs = std::fs::read_to_string(theirs).expect("there");
    let (theirs, _) = theirs.split_once("rateLimit:").expect("the last section");
    let before = with(theirs, "");
    assert_eq!(before.0.default.map(|limit| (limit.per_minute, limit.burst(60))), Some((60, 120)));
    assert_eq!(before.1, Capture::Full);
    for added in ADDED {
        assert_eq!(with(theirs, added), before, "{added}");
    }
    let ours = format!("{QUIET}audit: {{durability: strict}}\n");
    for added in ADDED {
        assert_eq!(with(&ours, added), (Limits::default(), Capture::Preview), "{added}");
    }
    for added in ["durability: strict", "anchors: [a.txt]", "origin: gate.example", "x-note: 1"] {
        let text = theirs.replace("hashChain: true", &format!("hashChain: true\n  {added}"));
        assert_ne!(text, theirs);
        assert_eq!(with(&text, ""), before, "audit.{added}");
    }
}

#[test]
fn a_key_is_added_here_for_every_one_that_there_is() {
    let schema: serde_json::Value = serde_json::from_str(&doorward::config::schema()).expect("JSON");
    for key in schema["properties"].as_object().expect("keys").keys() {
        let is_told = ADDED.iter().any(|added| added.starts_with(&format!("{key}:")));
        assert!(is_told || ["limits", "rateLimit", "requestLimit", "audit"].contains(&key.as_str()), "{key}");
    }
}
