//! Checking a log from its files alone, while a gateway may be writing it.
//!
//! Every entry is read once, in memory bounded by the longest. Each must stand in
//! its place and name the hash of the one before; each signed checkpoint must fit
//! the tree over the entries it covers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::canonical::push_hex;
use crate::checkpoint::{Checkpoint, notes};
use crate::error::LedgerError;
use crate::merkle::{Hash, Tree, leaf_hash};
use crate::recover::Entry;
use crate::segment::{self, Lines};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries that were read.
    pub entries: u64,
    /// Checkpoints that were checked.
    pub checkpoints: usize,
    /// Entries covered by the last of them.
    pub covered: u64,
    /// The root over all entries, hexadecimal.
    pub head: String,
    /// What does not hold, in the order of the log. Empty when all holds.
    pub faults: Vec<Fault>,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The entry, where one can be named.
    pub entry: Option<u64>,
    /// The file and the line in it, counted from 1.
    pub place: Option<(PathBuf, u64)>,
    /// What is wrong.
    pub reason: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        f.write_str(&self.reason)?;
        match &self.place {
            Some((path, line)) => write!(f, " ({}, line {line})", path.display()),
            None => Ok(()),
        }
    }
}

impl Report {
    /// Whether everything holds.
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// The first entry that does not hold, as text.
    pub fn first_bad(&self) -> Option<String> {
        let fault = self.faults.first()?;
        Some(fault.entry.map_or_else(|| fault.to_string(), |entry| entry.to_string()))
    }
}

/// Checks the log in `folder` against its own checkpoints and those in `anchors`.
///
/// # Errors
/// When a file cannot be read. A log that does not hold is a [`Report`] with faults.
pub fn verify(folder: &Path, anchors: &[PathBuf]) -> Result<Report, LedgerError> {
    let public = folder.join("ledger.pub");
    let verifier = fs::read_to_string(&public).map_err(LedgerError::file("read", &public))?;
    let mut report = Report::default();
    let mut promised: BTreeMap<u64, Vec<(Hash, PathBuf, u64)>> = BTreeMap::new();
    let own = folder.join("checkpoints");
    for path in std::iter::once(&own).chain(anchors) {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LedgerError::file("read", path)(error)),
        };
        let found = notes(&text);
        let last = found.len();
        for (at, (line, note)) in found.into_iter().enumerate() {
            match Checkpoint::open(&note, verifier.trim()) {
                Some(checkpoint) => {
                    report.checkpoints += 1;
                    let entry = (checkpoint.root, path.clone(), line as u64);
                    promised.entry(checkpoint.size).or_default().push(entry);
                }
                // The last one may be half written while a gateway runs.
                None if at + 1 == last && !text.ends_with("\n\n") => {}
                None => report.faults.push(Fault {
                    entry: None,
                    place: Some((path.clone(), line as u64)),
                    reason: "a checkpoint is not signed by this log's key, or was altered".to_owned(),
                }),
            }
        }
    }
    report.covered = promised.keys().next_back().copied().unwrap_or(0);
    walk(folder, &promised, &mut report)?;
    Ok(report)
}

fn walk(
    folder: &Path,
    promised: &BTreeMap<u64, Vec<(Hash, PathBuf, u64)>>,
    report: &mut Report,
) -> Result<(), LedgerError> {
    let mut tree = Tree::default();
    let mut previous: Hash = [0; 32];
    let segments = segment::list(folder)?;
    let mut suspect: Option<Fault> = None;
    'segments: for (at, (first, path)) in segments.iter().enumerate() {
        let fault = |line: u64, entry: u64, reason: &str| Fault {
            entry: Some(entry),
            place: Some((path.clone(), line)),
            reason: reason.to_owned(),
        };
        if *first != tree.size() {
            report.faults.push(fault(1, tree.size(), "entries are missing before this segment"));
            break;
        }
        let mut lines = Lines::open(path, 0)?;
        let mut number = 0;
        while let Some(line) = lines.next()? {
            number += 1;
            let sequence = tree.size();
            let last_segment = at + 1 == segments.len();
            if !line.complete && last_segment && sequence >= report.covered {
                // Being written this very moment.
                break 'segments;
            }
            match Entry::read(&line.entry, sequence, &previous) {
                Ok(_) => {
                    if let Some(earlier) = suspect.take() {
                        report.faults.push(earlier);
                        break 'segments;
                    }
                }
                // An entry that does not follow the one before it accuses both: if
                // the next one follows this one, the earlier was altered.
                Err("it does not follow the entry before it") if sequence > 0 && suspect.is_none() => {
                    suspect = Some(fault(number.max(2) - 1, sequence - 1, "the entry was altered"));
                }
                Err(reason) => {
                    let found = match suspect.take() {
                        Some(_) => fault(number - 1, sequence - 1, "the entry was altered"),
                        None => fault(number, sequence, reason),
                    };
                    report.faults.push(found);
                    break 'segments;
                }
            }
            previous = leaf_hash(&line.entry);
            tree.push(previous);
            let roots = promised.get(&tree.size()).into_iter().flatten();
            let broken: Vec<_> = roots.filter(|(root, ..)| *root != tree.root()).collect();
            if let Some((_, place, at)) = broken.first()
                && suspect.is_none()
            {
                report.faults.push(Fault {
                    entry: Some(sequence),
                    place: Some((place.clone(), *at)),
                    reason: "the log up to this entry is not the one that was signed".to_owned(),
                });
                break 'segments;
            }
        }
    }
    report.faults.extend(suspect);
    report.entries = tree.size();
    if report.is_valid() && tree.size() < report.covered {
        report.faults.push(Fault {
            entry: Some(tree.size()),
            place: None,
            reason: format!("the log ends here, but a checkpoint covers {} entries", report.covered),
        });
    }
    push_hex(&mut report.head, &tree.root());
    Ok(())
}
