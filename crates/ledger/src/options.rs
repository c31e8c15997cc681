//! How a log is kept: where, how safely, and how much of each call.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use doorward_model::Seal;

/// When a decision has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Before the call is dispatched.
    Strict,
    /// Written before dispatch, on disk before the answer leaves.
    #[default]
    Durable,
    /// Within 100 ms.
    Relaxed,
}

/// What a record keeps of arguments and results, beside their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Capture {
    /// Nothing.
    None,
    /// The names of the outermost members of the arguments.
    Keys,
    /// Those, and a short text with secret-looking values masked.
    #[default]
    Preview,
    /// That, and apart from the log, sealed, the arguments and the result.
    Full,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder, created with mode 0700.
    pub folder: PathBuf,
    /// Where its keys are; another owner or disk may keep them.
    pub keys: PathBuf,
    /// See [`Durability`].
    pub durability: Durability,
    /// See [`Capture`].
    pub capture: Capture,
    /// Servers, by their ids, of which more or less is kept.
    pub capture_by_server: BTreeMap<String, Capture>,
    /// What seals payloads; [`Capture::Full`] needs it.
    pub seal: Option<Arc<dyn Seal>>,
    /// The name that checkpoints are signed under.
    pub origin: String,
    /// A checkpoint at least every so many entries.
    pub checkpoint_entries: u64,
    /// A checkpoint this long after something new was written.
    pub checkpoint_interval: Duration,
    /// Size at which a new segment begins.
    pub segment_bytes: u64,
    /// Files elsewhere that every checkpoint is appended to.
    pub anchors: Vec<PathBuf>,
    /// How many days payloads are kept; `None` for ever.
    pub payload_days: Option<u32>,
    /// Why a new log is to be begun in place of one that does not hold; `None` to refuse that one.
    pub new_log: Option<String>,
    /// What others who want the log are told about this process: a few printable words.
    pub holder: String,
}

impl Options {
    /// The usual options for a log in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            keys: folder.join("keys"),
            folder,
            durability: Durability::default(),
            capture: Capture::default(),
            capture_by_server: BTreeMap::new(),
            seal: None,
            origin: "doorward".to_owned(),
            checkpoint_entries: 10_000,
            checkpoint_interval: Duration::from_secs(1),
            segment_bytes: 64 << 20,
            anchors: Vec::new(),
            payload_days: None,
            new_log: None,
            holder: format!("process {}", std::process::id()),
        }
    }

    /// What is kept of calls to this server.
    pub(crate) fn capture_of(&self, server: Option<&str>) -> Capture {
        server.and_then(|server| self.capture_by_server.get(server)).copied().unwrap_or(self.capture)
    }

    /// Whether payloads are kept of any call.
    pub(crate) fn captures_payloads(&self) -> bool {
        self.capture == Capture::Full || self.capture_by_server.values().any(|it| *it == Capture::Full)
    }
}
