//! A trace for people. What came from outside is shown escaped, so that no terminal obeys it.

use std::io::Write;

use serde_json::Value;

use crate::commands::layout::pad;
use crate::printable::printable;

pub(super) fn print(trace: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let text = |key: &str| word(&trace[key]);
    writeln!(out, "{} {}: {} on {}", text("call"), text("operation"), text("target"), text("server"))?;
    writeln!(out, "received {}, {}{}", text("received"), ended(trace), times(trace))?;
    writeln!(out, "\nStages")?;
    for stage in trace["stages"].as_array().into_iter().flatten() {
        let mark = if stage["passed"] == true { "+" } else { "x" };
        let line = format!("  {mark} {} {}", pad(&word(&stage["stage"]), 10), members(&stage["seen"]));
        writeln!(out, "{}", line.trim_end())?;
    }
    let policies = &trace["policies"];
    writeln!(out, "\nPolicies, asked one by one")?;
    for said in policies["asked"].as_array().into_iter().flatten() {
        let mode = if said["mode"] == "shadow" { " (shadow)" } else { "" };
        let name = format!("{} {}{mode}", word(&said["kind"]), word(&said["policy"]));
        let because = [&said["rule"], &said["reasons"]].map(word).join(" ");
        let line = format!("  {} {} {}", pad(&name, 28), pad(&word(&said["says"]), 8), because.trim());
        writeln!(out, "{}", line.trim_end())?;
    }
    let together = word(&policies["together"]);
    match policies["agrees"].as_bool() {
        Some(true) => writeln!(out, "  together they say {together}, as recorded")?,
        Some(false) => writeln!(out, "  together they say {together}: not what is recorded")?,
        None => {}
    }
    for note in policies["notes"].as_array().into_iter().flatten() {
        writeln!(out, "  note: {}", word(note))?;
    }
    let attempts = trace["attempts"].as_array();
    for (at, attempt) in attempts.into_iter().flatten().enumerate() {
        writeln!(out, "\nAttempt {}: {}", at + 1, members(attempt))?;
    }
    if attempts.is_none_or(Vec::is_empty) {
        writeln!(out, "\nNothing is recorded of an attempt to reach the server")?;
    }
    Ok(())
}

fn ended(trace: &Value) -> String {
    match trace["outcome"].as_str() {
        Some(outcome) => format!("ended with {outcome}"),
        None => "has not ended".to_owned(),
    }
}

fn times(trace: &Value) -> String {
    let millis = |key: &str| trace[key].as_u64().map(|us| format!("{}.{:03} ms", us / 1_000, us % 1_000));
    match (millis("durationUs"), millis("gatewayUs"), millis("upstreamUs")) {
        (Some(all), Some(own), Some(upstream)) => {
            format!(" after {all}: {own} in the gateway, {upstream} at the server")
        }
        (Some(all), ..) => format!(" after {all}"),
        _ => String::new(),
    }
}

/// `name value, name value`, without what is not there.
fn members(value: &Value) -> String {
    let members = value.as_object().into_iter().flatten();
    let said = members.map(|(name, value)| (name, word(value))).filter(|(_, said)| !said.is_empty());
    let shown = said.map(|(name, said)| format!("{name} {said}"));
    shown.collect::<Vec<_>>().join(", ")
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text).into_owned(),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join("; "),
        Value::Object(_) => format!("({})", members(value)),
        other => other.to_string(),
    }
}
