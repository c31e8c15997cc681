//! What shows that entries stand in the log, to somebody who does not have it: a signed
//! checkpoint, and for each entry the path from its leaf to the checkpoint's root.

use std::fs;
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::LedgerError;
use crate::merkle::{Hash, Subtrees, Tree, inclusion_ranges, leaf_hash};
use crate::notes;
use crate::segment::{self, Lines};
use crate::shared::PUBLIC_KEY;

/// Entries of a log and what shows that they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The signed note of the first checkpoint that covers all of them.
    pub checkpoint: String,
    /// The entries, in the order asked for.
    pub entries: Vec<Included>,
}

/// An entry and its inclusion proof (RFC 9162, section 2.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// As it was written, without its line end.
    pub entry: Vec<u8>,
    /// The hashes from its leaf to the root.
    pub path: Vec<Hash>,
}

/// Gathers the evidence for entries, by their numbers, in one pass over the log; `None` while
/// no checkpoint covers all of them.
///
/// # Errors
/// When a file cannot be read, and [`LedgerError::NotAsSigned`] when the log is not the one
/// that was signed.
pub fn evidence(log: &Path, entries: &[u64]) -> Result<Option<Evidence>, LedgerError> {
    let public = log.join(PUBLIC_KEY);
    let verifier = fs::read_to_string(&public).map_err(LedgerError::file("read", &public))?;
    let needed = entries.iter().max().map_or(0, |last| last.saturating_add(1));
    let Some((note, checkpoint)) = notes::covering(log, verifier.trim(), needed)? else { return Ok(None) };
    let mut wanted: Vec<_> = entries.iter().filter_map(|at| Wanted::new(*at, checkpoint.size)).collect();
    let mut tree = Tree::default();
    walk(log, checkpoint.size, |entry| {
        let leaf = leaf_hash(entry);
        for wanted in &mut wanted {
            wanted.pass(tree.size(), leaf, entry);
        }
        tree.push(leaf);
    })?;
    let is_signed = tree.size() == checkpoint.size && tree.root() == checkpoint.root;
    let included = wanted.into_iter().map(Wanted::found).collect::<Option<Vec<_>>>();
    match included.filter(|found| is_signed && found.len() == entries.len()) {
        Some(entries) => Ok(Some(Evidence { checkpoint: note, entries })),
        None => Err(LedgerError::NotAsSigned(checkpoint.size)),
    }
}

/// Whether the checkpoints in `anchor`, a copy kept elsewhere, hold this one. One of the same
/// size with another root is a fork, and does not.
///
/// # Errors
/// When the file cannot be read.
pub fn is_anchored(anchor: &Path, verifier: &str, checkpoint: &Checkpoint) -> Result<bool, LedgerError> {
    let found = notes::first(anchor, verifier, |size| size == checkpoint.size)?;
    Ok(found.is_some_and(|(_, found)| found.root == checkpoint.root))
}

/// Hands on the first entries of a log.
fn walk(log: &Path, most: u64, mut take: impl FnMut(&[u8])) -> Result<(), LedgerError> {
    let mut left = most;
    for (_, path) in segment::list(log)? {
        let mut lines = Lines::open(&path, 0)?;
        while left > 0
            && let Some(line) = lines.next()?
        {
            take(&line.entry);
            left -= 1;
        }
    }
    Ok(())
}

/// An entry whose path is being put together.
struct Wanted {
    at: u64,
    entry: Option<Vec<u8>>,
    path: Subtrees,
}

impl Wanted {
    fn new(at: u64, size: u64) -> Option<Self> {
        Some(Self { at, entry: None, path: Subtrees::new(inclusion_ranges(at, size)?) })
    }

    fn pass(&mut self, at: u64, leaf: Hash, entry: &[u8]) {
        self.path.push(at, leaf);
        if at == self.at {
            self.entry = Some(entry.to_vec());
        }
    }

    fn found(self) -> Option<Included> {
        Some(Included { entry: self.entry?, path: self.path.roots()? })
    }
}
