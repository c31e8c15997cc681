//! Can a past decision be verified without trusting whoever kept the log?

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use doorward_ledger::{Against, CallRow, Filter, Index};
use doorward_model::Random as _;
use doorward_policy::RegoSource;
use doorward_verify::{Reached, verify};

use super::deterministic::{compile, differs};
use super::stage::{Ended, log};
use super::{Answer, Question, Seen};
use crate::prove::{Disclosed, Log, Proven, prove};
use crate::runtime::trial;
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
    asks: "Can one decision be proven to somebody who has a public key and nothing else?",
};
/// What there is a proof of: verdicts and the layer that reached them.
const KINDS: [(&str, &str); 3] = [("allow", "rules"), ("deny", "rules"), ("deny", "policy")];
/// How many bytes are altered, one at a time.
const ALTERED: usize = 40;

/// Looks at the log of a gateway that has stopped, without its private keys.
pub fn verifiable(ended: &Ended) -> Vec<Answer> {
    vec![HOLDS.answered(holds(ended)), AGAIN.answered(again(ended)), PROOF.answered(proven(ended))]
}

fn holds(ended: &Ended) -> Seen {
    let log = log(ended.folder.path());
    let elsewhere = tempfile::tempdir()?;
    copy(&log, elsewhere.path())?;
    let report = doorward_ledger::verify(elsewhere.path(), &Against::default())?;
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
        if doorward_ledger::verify(elsewhere.path(), &Against::default())
            .is_ok_and(|report| report.is_valid())
        {
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

/// Proves a call of each kind, and alters each proof.
fn proven(ended: &Ended) -> Seen {
    let folder = log(ended.folder.path());
    let (index, key) = (Index::open_read_only(&folder)?, fs::read_to_string(folder.join("ledger.pub"))?);
    let rows = index.query(&Filter { limit: 100_000, ..Filter::default() })?;
    let place = Log { folder: &folder, keys: &ended.config.audit.key_dir };
    let disclosed = Disclosed { policies: true, input: true };
    let trial = |source: &RegoSource| trial::in_a_child(&ended.program, source);
    for (verdict, layer) in KINDS {
        let is_one = |row: &&CallRow| row.verdict == verdict && row.layer == layer;
        let row = rows.iter().find(is_one).with_context(|| format!("no {verdict} by {layer}"))?;
        let found = index.recorded_at(row.seq)?.context("a call that is in the index")?;
        let Proven::Proof { text, .. } = prove(&found, &place, disclosed, &SystemRandom)? else {
            return Ok(Err(format!("no checkpoint covers the call {}", row.call)));
        };
        match verify(text.as_bytes(), &key, &trial) {
            Ok(held) if held.reached == Reached::Same => {}
            Ok(held) => {
                return Ok(Err(format!("{verdict} by {layer}: the verdict is {}", held.reached.as_str())));
            }
            Err(flaw) => return Ok(Err(format!("{verdict} by {layer}: {flaw}"))),
        }
        for _ in 0..ALTERED {
            let at = below(text.len());
            let mut altered = text.clone().into_bytes();
            if let Some(byte) = altered.get_mut(at) {
                *byte ^= 1 << below(8);
            }
            if verify(&altered, &key, &trial).is_ok() {
                return Ok(Err(format!("byte {at} of a proof was altered, and nobody noticed")));
            }
        }
    }
    Ok(Ok(format!(
        "{} decisions proven with the public key alone, each verdict reached again from the policies and the input in its proof; {ALTERED} altered bytes in each, one at a time, were all found",
        KINDS.len()
    )))
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
