//! Can a past decision be verified without trusting whoever kept the log?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use doorward_ledger::{Filter, Index, verify};
use doorward_model::Random as _;

use super::deterministic::{compile, differs};
use super::stage::{Ended, log};
use super::{Answer, Question, Seen};
use crate::system::SystemRandom;

const HOLDS: Question = Question {
    name: "verifiable",
    asks: "Can the log be verified from its files and a public key, and is any change to it found?",
};
const AGAIN: Question = Question {
    name: "replayable",
    asks: "Does a third party reach the recorded verdicts from the records and the policies?",
};
const PROOF: Question = Question {
    name: "provable",
    asks: "Can one decision be proven by itself, with a bundle for somebody without the log?",
};
/// How many bytes are altered, one at a time.
const ALTERED: usize = 40;

/// Looks at the log of a gateway that has stopped, without its private keys.
pub fn verifiable(ended: &Ended) -> Vec<Answer> {
    vec![
        HOLDS.answered(holds(ended)),
        AGAIN.answered(again(ended)),
        PROOF.absent("`audit prove` and `verify BUNDLE` are not built; what there is, is `audit verify` over the whole log"),
    ]
}

fn holds(ended: &Ended) -> Seen {
    let log = log(ended.folder.path());
    let elsewhere = tempfile::tempdir()?;
    copy(&log, elsewhere.path())?;
    let report = verify(elsewhere.path(), &[])?;
    if let Some(fault) = report.faults.first() {
        return Ok(Err(format!("the log does not hold: {fault}")));
    }
    if report.entries == 0 || report.covered != report.entries {
        return Ok(Err(format!("of {} entries, checkpoints cover {}", report.entries, report.covered)));
    }
    let segment = segment(elsewhere.path())?;
    let whole = fs::read(&segment)?;
    for _ in 0..ALTERED {
        let at = below(whole.len());
        let mut altered = whole.clone();
        if let Some(byte) = altered.get_mut(at) {
            *byte ^= 1 << below(8);
        }
        fs::write(&segment, &altered)?;
        // What cannot even be read has been found out as well.
        if verify(elsewhere.path(), &[]).is_ok_and(|report| report.is_valid()) {
            return Ok(Err(format!("byte {at} was altered, and nobody noticed")));
        }
    }
    Ok(Ok(format!(
        "{} entries and {} checkpoints hold, checked in a copy without private keys; {ALTERED} altered bytes, one at a time, were all found",
        report.entries, report.checkpoints
    )))
}

fn again(ended: &Ended) -> Seen {
    let policy = compile(&ended.config, &ended.program)?;
    let index = Index::open_read_only(&log(ended.folder.path()))?;
    let rows = index.query(&Filter { limit: 100_000, ..Filter::default() })?;
    let mut decided = 0;
    // What no policy was asked about (an unknown tool) has nothing to be reached again.
    for row in rows.iter().filter(|row| matches!(row.layer.as_str(), "rules" | "policy")) {
        if let Some(wrong) = differs(&policy, row)? {
            return Ok(Err(wrong));
        }
        decided += 1;
    }
    if decided == 0 {
        return Ok(Err("there is no decision to reach again".to_owned()));
    }
    Ok(Ok(format!("{decided} recorded decisions reached again offline: same verdicts, rules and reasons")))
}

/// Copies a log, but for keys and index.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for name in ["ledger.pub", "checkpoints"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| name.to_owned())?;
    }
    fs::create_dir(to.join("segments"))?;
    for entry in fs::read_dir(from.join("segments"))? {
        let entry = entry?;
        fs::copy(entry.path(), to.join("segments").join(entry.file_name()))?;
    }
    Ok(())
}

fn segment(log: &Path) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(log.join("segments"))?;
    entries.filter_map(|entry| Some(entry.ok()?.path())).min().context("the log has a segment")
}

fn below(bound: usize) -> usize {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes);
    usize::try_from(u64::from_be_bytes(bytes) % bound.max(1) as u64).unwrap_or(0)
}
