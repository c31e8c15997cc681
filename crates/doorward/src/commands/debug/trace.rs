//! `doorward debug trace`: how one call went, from what the log says of it.
//!
//! Nothing is kept for this while calls are made: the record has the decision, the layers'
//! answer, the times and the end. What each policy said for itself is found by asking them
//! again, and shown as such.

use std::path::Path;

use doorward_ledger::{Index, Recorded};
use serde_json::{Value, json};

use super::{rules, shown};
use crate::commands::which::Named;
use crate::commands::{Exit, Surroundings, load};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  doorward debug trace 019a2b3c-4d5e-7f60-8123-456789abcdef
  doorward debug trace 019a2b3c
  doorward debug trace --last --json

The call is named by its id, which a denied call carries as `record`, by the first 8 or more digits of it, or by its
entry's number. It is read from the log, beside a running gateway or without one. `--full` asks the policies what they
were asked then, where that was kept.
Exit status: 0 the call was found, 1 there is none.";

/// Arguments of `debug trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    call: Named,
    /// Ask the policies what they were asked then, where that was kept (`audit.capture: full`)
    #[arg(long)]
    full: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let config = &loaded.config;
    let index = Index::open_caught_up(&config.audit.dir)?;
    let Some(mut found) = arguments.call.find(&index)? else {
        writeln!(world.err, "{}", arguments.call)?;
        return Ok(Exit::No);
    };
    let mut input = None;
    if arguments.full {
        let sealer = doorward_vault::open(&config.audit.key_dir, world.random)?;
        found.row.reveal(&config.audit.dir, &sealer)?;
        input = found.input(&config.audit.dir, &sealer)?;
    }
    let trace = trace(&found, input.as_deref(), config)?;
    if arguments.json {
        writeln!(world.out, "{}", serde_json::to_string_pretty(&trace)?)?;
    } else {
        shown::print(&trace, world.out)?;
    }
    Ok(Exit::Done)
}

fn trace(found: &Recorded, input: Option<&str>, config: &Config) -> anyhow::Result<Value> {
    let decision: Value = serde_json::from_slice(&found.decision)?;
    let outcome: Value = match &found.outcome {
        Some(outcome) => serde_json::from_slice(outcome)?,
        None => Value::Null,
    };
    let row = &found.row;
    // A denied call has its end in its decision.
    let (end, upstream) = (row.outcome.as_deref(), row.upstream_us.filter(|_| outcome.is_object()));
    let own = row.duration_us.map(|all| all.saturating_sub(upstream.unwrap_or_default()));
    Ok(json!({
        "call": row.call, "entry": row.seq, "hash": row.hash, "trace": decision["trace"],
        "received": row.time, "operation": row.operation, "server": row.server, "target": row.target,
        "outcome": end, "durationUs": row.duration_us, "gatewayUs": own, "upstreamUs": upstream,
        "stages": stages(&decision, &outcome, row.seq),
        "policies": rules::asked(row, &decision, input, config)?,
        "attempts": attempts(&outcome),
    }))
}

/// The stages that the call came to, in their order.
fn stages(decision: &Value, outcome: &Value, entry: u64) -> Vec<Value> {
    let some = |members: &[&str]| {
        let present = members.iter().filter(|name| !decision[**name].is_null());
        Value::Object(present.map(|name| ((*name).to_owned(), decision[*name].clone())).collect())
    };
    let layer = decision["layer"].as_str().unwrap_or_default();
    let is_allowed = decision["verdict"] == "allow";
    let mut stages = Vec::new();
    let mut passed =
        |stage: &str, seen: Value| stages.push(json!({"stage": stage, "passed": true, "seen": seen}));
    passed(
        "identify",
        some(&["person", "agent", "grant", "grant_kind", "client", "session", "ip", "origin"]),
    );
    let place = some(&["server", "target", "fingerprint"]);
    let ruling = some(&["verdict", "layer", "rule", "reasons", "shadow", "bundle", "evaluator"]);
    let limits = some(&["limits"]);
    let refused_at = match (is_allowed, layer) {
        (true, _) => None,
        // What no policy was asked about did not come as far as that.
        (_, "scope" | "exposure") if decision["input"] == "" => Some("resolve"),
        (_, "limit") => Some("admit"),
        _ => Some("authorize"),
    };
    for (stage, seen) in [("resolve", place), ("authorize", ruling), ("admit", limits)] {
        let is_refused = refused_at == Some(stage);
        let mut seen = seen;
        if is_refused && stage != "authorize" {
            seen["reasons"] = decision["reasons"].clone();
        }
        stages.push(json!({"stage": stage, "passed": !is_refused, "seen": seen}));
        if is_refused {
            stages.push(json!({"stage": "record", "passed": true, "seen": {"entry": entry}}));
            return stages;
        }
    }
    stages.push(json!({"stage": "record", "passed": true, "seen": {"entry": entry}}));
    if outcome.is_object() {
        let is_answered = !matches!(
            outcome["outcome"].as_str(),
            Some("upstream_error" | "timeout" | "cancelled" | "unknown")
        );
        let seen = json!({"upstreamUs": outcome["upstream_us"], "error": outcome["error"]});
        stages.push(json!({"stage": "send", "passed": is_answered, "seen": seen}));
        let seen =
            json!({"outcome": outcome["outcome"], "recorded": outcome["time"], "entry": outcome["_seq"]});
        stages.push(json!({"stage": "settle", "passed": true, "seen": seen}));
    }
    stages
}

/// What is recorded of the way to the server. A call is sent once; only what provably never
/// left is sent again, on a new connection, and that is not recorded.
fn attempts(outcome: &Value) -> Vec<Value> {
    if !outcome.is_object() {
        return Vec::new();
    }
    vec![json!({
        "outcome": outcome["outcome"], "status": outcome["upstream_status"], "upstreamUs": outcome["upstream_us"],
        "bytesOut": outcome["bytes_in"], "bytesIn": outcome["bytes_out"], "error": outcome["error"],
    })]
}
