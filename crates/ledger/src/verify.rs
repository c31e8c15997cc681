//! Checking a log from its files alone, while a gateway may be writing it.
//!
//! Every entry is read once, in memory bounded by the longest. Each must stand in
//! its place and name the hash of the one before; each signed checkpoint must fit
//! the tree over the entries it covers.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::LedgerError;
use crate::merkle::{Hash, Tree, leaf_hash};
use crate::notes::{self, Notes};
use crate::recover::Entry;
use crate::segment::{self, Lines};
use doorward_model::json::push_hex;

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
    // Before the entries: what is signed from now on may cover more than is read below.
    let own = notes::own(folder);
    let mut promises = Vec::new();
    for path in std::iter::once(&own).chain(anchors) {
        promises.push(Promises::open(path, verifier.trim(), &mut report)?);
    }
    // A log that was never signed has nothing that an anchor could hold.
    let signed = promises.first().is_some_and(|own| own.next.is_some());
    for missing in promises.iter().filter(|promises| promises.notes.is_none() && signed) {
        report.faults.push(Fault {
            entry: None,
            place: Some((missing.path.clone(), 1)),
            reason: "the file of checkpoints is missing".to_owned(),
        });
    }
    walk(folder, &mut promises, &mut report)?;
    Ok(report)
}

/// The checkpoints of one file, in the order they were signed.
struct Promises<'a> {
    path: PathBuf,
    verifier: &'a str,
    notes: Option<Notes<io::Take<BufReader<File>>>>,
    /// The next checkpoint, and its line.
    next: Option<(Checkpoint, u64)>,
}

impl<'a> Promises<'a> {
    fn open(path: &Path, verifier: &'a str, report: &mut Report) -> Result<Self, LedgerError> {
        let mut promises = Self { path: path.to_path_buf(), verifier, notes: Notes::open(path)?, next: None };
        promises.advance(report)?;
        Ok(promises)
    }

    /// Goes on to the next checkpoint that is signed with our key; the others are faults.
    fn advance(&mut self, report: &mut Report) -> Result<(), LedgerError> {
        self.next = None;
        let Some(notes) = &mut self.notes else { return Ok(()) };
        while let Some(note) = notes.next().map_err(LedgerError::file("read", &self.path))? {
            if let Some(checkpoint) = Checkpoint::open(&note.text, self.verifier) {
                report.checkpoints += 1;
                report.covered = report.covered.max(checkpoint.size);
                self.next = Some((checkpoint, note.line));
                break;
            }
            // The last one may be half written while a gateway runs.
            if note.ended {
                report.faults.push(Fault {
                    entry: None,
                    place: Some((self.path.clone(), note.line)),
                    reason: "a checkpoint is not signed by this log's key, or was altered".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Holds the tree against the checkpoints of its size; `false` when one differs.
    fn hold(&mut self, tree: &Tree, report: &mut Report) -> Result<bool, LedgerError> {
        while let Some((checkpoint, line)) = &self.next
            && checkpoint.size <= tree.size()
        {
            let fits = checkpoint.size == tree.size() && checkpoint.root == tree.root();
            if !fits {
                let reason = if checkpoint.size < tree.size() {
                    format!("a checkpoint over {} entries comes after one over more", checkpoint.size)
                } else {
                    "the log up to this entry is not the one that was signed".to_owned()
                };
                report.faults.push(Fault {
                    entry: Some(checkpoint.size.saturating_sub(1)),
                    place: Some((self.path.clone(), *line)),
                    reason,
                });
                return Ok(false);
            }
            self.advance(report)?;
        }
        Ok(true)
    }
}

fn hold_all(promises: &mut [Promises<'_>], tree: &Tree, report: &mut Report) -> Result<bool, LedgerError> {
    for promises in promises {
        if !promises.hold(tree, report)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn walk(folder: &Path, promises: &mut [Promises<'_>], report: &mut Report) -> Result<(), LedgerError> {
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
            if !line.complete && at + 1 == segments.len() {
                // Being written this very moment; if not, a checkpoint misses it below.
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
            // What is under suspicion cannot fit, and the entry is to be named first.
            if suspect.is_none() && !hold_all(promises, &tree, report)? {
                break 'segments;
            }
        }
    }
    report.faults.extend(suspect);
    report.entries = tree.size();
    push_hex(&mut report.head, &tree.root());
    for promises in promises {
        while promises.next.is_some() {
            promises.advance(report)?;
        }
    }
    let whole = report.faults.iter().all(|fault| fault.entry.is_none());
    if whole && tree.size() < report.covered {
        report.faults.push(Fault {
            entry: Some(tree.size()),
            place: None,
            reason: format!("the log ends here, but a checkpoint covers {} entries", report.covered),
        });
    }
    Ok(())
}
