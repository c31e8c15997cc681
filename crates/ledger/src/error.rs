//! What can go wrong with the log.

use std::path::PathBuf;

/// What can be done where a log cannot be put back.
const NEW_LOG: &str = "or begin a new log with `doorward serve --new-log REASON`, which sets this one aside";

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
    #[error("{0} is signed with another key or under another origin; put those back, {NEW_LOG}")]
    OtherKey(PathBuf),
    /// A key is another one than the log was written with.
    #[error("{0} is not the key that this log was written with; put that back, {NEW_LOG}")]
    OtherSecret(PathBuf),
    /// A key that the log was written with is gone.
    #[error("{0} is missing, and this log was written with it; put it back, {NEW_LOG}")]
    MissingKey(PathBuf),
    /// What is remembered of the log cannot be understood.
    #[error("{0} should say how far the log was signed, and cannot be read; put it back, {NEW_LOG}")]
    Memory(PathBuf),
    /// More entries were signed than the log has, or has signatures for.
    #[error(
        "{by} says that {known} entries of this log were signed; {folder} shows {found} of them; put the log back, {NEW_LOG}"
    )]
    Less {
        /// Who knows: `keyDir`, an anchor or the checkpoints.
        by: PathBuf,
        /// How many entries were signed.
        known: u64,
        /// How many of them are there, with a checkpoint.
        found: u64,
        /// Where the log is.
        folder: PathBuf,
    },
    /// There are entries and nothing that vouches for any of them.
    #[error(
        "no checkpoint vouches for the {entries} entries in {folder}; put the checkpoints back, {NEW_LOG}"
    )]
    Unsigned {
        /// Where the log is.
        folder: PathBuf,
        /// How many entries there are.
        entries: u64,
    },
    /// The log went another way than a signature elsewhere says: one of the two was copied.
    #[error(
        "{by} has a checkpoint over {entries} entries that this log never had: the log is a copy that went its own way; put back the one that {by} knows, {NEW_LOG}"
    )]
    Fork {
        /// Who has the checkpoint.
        by: PathBuf,
        /// How many entries it covers.
        entries: u64,
    },
    /// No signed note can carry the log's name.
    #[error("`{0}` cannot name a log: a name has 1 to 200 bytes, no white space and no plus sign")]
    Origin(String),
    /// A new log was asked for, and the one that is there holds.
    #[error("the log in {0} holds, so no new one is begun; start without `--new-log`")]
    Holds(PathBuf),
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
    /// The index says something else of a call than the log.
    #[error(
        "the index says something else of entry {0} than the log; stop the gateway and run `doorward audit reindex`"
    )]
    IndexDiffers(u64),
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
            Self::OtherKey(_) | Self::OtherSecret(_) | Self::MissingKey(_) => "ledger-other-key",
            Self::Memory(_) => "ledger-memory",
            Self::Less { .. } => "ledger-less",
            Self::Unsigned { .. } => "ledger-unsigned",
            Self::Fork { .. } => "ledger-fork",
            Self::Origin(_) => "ledger-origin",
            Self::Holds(_) => "ledger-holds",
            Self::NoSeal => "ledger-no-seal",
            Self::Payload { .. } => "ledger-payload",
            Self::Index(_) => "ledger-index",
            Self::IndexDiffers(_) => "ledger-index-differs",
            Self::Closed => "ledger-closed",
        }
    }

    /// Whether the log, or what it was written with, is not what it was, so that only people can
    /// say how to go on.
    pub fn is_about_the_past(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::NotAsSigned(_)
                | Self::OtherKey(_)
                | Self::OtherSecret(_)
                | Self::MissingKey(_)
                | Self::Memory(_)
                | Self::Less { .. }
                | Self::Unsigned { .. }
                | Self::Fork { .. }
        )
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
