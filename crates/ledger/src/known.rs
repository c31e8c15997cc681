//! What `keyDir` knows of the log that is open: asked once at the start, told of every checkpoint.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use doorward_model::Random;

use crate::checkpoint::{self, Checkpoint};
use crate::error::LedgerError;
use crate::keys::{self, Keys};
use crate::memory::{self, Memory};
use crate::options::Options;

pub(crate) struct Known {
    path: PathBuf,
    /// What was known at the start.
    before: Option<Memory>,
    now: Mutex<Now>,
}

struct Now {
    memory: Memory,
    /// What is written down.
    saved: Option<Memory>,
    /// The last time it could not be written, which was said.
    failing: bool,
}

impl Known {
    /// Opens the keys of a log, which have to be those that it was written with.
    ///
    /// # Errors
    /// [`LedgerError::OtherKey`] and its like where they are not.
    pub(crate) fn open(options: &Options, random: &dyn Random) -> Result<(Keys, Self), LedgerError> {
        let path = memory::path(&options.keys, &options.folder, &options.origin);
        let before = Memory::load(&path)?;
        let keys = Keys::open(&options.keys, before.is_some(), random)?;
        let verifier = checkpoint::verifier_key(&options.origin, &keys.signing);
        let seal = options.seal.as_ref().and_then(|seal| seal.fingerprint());
        let mut memory = Memory::new(verifier, keys.salt_fingerprint, seal);
        if let Some(before) = &before {
            let other = |name| Err(LedgerError::OtherSecret(options.keys.join(name)));
            if before.key != memory.key {
                return other(keys::SIGNING);
            }
            if before.salt != memory.salt {
                return other(keys::SALT);
            }
            // A log that seals nothing now may have sealed before.
            memory.seal = memory.seal.or(before.seal);
            if before.seal.is_some() && before.seal != memory.seal {
                return other(keys::SEAL);
            }
            (memory.entries, memory.root, memory.index) = (before.entries, before.root, before.index);
        }
        let now = Mutex::new(Now { memory, saved: before.clone(), failing: false });
        Ok((keys, Self { path, before, now }))
    }

    /// What was known when the log was opened.
    pub(crate) fn before(&self) -> Option<(&Memory, &Path)> {
        self.before.as_ref().map(|memory| (memory, &*self.path))
    }

    /// Takes note of how far the index goes; that is written down with the next checkpoint.
    pub(crate) fn note_index(&self, taken_in: (u64, u64)) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).memory.index = Some(taken_in);
    }

    /// Takes note of the last checkpoint; `None` of a log that has none yet. Keys that cannot be
    /// written beside, as a mounted secret, are of use all the same: that is said, and no more.
    pub(crate) fn remember(&self, checkpoint: Option<&Checkpoint>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(checkpoint) = checkpoint {
            (now.memory.entries, now.memory.root) = (checkpoint.size, checkpoint.root);
        }
        if now.saved.as_ref() == Some(&now.memory) {
            return;
        }
        match now.memory.save(&self.path) {
            Ok(()) => (now.saved, now.failing) = (Some(now.memory.clone()), false),
            Err(error) => {
                if !now.failing {
                    tracing::warn!(target: "doorward::ledger", %error,
                        "keyDir cannot remember how far the log was signed; give the log an anchor (`audit.anchors`)");
                }
                now.failing = true;
            }
        }
    }
}
