//! What each policy says of a recorded call, asked one by one.
//!
//! The record has the answer of all of them together. A policy by itself is asked again, with
//! the input document where that was kept, else with what the record has of it; where that is
//! not all of it, the answer says so.

use bytes::Bytes;
use doorward_ledger::CallRow;
use doorward_model::Operation;
use doorward_model::json::Document;
use doorward_policy::{Mode, Options, PolicySet, RegoSource, RolePolicy, Ruling, simulate};
use serde_json::{Value, json};

use crate::config::Config;
use crate::config::auth::AuthKind;
use crate::runtime::{rego_source, role_policy, trial};

/// All policies in the order of the file: those with role rules, then those in Rego.
pub(super) fn asked(
    row: &CallRow,
    decision: &Value,
    kept: Option<&str>,
    config: &Config,
) -> anyhow::Result<Value> {
    let mut notes = Vec::new();
    let document = match kept {
        Some(kept) => kept.to_owned(),
        None => input(row, decision, config, &mut notes).to_string(),
    };
    let roles: Vec<_> = config.policies.iter().map(role_policy).collect();
    let rego: Vec<_> = config.rego_policies.iter().map(rego_source).collect();
    let mut said = Vec::new();
    for policy in &roles {
        let name = policy.id.clone();
        said.push(one("rules", &name, "enforce", compiled(vec![policy.clone()], Vec::new()), &document)?);
    }
    for source in &rego {
        let (name, mode) = (source.name.clone(), source.mode);
        if mode == Mode::Off {
            said.push(json!({"kind": "rego", "policy": name, "mode": "off", "says": "not asked"}));
            continue;
        }
        let source = RegoSource { mode: Mode::Enforce, ..source.clone() };
        let mode = if mode == Mode::Shadow { "shadow" } else { "enforce" };
        said.push(one("rego", &name, mode, compiled(Vec::new(), vec![source]), &document)?);
    }
    let mut is_certain = true;
    let together = match compiled(roles, rego) {
        Ok(all) => {
            if decision["bundle"] != all.digest() {
                notes.push("the policies have changed since: these are the present ones".to_owned());
            }
            let verdict = ruled(&all, &document)?.decision.verdict;
            if let Some(other) = read_otherwise(row, &document).filter(|_| kept.is_none()) {
                is_certain = ruled(&all, &other)?.decision.verdict == verdict;
            }
            verdict.as_str().to_owned()
        }
        Err(error) => error,
    };
    if !is_certain {
        notes.push("whether the completion was for a prompt or a resource template is not recorded, and the policies tell them apart: they were asked about a resource template (`--full` has what they were asked, where that was kept)".to_owned());
    }
    let reached = decision["input"].as_str().is_some_and(|digest| !digest.is_empty());
    let layer = row.layer.as_str();
    let agrees = match layer {
        "rules" | "policy" => together == row.verdict,
        // What needs a human is refused, and says so.
        "approval" => together == "approve",
        _ => together == "allow",
    };
    if !reached {
        notes.push(format!("the call was decided before any policy was asked, by the layer `{layer}`"));
    } else if !matches!(layer, "rules" | "policy") {
        notes.push(format!("the call was refused by the layer `{layer}`, after the policies had been asked"));
    }
    if reached && is_certain && !agrees && kept.is_none() && !config.rego_policies.is_empty() {
        let missing =
            "scopes, groups, tags and definitions, which a Rego policy may read, are not in the record";
        notes.push(format!("{missing}: `--full` has them, where they were kept"));
    }
    Ok(
        json!({"asked": said, "together": together, "agrees": (reached && is_certain).then_some(agrees), "notes": notes}),
    )
}

fn one(
    kind: &str,
    name: &str,
    mode: &str,
    set: Result<PolicySet, String>,
    document: &str,
) -> anyhow::Result<Value> {
    let set = match set {
        Ok(set) => set,
        Err(error) => return Ok(json!({"kind": kind, "policy": name, "mode": mode, "says": error})),
    };
    let mut decision = ruled(&set, document)?.decision;
    let default = |reason: &String| reason == doorward_model::decision::DEFAULT_DENY;
    let abstains = decision.rule.is_none() && decision.reasons.first().is_some_and(default);
    let says = if abstains { "nothing" } else { decision.verdict.as_str() };
    // That nothing allows it, is no word of this policy.
    decision.reasons.retain(|reason| !default(reason));
    let reasons = decision.reasons;
    Ok(
        json!({"kind": kind, "policy": name, "mode": mode, "says": says, "rule": decision.rule, "reasons": reasons}),
    )
}

fn compiled(roles: Vec<RolePolicy>, rego: Vec<RegoSource>) -> Result<PolicySet, String> {
    let program = std::env::current_exe().unwrap_or_default();
    let trial = |source: &RegoSource| trial::in_a_child(&program, source);
    PolicySet::compile(roles, rego, &Options::default(), &trial)
        .map(|(set, _)| set)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn ruled(set: &PolicySet, document: &str) -> anyhow::Result<Ruling> {
    let document = Document::parse(Bytes::copy_from_slice(document.as_bytes()), &doorward_verify::LIMITS)?;
    Ok(simulate(set, document.root())?)
}

/// The input document, as far as the record goes.
fn input(row: &CallRow, decision: &Value, config: &Config, notes: &mut Vec<String>) -> Value {
    let arguments = match row.args.as_deref().map(serde_json::from_str::<Value>) {
        Some(Ok(arguments)) => arguments,
        Some(Err(_)) => {
            notes.push(
                "the arguments were cut off in the record: `--full` shows more, where it was kept".to_owned(),
            );
            json!({})
        }
        None => json!({}),
    };
    if arguments.to_string().contains("[masked]") {
        notes.push("some arguments are masked in the record".to_owned());
    }
    let mut document = json!({
        "operation": row.operation, "backend": row.server, "arguments": arguments,
        "user": decision["person_email"].as_str().or(row.person.as_deref()), "agent": row.agent,
        "roles": roles(row, decision, config, notes),
        "context": {
            "time": row.time, "origin": row.origin, "ip": decision["ip"],
            "client": {"name": decision["client"], "version": decision["client_version"]},
        },
    });
    let target = &row.target;
    match row.operation.as_str() {
        "tools/call" => document["tool"] = json!(target),
        "prompts/get" => document["prompt"] = json!(target),
        _ => document["resource"] = json!({"uri": target}),
    }
    without_nulls(&mut document);
    document
}

/// The input document of a completion, of which the record does not say what it was for, for the
/// other of the two.
fn read_otherwise(row: &CallRow, document: &str) -> Option<String> {
    if row.operation != Operation::CompletionComplete.as_str() {
        return None;
    }
    let mut document: Value = serde_json::from_str(document).ok()?;
    let members = document.as_object_mut()?;
    members.remove("resource");
    members.insert("prompt".to_owned(), json!(row.target));
    Some(document.to_string())
}

/// The roles of the caller are not recorded. A key's stand in the configuration.
fn roles(row: &CallRow, decision: &Value, config: &Config, notes: &mut Vec<String>) -> Vec<String> {
    let key = config.auth.keys.iter().find(|key| key.settings.id == row.grant);
    match (key, config.auth.kind) {
        (Some(key), AuthKind::ApiKey) => key.settings.roles.clone(),
        (_, AuthKind::None) => vec!["*".to_owned()],
        _ => {
            let kind = decision["grant_kind"].as_str().unwrap_or("grant");
            notes.push(format!("the roles of this {kind} are not recorded, so role rules may say otherwise"));
            Vec::new()
        }
    }
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, value| !value.is_null());
        members
            .iter_mut()
            .filter(|(name, _)| *name != "arguments")
            .for_each(|(_, value)| without_nulls(value));
    }
}
