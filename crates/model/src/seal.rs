//! Sealing: what keeps a text unreadable on disk. One crate does it, others ask.

use std::fmt;

/// Encrypts and decrypts small texts, bound to what they belong to.
pub trait Seal: Send + Sync + fmt::Debug + 'static {
    /// Seals `clear`. Opening it again needs the same `context`: put there whatever
    /// must not be exchanged, such as the id of the record it belongs to.
    ///
    /// # Errors
    /// [`SealError::Failed`] when the cipher refuses, as for a text of many gigabytes.
    fn seal(&self, context: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// Whatever is not exactly that, under this key and in this context.
    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Tells this key from others without giving it away; `None` where there is no key.
    fn fingerprint(&self) -> Option<[u8; 32]> {
        None
    }
}

/// Why something could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is in no form that this program writes.
    #[error("it was not sealed by this program, or by a newer one")]
    Unknown,
    /// It needs another key.
    #[error("it was sealed with another key")]
    OtherKey,
    /// It, or what it belongs to, is not what was sealed.
    #[error("it was altered")]
    Altered,
    /// The cipher refused.
    #[error("it could not be sealed")]
    Failed,
}
