//! Tokens that were verified a moment ago.
//!
//! Verifying a signature costs as much as the rest of a call. A token that was
//! verified is remembered by its digest for at most a minute, and never beyond its
//! own end; so a key that its issuer withdraws stops working within that minute.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use doorward_model::{Caller, Map, Timestamp};

/// How long a verified token is believed without verifying it again.
const BELIEVED: Duration = Duration::from_secs(60);

/// How many tokens are remembered.
const CAPACITY: usize = 10_000;

#[derive(Default)]
pub(crate) struct Verified {
    tokens: RwLock<Map<[u8; 32], Entry>>,
}

struct Entry {
    caller: Arc<Caller>,
    until: Timestamp,
}

impl Verified {
    /// The caller of the token with this digest, if it was verified lately.
    pub(crate) fn get(&self, digest: &[u8; 32], now: Timestamp) -> Option<Arc<Caller>> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.get(digest).filter(|entry| now < entry.until).map(|entry| entry.caller.clone())
    }

    /// Remembers a verified token. `end` is when the token itself ends.
    pub(crate) fn put(&self, digest: [u8; 32], caller: Arc<Caller>, end: Timestamp, now: Timestamp) {
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= CAPACITY {
            tokens.retain(|_, entry| now < entry.until);
        }
        if tokens.len() >= CAPACITY {
            // All of them are in use: start again rather than grow. Each caller pays
            // for one more verification.
            tokens.clear();
        }
        tokens.insert(digest, Entry { caller, until: end.min(now.plus(BELIEVED)) });
    }
}
