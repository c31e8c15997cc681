//! Keys that people may expect and that mean nothing yet.
//!
//! A key is never passed over in silence. Where ignoring it could let something happen
//! that it was meant to prevent, or move data elsewhere than it says, it is an error.

use super::lint::{Findings, Severity, did_you_mean};
use super::servers::{Review, Server};
use super::typed::Unknown;

/// Path (list positions left out), how bad it is to go without, and what to say.
const NOT_YET: [(&str, Severity, &str); 19] = [
    (
        "database",
        Severity::Error,
        "another database is not supported yet: everything is kept under `dataDir`",
    ),
    ("guardrails", Severity::Error, "guardrails are not supported yet: nothing would be checked"),
    ("approvals", Severity::Error, "approvals are not supported yet"),
    (
        "redaction",
        Severity::Warning,
        "redaction is not supported yet: nothing is redacted beside what previews leave out",
    ),
    ("tenants", Severity::Warning, "tenants are not supported yet: there is one"),
    ("webhooks", Severity::Warning, "webhooks are not supported yet: nothing is sent"),
    ("exports", Severity::Warning, "exports are not supported yet: nothing is exported"),
    (
        "telemetry",
        Severity::Warning,
        "telemetry is set up by the variables of OpenTelemetry: OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
    ("oauth", Severity::Error, "OAuth for clients is not supported yet"),
    ("vault", Severity::Error, "other stores of secrets are not supported yet"),
    ("audit.retentionDays", Severity::Warning, "records are not removed yet: they are kept for ever"),
    ("audit.export", Severity::Warning, "exports are not supported yet: nothing is exported"),
    ("audit.webhookUrl", Severity::Warning, "webhooks are not supported yet: nothing is sent"),
    (
        "audit.dsn",
        Severity::Warning,
        "another database is not supported yet: records are kept under `dataDir`",
    ),
    ("audit.redact", Severity::Error, "redaction is not supported yet: nothing would be redacted"),
    ("servers.hide", Severity::Error, "`hide` is not supported: use `disable`, which hides as well"),
    ("servers.headers", Severity::Error, "headers belong into `credential: {kind: headers, headers: …}`"),
    ("servers.guardrails", Severity::Error, "guardrails are not supported yet: nothing would be checked"),
    ("limits.cost", Severity::Error, "costs are not supported yet: every call counts as one"),
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

/// Says of every key that nothing asked for what it was perhaps meant to be.
pub(crate) fn report(unknown: &[Unknown], findings: &mut Findings) {
    for key in unknown {
        let plain = without_positions(&key.path);
        if let Some((_, severity, message)) = NOT_YET.iter().find(|(path, ..)| *path == plain) {
            match severity {
                Severity::Error => findings.error("not-supported", &key.path, *message),
                Severity::Warning => findings.warn("not-supported", &key.path, *message),
            };
        } else if key.key == "<<" {
            let message = "merge keys are not part of YAML 1.2: nothing is merged";
            findings.error("unknown-key", &key.path, message).remedy("write the keys out");
        } else {
            let message = format!("there is no key `{}`; it is ignored", key.key);
            findings.warn("unknown-key", &key.path, message).remedy = did_you_mean(&key.key, key.known);
        }
    }
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
