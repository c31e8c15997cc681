//! Anchors: files elsewhere, where the folder of the log cannot reach, that every
//! checkpoint is appended to.
//!
//! An anchor that cannot be written holds up nothing: it gets the newest checkpoint
//! when it can be written again. One checkpoint covers all before it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::notes;

/// The anchors of one log.
pub(crate) struct Anchors(Mutex<Vec<Anchor>>);

struct Anchor {
    path: PathBuf,
    verifier: String,
    /// A checkpoint that it has not taken yet.
    behind: Option<String>,
    /// Its last write failed, which was said.
    failing: bool,
    /// Its end may be torn.
    torn: bool,
}

impl Anchors {
    pub(crate) fn new(paths: &[PathBuf], verifier: &str) -> Self {
        let anchor = |path: &PathBuf| Anchor {
            path: path.clone(),
            verifier: verifier.to_owned(),
            behind: None,
            failing: false,
            torn: true,
        };
        Self(Mutex::new(paths.iter().map(anchor).collect()))
    }

    /// Appends a checkpoint to each.
    pub(crate) fn offer(&self, note: &str) {
        for anchor in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            anchor.behind = Some(note.to_owned());
            anchor.catch_up();
        }
    }

    /// Tries those again that are behind.
    pub(crate) fn catch_up(&self) {
        for anchor in &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            anchor.catch_up();
        }
    }
}

impl Anchor {
    fn catch_up(&mut self) {
        let Some(note) = self.behind.take() else { return };
        let mended = if self.torn { notes::mend(&self.path, &self.verifier) } else { Ok(()) };
        match mended.and_then(|()| notes::append(&self.path, &note)) {
            Ok(()) => (self.failing, self.torn) = (false, false),
            Err(error) => {
                if !self.failing {
                    tracing::error!(target: "doorward::ledger", %error, "an anchor does not take checkpoints");
                }
                self.behind = Some(note);
                (self.failing, self.torn) = (true, true);
            }
        }
    }
}
