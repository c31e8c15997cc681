//! Keys that no section knows.
//!
//! An unknown key is an error, because it may be a misspelt restriction. Free are keys that begin
//! with `x-`. A file of PetrefiedThunder/mcp-gateway keeps the keys that only that gateway
//! knows: they do nothing there either, which is said as a warning.

use super::dialect::Dialect;
use super::lint::{Findings, did_you_mean};
use super::servers::{Review, Server};
use super::typed::Unknown;

/// Keys that begin with this are free for notes and anchors.
pub(super) const FREE: &str = "x-";

/// What an unknown key was perhaps meant to be: its path without list positions, whether
/// PetrefiedThunder/mcp-gateway has it, and what to say.
const NOT_YET: [(&str, bool, &str); 19] = [
    ("database", false, "another database is not supported yet: everything is kept under `dataDir`"),
    ("guardrails", false, "guardrails are not supported yet: nothing would be checked"),
    ("approvals", false, "approvals are not supported yet"),
    ("redaction", true, "redaction is not supported yet: only previews leave secret-looking values out"),
    ("tenants", true, "tenants are not supported yet: there is one"),
    ("webhooks", false, "webhooks are not supported yet: nothing would be sent"),
    ("exports", false, "exports are not supported yet: nothing would be exported"),
    (
        "telemetry",
        false,
        "telemetry is set up by the variables of OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    ("oauth", false, "OAuth for clients is not supported yet"),
    ("vault", false, "other stores of secrets are not supported yet"),
    ("audit.retentionDays", true, "records are not removed yet: they are kept for ever"),
    ("audit.export", true, "exports are not supported yet: nothing is exported"),
    ("audit.webhookUrl", true, "webhooks are not supported yet: nothing is sent"),
    ("audit.dsn", true, "another database is not supported yet: records are kept under `dataDir`"),
    ("audit.redact", false, "redaction is not supported yet: nothing would be redacted"),
    ("servers.hide", false, "`hide` is not supported: use `disable`, which hides as well"),
    ("servers.headers", false, "headers belong into `credential: {kind: headers, headers: …}`"),
    ("servers.guardrails", false, "guardrails are not supported yet: nothing would be checked"),
    ("limits.cost", false, "costs are not supported yet: every call counts as one"),
];

/// Says of servers what is asked of them that is not built.
pub(crate) fn of_servers(servers: &[Server], findings: &mut Findings) {
    for (index, server) in servers.iter().enumerate() {
        let mut error = |key: &str, message: &str| {
            findings.error("not-supported", format!("servers[{index}].{key}"), message);
        };
        if server.review == Review::Strict {
            error("review", "`review: strict` is not supported yet: definitions are not reviewed");
        }
    }
}

/// Reports every key that no section asked for, and what it was perhaps meant to be.
pub(crate) fn report(unknown: &[Unknown], dialect: Dialect, findings: &mut Findings) {
    for key in unknown.iter().filter(|key| !key.key.starts_with(FREE)) {
        let plain = without_positions(&key.path);
        if let Some((_, is_theirs, message)) = NOT_YET.iter().find(|(path, ..)| *path == plain) {
            if *is_theirs && dialect == Dialect::Theirs {
                findings.warn("not-supported", &key.path, *message);
            } else {
                findings.error("not-supported", &key.path, *message).remedy("remove it");
            }
        } else if key.key == "<<" {
            let message = "merge keys are not part of YAML 1.2: nothing is merged";
            findings.error("unknown-key", &key.path, message).remedy("write the keys out");
        } else {
            let message = format!("unknown key `{}`", key.key);
            findings.error("unknown-key", &key.path, message).remedy(meant(key));
        }
    }
}

/// The nearest name; where none is near, all of them.
fn meant(unknown: &Unknown) -> String {
    did_you_mean(&unknown.key, unknown.known).unwrap_or_else(|| {
        let names = unknown.known.iter().filter(|name| !name.starts_with('$'));
        let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!("known here are {names}, and notes that begin with `{FREE}`")
    })
}

/// `servers[2].hide` as `servers.hide`.
fn without_positions(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}
