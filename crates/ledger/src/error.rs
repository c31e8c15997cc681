//! What can go wrong with the log.

use std::path::PathBuf;

/// Why the log could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// Another process writes this log.
    #[error("the log in {folder} is in use by {holder}; stop it, or give this one its own dataDir")]
    Locked {
        /// Where the log is.
        folder: PathBuf,
        /// What the other process called itself when it took the log.
        holder: String,
    },
    /// Reading or writing a file failed.
    #[error("{action} {path}: {reason}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Other entries of the same write failed, and this one with them.
    #[error("the log could not be written")]
    NotWritten,
    /// An entry is larger than any reader takes, in bytes.
    #[error("an entry of {0} bytes is too large for the log")]
    TooLarge(usize),
    /// The log holds something that no gateway wrote, before its end.
    #[error("{path}, line {line}: {reason}; run `doorward audit verify`")]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The log is not the one that its checkpoint over so many entries was signed for.
    #[error("the first {0} entries of the log are not those that were signed; run `doorward audit verify`")]
    NotAsSigned(u64),
    /// The signing key cannot be used.
    #[error("the signing key {0} cannot be read")]
    Key(PathBuf),
    /// The checkpoints are signed with another key, or under another name, than is configured.
    #[error(
        "{0} is signed with another key or under another origin; put those back, or begin a new log in another folder"
    )]
    OtherKey(PathBuf),
    /// Payloads are to be kept, and there is nothing to seal them with.
    #[error("whole arguments and results can only be kept sealed, and no key for that is configured")]
    NoSeal,
    /// A payload could not be sealed or opened.
    #[error("the payload of call {call}: {reason}")]
    Payload {
        /// The call.
        call: doorward_model::CallId,
        /// Why.
        reason: doorward_model::SealError,
    },
    /// The index cannot be read or written.
    #[error("index: {0}")]
    Index(String),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

impl LedgerError {
    /// The stable word for it (`docs/reference/error-codes.md`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "ledger-locked",
            Self::File { .. } => "ledger-file",
            Self::NotWritten => "ledger-not-written",
            Self::TooLarge(_) => "ledger-too-large",
            Self::Damaged { .. } | Self::NotAsSigned(_) => "ledger-damaged",
            Self::Key(_) => "ledger-key",
            Self::OtherKey(_) => "ledger-other-key",
            Self::NoSeal => "ledger-no-seal",
            Self::Payload { .. } => "ledger-payload",
            Self::Index(_) => "ledger-index",
            Self::Closed => "ledger-closed",
        }
    }

    pub(crate) fn file(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self::File { action, path, reason: error.to_string() }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error.to_string())
    }
}
