//! Whole configurations and what is found in them.

use std::path::Path;
use std::time::Duration;

use doorward::config::audit::Capture;
use doorward::config::limits::{Calendar, Quota};
use doorward::config::servers::{Credential, Transport};
use doorward::config::{Config, Lint, Loaded};
use doorward_identity::{Authenticator, Presented};
use doorward_model::clock::Fixed;

#[path = "config/dialects.rs"]
mod dialects;
#[path = "config/secrets.rs"]
mod secrets;
#[path = "config/unknown.rs"]
mod unknown;

/// A key of this configuration's own, so that nothing is odd about it.
const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A configuration with nothing odd about it.
const QUIET: &str = "
auth:
  keys:
    - {id: k, key: 'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad', consumerId: c, roles: [r], enabled: true}
servers:
  - {id: files, command: mcp-files, enabled: true}
policies:
  - {id: p, roles: [r], rules: [{tool: 'get_*', action: allow}]}
";

fn load_named(name: &str, text: &str) -> Result<Loaded, Vec<Lint>> {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("rules.rego"), "package rules\nallow := true\n").expect("written");
    std::fs::write(dir.path().join("data.yaml"), "limits: {refund: 50.5}\nnames: [a, \"1\"]\n")
        .expect("written");
    std::fs::write(dir.path().join("tls.pem"), "").expect("written");
    let path = dir.path().join(name);
    std::fs::write(&path, text).expect("written");
    Config::load(&path, &|name| match name {
        "TOKEN" => Some("t0k3n".to_owned()),
        "PORT" => Some("4000".to_owned()),
        _ => None,
    })
}

fn load(text: &str) -> Result<Loaded, Vec<Lint>> {
    load_named("gateway.yaml", text)
}

/// `E` or `W`, line, kind and path of each finding.
fn findings(text: &str) -> Vec<String> {
    let lints = load(text).map_or_else(|lints| lints, |loaded| loaded.lints);
    lints
        .iter()
        .map(|lint| {
            let severity = if lint.is_error() { 'E' } else { 'W' };
            format!("{severity}{} {} {}", lint.line.unwrap_or_default(), lint.code, lint.path)
        })
        .collect()
}

fn fixture(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let loaded = Config::load(&path, &|name| (name == "STRIPE_SECRET_KEY").then(|| "sk_test".to_owned()));
    loaded.map_err(|lints| lints[0].to_string()).expect(name)
}

#[test]
fn files_of_the_other_gateway_load_unchanged() {
    let readme = fixture("readme-gateway.yaml");
    let kinds: Vec<_> = readme.lints.iter().map(|lint| (lint.line.unwrap_or_default(), lint.code)).collect();
    assert_eq!(kinds, [(5, "published-key"), (40, "role-unused"), (47, "no-effect")]);
    assert_eq!(readme.config.auth.keys.len(), 1);
    assert_eq!(
        readme.config.limits.default.map(|limit| (limit.per_minute, limit.burst(60))),
        Some((60, 120))
    );
    assert_eq!(readme.config.audit.capture, Capture::Full, "as there");

    let example = fixture("example-gateway.yaml");
    let kinds: Vec<_> = example.lints.iter().map(|lint| lint.code).collect();
    let expected = ["published-key", "published-key", "no-effect", "not-supported", "no-effect"];
    assert_eq!(kinds, expected, "{:#?}", example.lints);
    let config = &example.config;
    assert_eq!(config.servers.len(), 3);
    assert_eq!(config.servers[2].timeout, Duration::from_secs(15));
    assert_eq!(config.servers[2].tags, ["payments", "premium"]);
    let Transport::Stdio { command, args, env, .. } = &config.servers[2].transport else { panic!("a child") };
    assert_eq!(
        (command.as_str(), args.as_slice()),
        ("node", ["../mcp-stripe/dist/index.js".to_owned()].as_slice())
    );
    assert_eq!(env["STRIPE_SECRET_KEY"].expose(), "sk_test");
    assert_eq!(config.policies[2].rules.len(), 3);
    assert_eq!(config.listen.host, "127.0.0.1");
    assert_eq!(config.listen.port, 3100);
    let clock = std::sync::Arc::new(Fixed::new(1));
    let door = Authenticator::new(config.auth.settings(), clock, None).expect("valid settings");
    let caller = door.authenticate(Presented { bearer: Some("gw_readonly789") }).expect("a key of the file");
    assert_eq!((caller.consumer(), caller.grant.id.as_str()), ("agent-readonly", "key-2"));
}

#[test]
fn a_missing_secret_stops_only_the_server_that_needs_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/readme-gateway.yaml");
    let loaded = Config::load(&path, &|_| None).expect("still valid");
    assert_eq!(loaded.config.servers[0].missing, Vec::<String>::new());
    assert_eq!(loaded.config.servers[1].missing, ["STRIPE_SECRET_KEY"]);
    let lint = loaded.lints.iter().find(|lint| lint.code == "unset-variable").expect("said");
    assert!(lint.message.contains("STRIPE_SECRET_KEY"), "{lint}");
}

#[test]
fn everything_odd_is_found_where_it_stands() {
    assert_eq!(findings(QUIET), Vec::<String>::new());
    let cases: &[(&str, &[&str])] = &[
        // added at the end, and what is found
        ("host: 0.0.0.0", &["E9 open-bind host"]),
        ("host: 0.0.0.0\ntrustedProxies: [10.0.0.1]", &[]),
        ("host: 0.0.0.0\ntls: {cert: tls.pem, key: tls.pem}", &[]),
        ("host: localhost", &[]),
        ("host: '::1'", &[]),
        ("tls: {cert: none.pem, key: tls.pem}", &["E9 file tls.cert"]),
        ("trustedProxies: [10.0.0.0/8, x]", &["E9 network trustedProxies[1]"]),
        ("trustedProxies: ['*']", &["W9 any-proxy trustedProxies"]),
        ("cors: {origin: '*'}", &["W9 any-origin cors.origin"]),
        ("cors: {origin: 'https://app.example/'}", &[]),
        ("cors: {origin: app.example}", &["W9 origin cors.origin"]),
        (
            "cors: {origin: ['http://a:80', 'https://a:8443', 'https://a/x', 'https://*.a']}",
            &["W9 origin cors.origin[0]", "W9 origin cors.origin[2]", "W9 origin cors.origin[3]"],
        ),
        ("allowedHosts: [gate.example, 192.0.2.1, '2001:db8::1']", &[]),
        (
            "allowedHosts: ['gate.example:3100', 'https://x', '[::1]', '*.x', '']",
            &[
                "W9 host-name allowedHosts[0]",
                "W9 host-name allowedHosts[1]",
                "W9 host-name allowedHosts[2]",
                "W9 host-name allowedHosts[3]",
                "W9 host-name allowedHosts[4]",
            ],
        ),
        ("prot: 3100", &["E9 unknown-key prot"]),
        ("x-note: {a: '${NONE}'}", &[]),
        ("telemetry: {}", &["E9 not-supported telemetry"]),
        ("redaction: {enabled: true}", &["E9 not-supported redaction"]),
        ("database: postgres://x", &["E9 not-supported database"]),
        ("guardrails: []", &["E9 not-supported guardrails"]),
        ("port: x", &["E9 wrong-kind port"]),
        ("port: 70000", &["E9 wrong-kind port"]),
        ("port: '3100'", &["E9 wrong-kind port"]),
        ("port: '${PORT}'", &[]),
        ("port: ${PORT}", &[]),
        ("port: ${NONE:-3200}", &[]),
        ("dataDir: ${NONE}/x", &["E9 unset-variable dataDir"]),
        ("dataDir: '${'", &["E9 interpolation dataDir"]),
        ("audit: {enabled: false}", &["E9 unaudited audit.enabled"]),
        (
            "audit: {storage: postgres, dsn: x}",
            &["E9 not-supported audit.storage", "E9 not-supported audit.dsn"],
        ),
        ("audit: {retentionDays: 90}", &["E9 not-supported audit.retentionDays"]),
        ("audit: {durability: durble}", &["E9 wrong-kind audit.durability"]),
        (
            "audit:\n  export: {type: s3}\n  hashChain: false",
            &["E10 not-supported audit.export", "W11 no-effect audit.hashChain"],
        ),
        ("metering: {dimensions: [calls, cost]}", &["E9 wrong-kind metering.dimensions[1]"]),
        ("rateLimit: {defaultPerMinute: 0}", &["W9 rate-limit rateLimit.defaultPerMinute"]),
        ("limits: [{name: a, kind: quota, max: 5, per: day}]", &[]),
        ("limits: [{name: a, kind: quota, max: 5}]", &["E9 limit limits[0]"]),
        ("limits: [{name: a, kind: quota, max: 5, per: week}]", &["E9 limit limits[0].per"]),
        ("limits: [{name: a, kind: quota, max: 0, per: day}]", &["E9 limit limits[0].max"]),
        ("limits: [{name: a, kind: quota, per: month}]", &["E9 limit limits[0].max"]),
        ("limits: [{name: a, kind: quota, max: 5, per: day, key: persn}]", &["E9 limit limits[0].key"]),
        ("limits: [{name: a, kind: quota, max: 5, per: day, burst: 2}]", &["W9 limit limits[0].burst"]),
        (
            "limits: [{name: a, max: 1}, {name: a, kind: quota, max: 5, per: day}]",
            &["E9 duplicate-id limits[1].name"],
        ),
        ("limits: [{name: a, kind: quotas, max: 5, per: day}]", &["E9 limit limits[0].kind"]),
        ("limits: [{name: a, max: 5, server: flies}]", &["W9 unknown-server limits[0].server"]),
        ("limits: [{name: a, kind: quota, max: 5, per: day, server: 'f*'}]", &[]),
        ("limits: [{name: a, max: 5, per: hour}]", &["E9 limit limits[0].per"]),
        ("limits: [{name: a, max: 5, key: 'grant:servr'}]", &["E9 limit limits[0].key"]),
        ("limits: [{name: a, max: 0}]", &["E9 limit limits[0].max"]),
        ("limits: [{name: a, max: 1}, {name: a, max: 2}]", &["E9 duplicate-id limits[1].name"]),
        ("regoPolicies: [{name: a, file: rules.rego, data: data.yaml}]", &[]),
        ("regoPolicies: [{name: a, file: none.rego}]", &["E9 file regoPolicies[0].file"]),
        ("regoPolicies: [{name: a, file: rules.rego, source: x}]", &["E9 rego regoPolicies[0]"]),
        ("regoPolicies: [{name: a, source: x, mode: shadw}]", &["E9 wrong-kind regoPolicies[0].mode"]),
        ("port: 1\nport: 2", &["E10 syntax "]),
        ("port: [1", &["E9 syntax "]),
    ];
    for (added, expected) in cases {
        assert_eq!(findings(&format!("{QUIET}{added}\n")), *expected, "{added}");
    }
}

#[test]
fn what_is_odd_about_keys_is_found() {
    let cases: &[(&str, &[&str])] = &[
        (
            "{id: a, key: gw_mine, consumerId: c, roles: [r], enabled: true}",
            &["W4 plaintext-key auth.keys[0].key"],
        ),
        (
            "{id: a, key: gw_your_key_here, consumerId: c, roles: [r], enabled: true}",
            &["W4 published-key auth.keys[0].key"],
        ),
        (
            "{id: a, key: \"gw_mine\\n\", consumerId: c, roles: [r], enabled: true}",
            &["E4 key-text auth.keys[0].key"],
        ),
        (
            "{id: a, key: ' gw_mine', consumerId: c, roles: [r], enabled: true}",
            &["E4 key-text auth.keys[0].key"],
        ),
        ("{id: a, key: $KEY, consumerId: c, roles: [r], enabled: true}", &["E4 key-text auth.keys[0].key"]),
        (
            "{id: a, key: Bearer gw, consumerId: c, roles: [r], enabled: true}",
            &["E4 key-text auth.keys[0].key"],
        ),
        (
            "{id: a, key: 'sha256:abc', consumerId: c, roles: [r], enabled: true}",
            &["E4 key-hash auth.keys[0].key"],
        ),
        ("{id: a, key: HASH, consumerId: c, roles: [r]}", &["W4 not-enabled auth.keys[0].enabled"]),
        ("{id: a, key: HASH, roles: [r], enabled: true}", &["E4 key auth.keys[0]"]),
        ("{id: a, key: HASH, person: ana, roles: [r], enabled: true}", &[]),
        (
            "{id: a, key: HASH, agent: x, consumerId: y, roles: [r], enabled: true}",
            &["E4 key auth.keys[0].agent"],
        ),
        ("{id: a, consumerId: y, roles: [r], enabled: true}", &["E4 key auth.keys[0]"]),
        (
            "{id: a, key: HASH, consumerId: c, roles: [r], enabled: true, expiresAt: soon}",
            &["E4 expires-at auth.keys[0].expiresAt"],
        ),
        ("{id: a, key: HASH, consumerId: c, roles: [r], enabled: true, expiresAt: 2027-01-01}", &[]),
        (
            "{id: a, key: HASH, consumerId: c, roles: [r], enabled: true, servers: [x]}",
            &["W4 unknown-server auth.keys[0].servers"],
        ),
        (
            "{id: a, key: HASH, consumerId: c, roles: [other], enabled: true}",
            &["W7 role-unused policies[0].roles"],
        ),
        (
            "{id: a, key: HASH, consumerId: c, roles: [r], enabled: true, rateLimit: 0}",
            &["W4 rate-limit auth.keys[0].rateLimit"],
        ),
        (
            "{id: a, key: HASH, consumerId: c, roles: [r], enabled: true, expires: 2027}",
            &["E4 unknown-key auth.keys[0].expires"],
        ),
        ("{id: a, key: HASH, consumerId: c, roles: r, enabled: true}", &["E4 wrong-kind auth.keys[0].roles"]),
        (
            "{id: a, key: HASH, consumerId: c, roles: [r], enabled: true}\n    - {id: a, key: abc, consumerId: c, roles: [r], enabled: true}",
            &[
                "E5 duplicate-id auth.keys[1].id",
                "W5 plaintext-key auth.keys[1].key",
                "E5 duplicate-key auth.keys[1].key",
            ],
        ),
    ];
    for (key, expected) in cases {
        let key = key.replace("HASH", HASH);
        let text = format!(
            "# auth\nauth:\n  keys:\n    - {key}\nservers: [{{id: files, command: x, enabled: true}}]\npolicies:\n  - {{id: p, roles: [r], rules: [{{action: allow}}]}}\n"
        );
        let found = findings(&text);
        assert_eq!(found, *expected, "{key}");
    }
    let exposed = findings(
        "host: 0.0.0.0\ntrustedProxies: [10.0.0.1]\nauth: {keys: [{id: a, key: gw_abc123def456, consumerId: c, roles: ['*'], enabled: true}]}\n\
         policies: [{id: p, roles: ['*'], rules: [{action: allow}]}]",
    );
    assert_eq!(exposed, ["E3 published-key auth.keys[0].key"], "everybody knows it");
}

#[test]
fn what_is_odd_about_servers_is_found() {
    let cases: &[(&str, &[&str])] = &[
        ("{id: a, command: x, enabled: true}", &[]),
        ("{id: a, url: 'https://a.example/mcp', enabled: true}", &[]),
        ("{id: a, command: x}", &["W2 not-enabled servers[0].enabled"]),
        ("{id: My_Server, command: x, enabled: true}", &["W2 server-id servers[0].id"]),
        ("{id: My.Server, command: x, enabled: true}", &["E2 server-id servers[0].id"]),
        ("{id: _gateway, command: x, enabled: true}", &["E2 server-id servers[0].id"]),
        ("{id: gateway, command: x, enabled: true}", &["E2 server-id servers[0].id"]),
        ("{command: x, enabled: true}", &["E2 server-id servers[0].id"]),
        (
            "{id: a, command: x, enabled: true}, {id: a, command: y, enabled: true}",
            &["E2 duplicate-id servers[1].id"],
        ),
        ("{id: a, enabled: true}", &["E2 transport servers[0]"]),
        ("{id: a, url: 'https://a', command: x, enabled: true}", &["E2 transport servers[0]"]),
        (
            "{id: a, url: 'https://a', command: x, transport: http, enabled: true}",
            &["E2 transport servers[0].command"],
        ),
        (
            "{id: a, url: 'https://a', command: x, transport: stdio, enabled: true}",
            &["E2 transport servers[0].url"],
        ),
        ("{id: a, url: 'https://a', review: tofu, enabled: true}", &["W2 no-effect servers[0].review"]),
        ("{id: a, url: 'https://10.0.0.8/mcp', enabled: true}", &["W2 private-address servers[0].url"]),
        ("{id: a, url: 'https://169.254.169.254/', enabled: true}", &["E2 private-address servers[0].url"]),
        ("{id: a, command: x, timeout: 30, enabled: true}", &["W2 milliseconds servers[0].timeout"]),
        (
            "{id: a, command: x, startTimeout: 999, enabled: true}",
            &["W2 milliseconds servers[0].startTimeout"],
        ),
        ("{id: a, command: x, idleTimeout: 1, enabled: true}", &["W2 milliseconds servers[0].idleTimeout"]),
        ("{id: a, command: x, timeout: 1000, startTimeout: 0, enabled: true}", &[]),
        (
            "{id: a, url: 'https://a', env: {A: b}, maxMemory: 5, enabled: true}",
            &["W2 no-effect servers[0].env", "W2 no-effect servers[0].maxMemory"],
        ),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: bearer, token: \"a\\nb\"}}",
            &["E2 credential servers[0].credential.token"],
        ),
        ("{id: a, command: x, transport: http, enabled: true}", &["E2 transport servers[0]"]),
        ("{id: a, url: 'http://a.example/', enabled: true}", &["E2 url servers[0].url"]),
        ("{id: a, url: 'http://a.example/', allowInsecureHttp: true, enabled: true}", &[]),
        ("{id: a, url: 'https://${NONE}/', enabled: true}", &["W2 unset-variable servers[0]"]),
        ("{id: a, command: x, enabled: true, healthCheck: true}", &["W2 no-effect servers[0].healthCheck"]),
        ("{id: a, command: x, enabled: true, headers: {}}", &["E2 not-supported servers[0].headers"]),
        ("{id: a, command: x, enabled: true, timeOut: 5}", &["E2 unknown-key servers[0].timeOut"]),
        ("{id: a, url: 'https://a', enabled: true, credential: {kind: bearer, token: '${TOKEN}'}}", &[]),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: none, token: x}}",
            &["W2 unused servers[0].credential.token"],
        ),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: bearer, token: x, headers: {A: b}}}",
            &["W2 unused servers[0].credential.headers"],
        ),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: bearer}}",
            &["E2 credential servers[0].credential"],
        ),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: oauth}}",
            &["E2 not-supported servers[0].credential"],
        ),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: baerer}}",
            &["E2 credential servers[0].credential"],
        ),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: headers, headers: {'x y': z}}}",
            &["E2 credential servers[0].credential.headers.x y"],
        ),
        (
            "{id: a, url: 'https://a', enabled: true, credential: {kind: env}}",
            &["E2 credential servers[0].credential"],
        ),
        (
            "{id: a, command: x, enabled: true, credential: {kind: bearer, token: x}}",
            &["E2 credential servers[0].credential"],
        ),
    ];
    for (servers, expected) in cases {
        let text = format!(
            "auth: {{keys: [{{id: k, key: '{HASH}', consumerId: c, roles: [r], enabled: true}}]}}\nservers: [{servers}]\npolicies: [{{id: p, roles: [r], rules: [{{action: allow}}]}}]\n"
        );
        assert_eq!(findings(&text), *expected, "{servers}");
    }
}

#[test]
fn what_is_odd_about_rules_is_found() {
    let cases: &[(&str, &[&str])] = &[
        ("- {tool: 'get_*', action: allow}", &[]),
        ("- {tool: '*mid*', action: deny}\n      - {action: allow}", &["W8 glob policies[0].rules[0].tool"]),
        ("- {tool: 'a*b', action: allow}", &["W8 glob policies[0].rules[0].tool"]),
        (
            "- {server: 'nope*', action: allow}",
            &["W3 unreachable-server servers[0]", "W8 rule-never-matches policies[0].rules[0].server"],
        ),
        ("- {action: deny}", &["W3 unreachable-server servers[0]"]),
        (
            "- {tool: 'get_*', action: allow}\n      - {tool: get_x, action: deny}",
            &["W9 rule-never-matches policies[0].rules[1]"],
        ),
        ("- {tool: get_x, action: deny}\n      - {tool: 'get_*', action: allow}", &[]),
        ("- {action: allow}\n      - {tool: get_x, action: deny}", &[]),
        (
            "- {tool: 'get_*', action: allow, conditions: [{param: p, operator: eq, value: 1}]}\n      - {tool: get_x, action: deny}",
            &[],
        ),
        ("- {tool: x, action: alow}", &["E8 wrong-kind policies[0].rules[0].action"]),
        ("- {tool: x}", &["E8 wrong-kind policies[0].rules[0]"]),
        (
            "- {action: allow, conditions: [{param: p, operator: equals, value: 1}]}",
            &["E8 wrong-kind policies[0].rules[0].conditions[0].operator"],
        ),
        ("- {action: approve}", &["W8 not-supported policies[0].rules[0].action"]),
        ("- {action: allow, when: x}", &["E8 unknown-key policies[0].rules[0].when"]),
    ];
    for (rules, expected) in cases {
        let text = format!(
            "auth: {{keys: [{{id: k, key: '{HASH}', consumerId: c, roles: [r], enabled: true}}]}}\n\
             servers:\n  - {{id: a, command: x, enabled: true}}\n\
             policies:\n  - id: p\n    roles: [r]\n    rules:\n      {rules}\n"
        );
        assert_eq!(findings(&text), *expected, "{rules}");
    }
    let none = format!("auth: {{keys: [{{id: k, key: '{HASH}', consumerId: c, enabled: true}}]}}");
    assert_eq!(findings(&none), ["W0 no-policy policies"]);
    assert_eq!(findings(""), ["W0 no-keys auth", "W0 no-policy policies"]);
}

#[test]
fn policies_that_no_record_could_hold_are_refused() {
    let module = |at: usize, mode: &str| format!("  - {{name: m{at}, mode: {mode}, file: rules.rego}}\n");
    let modules = |mode: &str, count: usize| (0..count).map(|at| module(at, mode)).collect::<String>();
    let with = |count: usize| {
        format!(
            "{QUIET}regoPolicies:\n{}{}  - {{name: off, mode: off, file: rules.rego}}\n",
            modules("shadow", count),
            module(99, "enforce")
        )
    };
    assert_eq!(findings(&with(32)), Vec::<String>::new());
    assert_eq!(findings(&with(33)), ["E9 too-many-shadows regoPolicies"]);

    let (longest, longer) = ("ü".repeat(128), "ü".repeat(129));
    let named = |id: &str, name: &str, rego: &str| {
        let policies = QUIET.replace("{id: p,", &format!("{{id: {id}, name: {name},"));
        format!("{policies}regoPolicies:\n  - {{name: {rego}, file: rules.rego}}\n")
    };
    assert_eq!(findings(&named(&longest, &longest, &longest)), Vec::<String>::new());
    for (text, path) in [
        (named(&longer, "n", "r"), "E8 long-name policies[0].id"),
        (named("p", &longer, "r"), "E8 long-name policies[0].name"),
        (named("p", "n", &longer), "E10 long-name regoPolicies[0].name"),
    ] {
        assert_eq!(findings(&text), [path]);
    }
}

#[test]
fn what_is_odd_about_tokens_is_found() {
    let long = "q7Rk2mZp9Lw4Tn8Vb3Yc6Hd1Jf5Gs0Xa";
    let cases: &[(&str, &[&str])] = &[
        ("{type: jwt, jwt: {secret: LONG, issuer: i, audience: a}}", &[]),
        ("{type: jwt, jwt: {secret: LONG, anyIssuer: true, anyAudience: true}}", &[]),
        ("{type: jwt, jwt: {secret: short, issuer: i, audience: a}}", &["E1 weak-secret auth.jwt.secret"]),
        ("{type: jwt, jwt: {secret: LONG, issuer: i}}", &["E1 no-audience auth.jwt.audience"]),
        ("{type: jwt, jwt: {secret: LONG, issuer: i, audience: ''}}", &["E1 no-audience auth.jwt.audience"]),
        ("{type: jwt, jwt: {secret: LONG, audience: a}}", &["E1 no-issuer auth.jwt.issuer"]),
        (
            "{type: jwt, jwt: {jwksUri: 'https://id.example/keys'}}",
            &["E1 no-issuer auth.jwt.issuer", "E1 no-audience auth.jwt.audience"],
        ),
        (
            "{type: jwt, jwt: {secret: LONG, issuer: i, anyIssuer: true, audience: a, anyAudience: true}}",
            &["W1 unused auth.jwt.anyIssuer", "W1 unused auth.jwt.anyAudience"],
        ),
        (
            "{type: jwt, jwt: {secret: \"LONG\\n\", issuer: i, audience: a}}",
            &["W1 secret-text auth.jwt.secret"],
        ),
        (
            "{type: jwt, jwt: {secret: LONG, issuer: i, audience: [a, b], jwksUri: 'https://id.example/keys'}}",
            &["W1 jwt auth.jwt"],
        ),
        (
            "{type: jwt, jwt: {issuer: i, audience: a, jwksUri: 'http://id.example/keys'}}",
            &["E1 url auth.jwt.jwksUri"],
        ),
        ("{type: jwt, jwt: {issuer: i, audience: a, publicKey: x}}", &["E1 jwt auth.jwt.publicKey"]),
        (
            "{type: jwt, jwt: {secret: LONG, issuer: i, audience: a, leewaySeconds: 301}}",
            &["E1 jwt auth.jwt.leewaySeconds"],
        ),
        ("{type: jwt}", &["E1 jwt auth.jwt"]),
        ("{type: oidc}", &["E1 oidc auth.oidc"]),
        ("{type: oidc, oidc: {issuerUrl: 'https://id.example'}}", &["E1 oidc auth.oidc"]),
        (
            "{type: oidc, oidc: {issuerUrl: 'http://id.example', clientId: a}}",
            &["E1 url auth.oidc.issuerUrl"],
        ),
        (
            "{type: oidc, oidc: {issuerUrl: 'https://id.example', clientId: a, allowedDomains: [a.example]}}",
            &[],
        ),
        (
            "{type: none, oidc: {issuerUrl: 'https://id.example'}}",
            &["W1 no-auth auth.type", "W1 unused auth.oidc"],
        ),
        ("{type: none}", &["W1 no-auth auth.type"]),
        ("{type: api_key}", &["E1 wrong-kind auth.type"]),
    ];
    for (auth, expected) in cases {
        let auth = auth.replace("LONG", long);
        let text = format!("auth: {auth}\npolicies: [{{id: p, roles: ['*'], rules: [{{action: allow}}]}}]\n");
        assert_eq!(findings(&text), *expected, "{auth}");
    }
}

#[test]
fn findings_never_repeat_a_secret() {
    let texts = [
        "servers: [{id: a, url: 'https://a', credential: 'S3CR3T'}]",
        "servers: [{id: a, url: 'https://a', credential: {kind: headers, headers: S3CR3T}}]",
        "servers: [{id: a, url: 'https://u:S3CR3T@a/', enabled: true}]",
        "servers: [{id: a, url: 'S3CR3T', enabled: true}]",
        "auth: {keys: [{id: a, key: S3CR3T, enabled: S3CR3T}]}",
        "auth: {keys: S3CR3T}",
        "auth: {type: jwt, jwt: {publicKey: S3CR3T, leewaySeconds: S3CR3T}}",
        "port: S3CR3T",
    ];
    for text in texts {
        let lints = load(text).expect_err(text);
        let said: String = lints.iter().map(|lint| format!("{lint}\n{lint:?}")).collect();
        assert!(!said.contains("S3CR3T"), "{text}: {said}");
    }
    let loaded = load(&format!("{QUIET}\n  - {{id: x, roles: [r]}}")).expect("valid");
    assert!(!format!("{:?}", loaded.config).contains("ba7816bf"), "not even a hash");
}

#[test]
fn a_time_in_seconds_is_told_what_it_must_be() {
    let said = |timeout: &str| {
        let text = format!("servers: [{{id: a, command: x, timeout: {timeout}, enabled: true}}]");
        load(&text).expect_err("no number")[0].to_string()
    };
    let expected = "servers[0].timeout: `timeout` is a number of milliseconds, such as 30000";
    assert!(said("30s").ends_with(&format!("{expected}; found the text \"30s\"")), "{}", said("30s"));
    assert!(
        said("'30000'").ends_with(&format!("{expected}; found the text \"30000\"")),
        "{}",
        said("'30000'")
    );
    assert!(said("S3CR3T").ends_with(expected), "{}", said("S3CR3T"));
    assert!(said("[1]").ends_with(expected), "{}", said("[1]"));
    let schema: serde_json::Value = serde_json::from_str(&doorward::config::schema()).expect("JSON");
    let members = schema["$defs"]["ServerFile"]["properties"].as_object().expect("members");
    let is_time =
        |member: &serde_json::Value| member["description"].as_str().unwrap_or("").contains("milliseconds");
    let times: Vec<_> = members.iter().filter(|(_, member)| is_time(member)).map(|(key, _)| key).collect();
    assert!(times.len() >= 3, "{times:?}");
    for key in times {
        let text = format!("servers: [{{id: a, command: x, {key}: 30s, enabled: true}}]");
        let said = load(&text).expect_err("no number")[0].to_string();
        assert!(said.contains(&format!("`{key}` is a number of milliseconds, such as 30000")), "{said}");
        let text = format!("servers: [{{id: a, command: x, {key}: 30, enabled: true}}]");
        let found = findings(&text);
        assert!(found.contains(&format!("W1 milliseconds servers[0].{key}")), "{key}: {found:?}");
    }
}

#[test]
fn what_the_file_says_is_what_is_configured() {
    let text = "
host: localhost
port: ${PORT}
allowedHosts: [gate.example]
cors: {origin: https://app.example}
ipFilter: {enabled: true, mode: denylist, ips: [10.0.0.0/8]}
dataDir: data
auth:
  keys:
    - {id: k, key: abc, person: ana@corp.example, agent: claude, roles: [r], servers: [api], scopes: [audit.read], expiresAt: '2027-01-01', rateLimit: 5, enabled: true}
servers:
  - {id: api, url: 'https://a/mcp', protocol: modern, credential: {kind: bearer, token: '${TOKEN}'}, idleTimeout: 5000, enabled: true}
  - {id: old, url: 'https://b/sse', transport: sse, credential: {kind: headers, headers: {X-Key: '${TOKEN}'}}, disable: ['delete_*'], enabled: false}
  - {id: child, command: c, env: {A: 'x$${y}'}, credential: {kind: env, env: {B: '${TOKEN}'}}, cwd: w, maxMemory: 1000, enabled: true}
policies: [{id: p, roles: [r], rules: [{server: '', tool: t, action: allow, conditions: [{param: a, operator: not_in, value: [1, '1', '${X}']}]}]}]
regoPolicies: [{name: g, file: rules.rego, data: data.yaml, mode: shadow}]
limits:
  - {name: l, key: 'person:tool', server: 'a*', max: 5, per: second, burst: 9}
  - {name: q, kind: quota, key: person, server: '', tool: 'create_*', max: 7, per: month}
audit: {durability: strict, anchors: [a.txt], dir: log}
";
    let loaded = load(text).expect("valid");
    let config = &loaded.config;
    let base = loaded.path.parent().expect("in a directory");
    assert_eq!((config.listen.port, config.data_dir.clone()), (4000, base.join("data")));
    assert!(!config.listen.ip_filter.as_ref().expect("on").admits("10.1.1.1".parse().expect("address")));
    let key = &config.auth.keys[0].settings;
    assert_eq!(key.person.as_ref().and_then(|person| person.email.as_deref()), Some("ana@corp.example"));
    assert_eq!((key.agent.as_deref(), key.rate_limit), (Some("claude"), Some(5)));
    assert_eq!(key.servers.as_ref().map(|ids| ids.len()), Some(1));
    let Credential::Bearer(token) = &config.servers[0].credential else { panic!("a token") };
    assert_eq!(token.expose(), "t0k3n");
    assert_eq!(config.servers[0].idle_timeout, Some(Duration::from_secs(5)));
    assert_eq!(config.servers[1].transport.as_str(), "sse");
    let Transport::Stdio { env, .. } = &config.servers[2].transport else { panic!("a child") };
    let env: Vec<_> = env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
    assert_eq!(env, ["A=x${y}", "B=t0k3n"]);
    let rule = &config.policies[0].rules[0];
    assert_eq!(rule.server, None, "an empty glob is none");
    assert_eq!(rule.conditions[0].value, serde_json::json!([1, "1", "${X}"]), "rules are left as written");
    assert_eq!(
        config.rego_policies[0].data.as_deref(),
        Some(r#"{"limits":{"refund":50.5},"names":["a","1"]}"#)
    );
    assert_eq!(loaded.files, [base.join("rules.rego"), base.join("data.yaml")]);
    assert_eq!(config.limits.default, None, "nobody asked for one");
    assert_eq!((config.limits.rates[0].max, config.limits.rates[0].burst), (5, 9));
    let quota = Quota {
        name: "q".to_owned(),
        key: "person".to_owned(),
        server: None,
        tool: Some("create_*".to_owned()),
        max: 7,
        per: Calendar::Month,
    };
    assert_eq!(config.limits.quotas, [quota]);
    assert_eq!(config.audit.dir, base.join("log"));
    assert_eq!(config.audit.capture, Capture::Preview);
}

#[test]
fn the_same_in_json() {
    let text = r#"{"$schema": "x", "auth": {"keys": [{"id": "k", "key": "abc", "consumerId": "c", "roles": ["r"], "enabled": true}]},
        "servers": [{"id": "a", "command": "x", "enabled": true}], "policies": [{"id": "p", "roles": ["r"], "rules": [{"action": "allow"}]}]}"#;
    let loaded = load_named("gateway.json", text).expect("valid");
    assert_eq!(
        loaded.lints.iter().map(|lint| (lint.code, lint.line)).collect::<Vec<_>>(),
        [("plaintext-key", Some(1))]
    );
    let broken = load_named("gateway.json", "{\n\"port\": 1,\n}").expect_err("a comma too many");
    assert_eq!((broken[0].code, broken[0].line), ("syntax", Some(3)));
}

#[test]
fn the_digest_covers_the_files_that_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gateway.yaml");
    let digest = |rego: &str, text: &str| {
        std::fs::write(dir.path().join("a.rego"), rego).expect("written");
        std::fs::write(&path, text).expect("written");
        Config::load(&path, &|_| None).expect("valid").digest
    };
    let text = "regoPolicies: [{name: a, file: a.rego}]";
    let first = digest("package a", text);
    assert!(first.starts_with("sha256:"));
    assert_eq!(digest("package a", text), first);
    assert_ne!(digest("package b", text), first);
    assert_ne!(digest("package a", &format!("{text}\n# changed")), first);
}

#[test]
fn the_port_comes_from_the_environment_first() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/readme-gateway.yaml");
    let with = |port: &'static str| {
        Config::load(&path, &move |name| (name == "MCP_GATEWAY_PORT").then(|| port.to_owned()))
    };
    assert_eq!(with("5000").expect("valid").config.listen.port, 5000);
    assert_eq!(with("").expect("valid").config.listen.port, 3100);
    assert!(with("many").is_err());
}

#[test]
fn no_text_makes_it_panic() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/example-gateway.yaml");
    let text = std::fs::read_to_string(fixture).expect("there");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("gateway.yaml");
    for at in (0..text.len()).step_by(3).filter(|at| text.is_char_boundary(*at)) {
        let (start, end) = text.split_at(at);
        for variant in [
            start.to_owned(),
            format!("{start}{}", end.get(1..).unwrap_or_default()),
            format!("{start}[{end}"),
        ] {
            std::fs::write(&path, variant).expect("written");
            // Whatever it says, it says it with a finding.
            match Config::load(&path, &|_| None) {
                Ok(loaded) => assert!(loaded.lints.iter().all(|lint| !lint.is_error())),
                Err(lints) => assert!(lints.iter().any(Lint::is_error)),
            }
        }
    }
}

#[test]
fn a_name_as_clients_see_it_is_refused_where_a_servers_own_is_meant() {
    let with = |disable: &str, rule: &str, limit: &str| {
        format!(
            "servers: [{{id: pay, url: 'https://a', enabled: true, disable: [{disable}]}}]\npolicies: [{{id: p, roles: ['*'], rules: [{{{rule}action: allow}}]}}]\nlimits: [{{name: l, max: 5{limit}}}]\n"
        )
    };
    let cases = [
        (with("", "tool: refund, ", ", tool: refund"), ""),
        (with("", "tool: other__refund, ", ""), ""),
        (with("", "tool: 'pa*__refund', ", ""), ""),
        (with("", "tool: pay__refund, ", ""), "E policies[0].rules[0].tool"),
        (with("", "tool: 'pay__*', ", ""), "E policies[0].rules[0].tool"),
        (with("", "server: pay, prompt: pay__review, ", ""), "E policies[0].rules[0].prompt"),
        (with("", "", ", tool: pay__refund"), "E limits[0].tool"),
        (with("", "", ", kind: quota, per: day, tool: pay__refund"), "E limits[0].tool"),
        (with("pay__refund", "", ""), "E servers[0].disable[0]"),
        (
            format!(
                "{}auth: {{}}\naudit: {{storage: file}}\nmetering: {{}}\n",
                with("", "tool: pay__refund, ", "")
            ),
            "W policies[0].rules[0].tool",
        ),
    ];
    for (text, expected) in cases {
        let found: Vec<_> =
            findings(&text).into_iter().filter(|finding| finding.contains("client-name")).collect();
        let severity_and_path = |finding: &String| {
            format!("{} {}", &finding[..1], finding.rsplit(' ').next().unwrap_or_default())
        };
        assert_eq!(found.iter().map(severity_and_path).collect::<String>(), expected, "{text}");
    }
    let lints = load(&with("", "tool: pay__refund, ", "")).expect_err("refused");
    let lint = lints.iter().find(|lint| lint.code == "client-name").expect("found");
    assert_eq!(lint.remedy.as_deref(), Some("write `server: pay` and `tool: \"refund\"`"));
}
