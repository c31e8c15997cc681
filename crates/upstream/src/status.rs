//! How a server is doing, and what is announced about it.

use std::sync::Arc;
use std::time::Duration;

use doorward_model::{CapabilityKind, ServerId, Timestamp};
use doorward_wire::Era;

/// The state of the link to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Known, and not needed so far.
    Registered,
    /// Being started or reached.
    Connecting,
    /// Answering.
    Connected,
    /// Reached, and wanting a credential.
    AuthRequired,
    /// Reached, and its last request timed out or failed.
    Degraded,
    /// Not to be reached, or crashed.
    Error,
    /// Taken out of service.
    Disabled,
}

impl State {
    /// The word used in the API and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::AuthRequired => "auth_required",
            Self::Degraded => "degraded",
            Self::Error => "error",
            Self::Disabled => "disabled",
        }
    }
}

/// How a server is doing.
#[derive(Clone, Debug)]
pub struct Status {
    /// The state of its link.
    pub state: State,
    /// The last thing that went wrong, with causes, without secrets, until it answers again.
    pub last_error: Option<String>,
    /// When it last answered.
    pub last_ok_at: Option<Timestamp>,
    /// The era spoken, once known.
    pub era: Option<Era>,
    /// The protocol revision spoken, once known.
    pub protocol_version: Option<Arc<str>>,
    /// The process id of a managed child that runs.
    pub pid: Option<u32>,
    /// How long it has answered without a break.
    pub uptime: Option<Duration>,
    /// How often a child was started again after a crash.
    pub restarts: u32,
}

/// What a server did without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// What it offers of this kind may have changed.
    CatalogChanged(ServerId, CapabilityKind),
    /// A resource that was subscribed to has changed; named by its URI.
    ResourceUpdated(ServerId, String),
    /// Its state has changed to this one.
    StateChanged(ServerId, State),
}
