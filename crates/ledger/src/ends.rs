//! Outcomes on their way into the log.
//!
//! A decision is written before anything follows from it. An outcome follows from
//! what has already happened, so nobody waits for it: outcomes are gathered here and
//! written together, within milliseconds. Should the process be killed in between,
//! the next start closes their decisions as `unknown`. What the log does not take,
//! because a disk is full, stays here until it does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::canonical::Draft;
use crate::error::LedgerError;
use crate::writer::{Place, Writer};

/// An outcome that is not in the log yet.
#[derive(Debug)]
pub(crate) struct End {
    /// Where the decision stands.
    pub of: Place,
    /// The outcome, without what depends on its own place.
    pub draft: Draft,
}

/// Outcomes that are not in the log yet.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    waiting: Mutex<Vec<End>>,
    /// Held while outcomes are written, and by whoever must not see that half done.
    pub writing: Mutex<()>,
}

impl Ends {
    /// Adds an outcome.
    pub(crate) fn push(&self, end: End) {
        self.waiting().push(end);
    }

    /// Writes what waits; the caller holds [`writing`](Self::writing).
    ///
    /// # Errors
    /// When the log did not take everything. The rest waits for the next time.
    pub(crate) fn write(&self, writer: &Writer) -> Result<(), LedgerError> {
        let ends = std::mem::take(&mut *self.waiting());
        let mut placed = Vec::with_capacity(ends.len());
        for end in ends {
            // The outcome of a decision that never got into the log is nothing.
            if writer.write(&end.of).is_err() {
                continue;
            }
            match writer.place(&end.draft, None) {
                Ok(place) => placed.push((place, end)),
                Err(error) => {
                    tracing::error!(target: "doorward::ledger", %error, "an outcome cannot be written");
                }
            }
        }
        let (mut written, mut left, mut result) = (Vec::with_capacity(placed.len()), Vec::new(), Ok(()));
        // The last one first: that writes all of them at once.
        for (place, end) in placed.into_iter().rev() {
            match writer.write(&place) {
                Ok(()) => written.push(end.of.sequence),
                Err(error) => {
                    left.push(end);
                    result = Err(error);
                }
            }
        }
        writer.ended(written);
        left.reverse();
        let mut waiting = self.waiting();
        left.append(&mut waiting);
        *waiting = left;
        result
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<End>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
