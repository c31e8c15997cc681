//! What was signed of a log, by everybody who knows: its own checkpoints, `keyDir`, its anchors.
//!
//! The folder of the log alone cannot show that something was taken away from it. A log is
//! continued only where it holds all of this.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::LedgerError;
use crate::memory::Memory;
use crate::merkle::{Hash, Tree};
use crate::notes;

/// The roots that were signed last.
pub(crate) struct Promises {
    /// By the number of entries they cover, each with the file that says so.
    roots: BTreeMap<u64, (Hash, PathBuf)>,
    own: PathBuf,
    /// The first of them that the log's own checkpoints do not have. Up to there, what is
    /// bookmarked has to be read again.
    unproven: Option<u64>,
    /// Whether `keyDir` knows this log, if only that it was begun.
    is_remembered: bool,
    /// The last of the log's own checkpoints.
    pub last: Option<Checkpoint>,
}

impl Promises {
    /// Gathers them.
    ///
    /// # Errors
    /// [`LedgerError::Fork`] where two of them contradict each other, and whatever is wrong
    /// with the log's own.
    pub(crate) fn gather(
        log: &Path,
        verifier: &str,
        memory: Option<(&Memory, &Path)>,
        anchors: &[PathBuf],
    ) -> Result<Self, LedgerError> {
        let own = notes::own(log);
        let signed = notes::recent(log, verifier)?;
        let last = signed.last().cloned();
        let roots = signed.into_iter().map(|it| (it.size, (it.root, own.clone()))).collect();
        let mut promises = Self { roots, own, unproven: None, is_remembered: memory.is_some(), last };
        let first = promises.roots.keys().next().copied().unwrap_or(0);
        if let Some((memory, path)) = memory {
            promises.add(memory.entries, memory.root, path, verifier)?;
        }
        for anchor in anchors {
            let recent = notes::last_of(anchor, verifier).unwrap_or_else(|error| {
                tracing::warn!(target: "doorward::ledger", %error, "an anchor cannot be read; the log is not held against it");
                notes::Recent { signed: Vec::new(), altered: None }
            });
            if recent.altered.is_some() {
                let anchor = anchor.display();
                tracing::warn!(target: "doorward::ledger", "{anchor} has checkpoints that this log's key has not signed");
            }
            // What is older than all of the log's last checkpoints follows from the newest.
            let newest = recent.signed.iter().map(|it| it.size).max();
            for it in recent.signed.iter().filter(|it| it.size >= first || Some(it.size) == newest) {
                promises.add(it.size, it.root, anchor, verifier)?;
            }
        }
        Ok(promises)
    }

    /// Adds what somebody else knows.
    fn add(&mut self, size: u64, root: Hash, by: &Path, verifier: &str) -> Result<(), LedgerError> {
        if size == 0 {
            return Ok(());
        }
        let known = match self.roots.get(&size) {
            Some((known, _)) => Some(*known),
            None => notes::first(&self.own, verifier, |it| it == size)?.map(|(_, it)| it.root),
        };
        match known {
            Some(known) if known == root => {}
            Some(_) => return Err(LedgerError::Fork { by: by.to_path_buf(), entries: size }),
            None => {
                self.roots.insert(size, (root, by.to_path_buf()));
                self.unproven = Some(self.unproven.map_or(size, |first| first.min(size)));
            }
        }
        Ok(())
    }

    /// How many entries are signed.
    pub(crate) fn most(&self) -> u64 {
        self.roots.keys().next_back().copied().unwrap_or(0)
    }

    /// Whether this tree needs no reading again.
    pub(crate) fn vouch_for(&self, tree: &Tree) -> bool {
        let is_signed = self.roots.get(&tree.size()).is_some_and(|(root, _)| *root == tree.root());
        is_signed && self.unproven.is_none_or(|first| tree.size() <= first)
    }

    /// Holds a tree, after the entry in this line of a segment, against the root of its size.
    pub(crate) fn hold(&self, tree: &Tree, path: &Path, line: u64) -> Result<(), LedgerError> {
        match self.roots.get(&tree.size()) {
            Some((root, by)) if *root != tree.root() && *by == self.own => Err(LedgerError::Damaged {
                path: path.to_path_buf(),
                line,
                reason: "the log up to here is not the one that was signed".to_owned(),
            }),
            Some((root, by)) if *root != tree.root() => {
                Err(LedgerError::Fork { by: by.clone(), entries: tree.size() })
            }
            _ => Ok(()),
        }
    }

    /// Whether a log of so many entries has everything that was signed, and its checkpoints.
    pub(crate) fn reached(&self, log: &Path, entries: u64) -> Result<(), LedgerError> {
        let signed = self.last.as_ref().map_or(0, |last| last.size);
        let less = |by: &PathBuf, known: u64| LedgerError::Less {
            by: by.clone(),
            known,
            found: entries.min(signed),
            folder: log.to_path_buf(),
        };
        match self.roots.last_key_value() {
            Some((known, (_, by))) if *known > entries => Err(less(by, *known)),
            // Its own checkpoints are written first; who knows more shows that some are gone.
            Some((known, (_, by))) if *known > signed => Err(less(by, *known)),
            None if entries > 0 && !self.is_remembered => {
                Err(LedgerError::Unsigned { folder: log.to_path_buf(), entries })
            }
            _ => Ok(()),
        }
    }
}
