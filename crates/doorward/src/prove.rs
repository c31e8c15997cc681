//! One decision, taken out of the log for somebody who does not have it.

use std::path::Path;

use anyhow::Context as _;
use doorward_ledger::{Recorded, bundle, evidence};
use doorward_model::Random;
use doorward_verify::Proof;
use serde_json::Value;

/// Where a log and its keys are.
pub struct Log<'a> {
    /// The log.
    pub folder: &'a Path,
    /// Its keys, one of which opens what was kept apart from it.
    pub keys: &'a Path,
}

/// What of the optional parts is to be in a proof.
#[derive(Clone, Copy, Debug)]
pub struct Disclosed {
    /// The policies that were in force.
    pub policies: bool,
    /// What they were asked, the arguments among it.
    pub input: bool,
}

/// What came of it.
pub enum Proven {
    /// A proof.
    Proof {
        /// Its text.
        text: String,
        /// Whether it has what the policies were asked.
        has_input: bool,
    },
    /// No checkpoint covers this entry yet.
    Uncovered(u64),
}

/// Puts together the proof of a recorded call.
///
/// # Errors
/// When the log cannot be read, or is not the one that was signed.
pub fn prove(
    found: &Recorded,
    log: &Log<'_>,
    disclosed: Disclosed,
    random: &dyn Random,
) -> anyhow::Result<Proven> {
    let outcome: Option<Value> = found.outcome.as_deref().map(serde_json::from_slice).transpose()?;
    let outcome = outcome.and_then(|outcome| outcome["_seq"].as_u64());
    let entries: Vec<_> = [found.row.seq].into_iter().chain(outcome).collect();
    let Some(evidence) = evidence(log.folder, &entries)? else {
        return Ok(Proven::Uncovered(outcome.unwrap_or(found.row.seq)));
    };
    let (mut policies, mut input) = (None, None);
    if disclosed.policies {
        let decision: Value = serde_json::from_slice(&found.decision)?;
        policies = bundle(log.folder, decision["bundle"].as_str().unwrap_or_default())?;
    }
    // Where nothing was kept, no key is made to open it with.
    if disclosed.input && log.folder.join("payloads").exists() {
        input = found.input(log.folder, &doorward_vault::open(log.keys, random)?)?;
    }
    let (decision, rest) = evidence.entries.split_first().context("the decision is one of the entries")?;
    let proof = Proof {
        checkpoint: &evidence.checkpoint,
        decision,
        outcome: rest.first(),
        policies: policies.as_deref(),
        input: input.as_deref(),
    };
    Ok(Proven::Proof { text: proof.to_text()?, has_input: input.is_some() })
}
