//! `doorward verify`: is a proof of a past decision true? Asks no gateway, no log, no network.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use doorward_ledger::{is_anchored, is_verifier_key};
use doorward_verify::{Flaw, Reached, Verified, verify};
use serde_json::{Value, json};

use super::{Exit, Surroundings};
use crate::printable::printable;
use crate::runtime::trial;

const EXAMPLES: &str = "\
Examples:
  doorward verify proof.json --key ledger.pub
  doorward verify proof.json --key 'doorward+1a2b3c4d+AQ…' --anchor /mnt/elsewhere/checkpoints
  doorward verify proof.json --key ledger.pub --json | jq .reached

The proof is what `doorward audit prove` writes; the key is the file `ledger.pub` beside the log, or what it says. No
gateway, no log and no network are asked. The policies in the proof are compiled and asked again.
Exit status: 0 the proof holds, 1 it does not, and which part of it, 4 it is intact and its verdict was not repeated,
because the proof lacks the policies or what they were asked.";

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The proof
    proof: PathBuf,
    /// The log's public key: a file, or the key itself
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A copy of the checkpoints kept elsewhere, which has to hold the proof's; repeat for several
    #[arg(long, value_name = "FILE")]
    anchor: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let proof = fs::read(&arguments.proof).with_context(|| arguments.proof.display().to_string())?;
    let key = key(&arguments.key)?;
    let program = std::env::current_exe()?;
    let held = verify(&proof, &key, &|source| trial::in_a_child(&program, source));
    let held = match held {
        Ok(held) => anchored(&held, &arguments.anchor, &key)?.map_or(Ok(held), Err),
        Err(flaw) => Err(flaw),
    };
    match (&held, arguments.json) {
        (held, true) => {
            let answer = as_json(held, !arguments.anchor.is_empty());
            writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        }
        (Ok(held), false) => {
            print(held, &arguments.anchor, world.out)?;
        }
        (Err(flaw), false) => {
            writeln!(world.out, "❌ FAIL {}", printable(&flaw.to_string()))?;
        }
    }
    Ok(match &held {
        Ok(held) if is_repeated(held.reached) => Exit::Done,
        Ok(_) => Exit::NotRepeated,
        Err(_) => Exit::No,
    })
}

/// The verifier key that `--key` names or is; it has a plus sign behind its name.
pub(super) fn key(given: &str) -> anyhow::Result<String> {
    let key = match fs::read_to_string(given) {
        Ok(key) => key.trim().to_owned(),
        Err(_) if given.contains('+') && !Path::new(given).exists() => given.trim().to_owned(),
        Err(error) => {
            bail!("--key {given}: {error}; it is the file `ledger.pub` beside the log, or what it says")
        }
    };
    if !is_verifier_key(&key) {
        bail!(
            "--key {given}: this is no public key of a log, `<name>+<hash>+<key>`, or its hash is not that of the key"
        );
    }
    Ok(key)
}

fn anchored(held: &Verified, anchors: &[PathBuf], key: &str) -> anyhow::Result<Option<Flaw>> {
    for anchor in anchors {
        if !is_anchored(anchor, key, &held.checkpoint)? {
            let reason = format!(
                "{} does not hold the checkpoint over {} entries that the proof has",
                anchor.display(),
                held.checkpoint.size
            );
            return Ok(Some(Flaw { field: "checkpoint".to_owned(), reason }));
        }
    }
    Ok(None)
}

fn as_json(held: &Result<Verified, Flaw>, is_anchored: bool) -> Value {
    match held {
        Ok(held) => json!({
            "valid": true,
            "reached": held.reached.as_str(),
            "repeated": is_repeated(held.reached),
            "anchored": is_anchored,
            "checkpoint": {
                "origin": held.checkpoint.origin, "entries": held.checkpoint.size, "time": held.checkpoint.time,
            },
            "decision": held.decision,
            "outcome": held.outcome,
        }),
        Err(flaw) => json!({"valid": false, "field": flaw.field, "reason": flaw.reason}),
    }
}

fn print(held: &Verified, anchors: &[PathBuf], out: &mut dyn std::io::Write) -> std::io::Result<()> {
    let decision = &held.decision;
    let word = |key: &str| printable(decision[key].as_str().unwrap_or("none")).into_owned();
    writeln!(out, "{}", headline(held.reached))?;
    writeln!(
        out,
        "logged    entry {} of `{}`, under the checkpoint over {} entries signed {}",
        decision["_seq"],
        printable(&held.checkpoint.origin),
        held.checkpoint.size,
        printable(&held.checkpoint.time),
    )?;
    if !anchors.is_empty() {
        writeln!(out, "anchored  in {} other places", anchors.len())?;
    }
    writeln!(
        out,
        "decided   {} {} {} on {}, for person {}, agent {}, at {}",
        word("verdict"),
        word("operation"),
        word("target"),
        word("server"),
        word("person"),
        word("agent"),
        word("time"),
    )?;
    writeln!(out, "because   rule {}{}", word("rule"), reasons(decision))?;
    let end = held.outcome.as_ref().unwrap_or(decision)["outcome"].as_str();
    writeln!(out, "ended     {}", printable(end.unwrap_or("not shown")))?;
    writeln!(out, "verdict   {}", words(held.reached))
}

/// Whether everything was asked again that had been asked.
fn is_repeated(reached: Reached) -> bool {
    match reached {
        Reached::Same | Reached::AllowedByPolicy | Reached::RefusedByPolicy | Reached::NotAsked => true,
        Reached::NoInput | Reached::NoPolicies => false,
    }
}

fn headline(reached: Reached) -> &'static str {
    match reached {
        Reached::Same | Reached::AllowedByPolicy | Reached::RefusedByPolicy => {
            "✅ The proof holds, and its verdict was repeated."
        }
        Reached::NotAsked => "✅ The proof holds. No policy had been asked.",
        Reached::NoInput => {
            "⚠️ Intact, but the verdict was NOT repeated: the proof lacks what the policies were asked."
        }
        Reached::NoPolicies => "⚠️ Intact, but the verdict was NOT repeated: the proof lacks the policies.",
    }
}

/// What was said to whoever was refused.
fn reasons(decision: &Value) -> String {
    let reasons = decision["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    reasons.map(|reason| format!("; {}", printable(reason))).collect()
}

fn words(reached: Reached) -> &'static str {
    match reached {
        Reached::Same => "reached again from the policies and what they were asked",
        Reached::AllowedByPolicy => {
            "the policies allow it again, as they did; it was refused for another reason"
        }
        Reached::RefusedByPolicy => {
            "the policies refuse it again, as they did; it was answered as unknown, because there may be no such thing"
        }
        Reached::NotAsked => "not the policies': the call was refused before they were asked",
        Reached::NoInput => "not reached again: the proof does not have what the policies were asked",
        Reached::NoPolicies => "not reached again: the proof does not have the policies",
    }
}
