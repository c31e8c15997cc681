//! What goes back to a client, whatever carries it.

use std::time::Duration;

use bytes::Bytes;
use doorward_model::shared::Unshared;
use doorward_wire::RpcError;
use doorward_wire::error::INTERNAL;
use doorward_wire::reply as write;

use crate::codes;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, where the transport has one.
    pub status: u16,
    /// The JSON-RPC message; empty for a bare acknowledgement.
    pub body: Bytes,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// A session that this answer opens.
    pub session: Option<Box<str>>,
}

impl Reply {
    /// A result, given as JSON text.
    pub fn result(id: &str, result: &str) -> Self {
        Self { status: 200, body: write::result(id, result), retry_after: None, session: None }
    }

    /// An error.
    pub fn error(id: Option<&str>, error: &RpcError) -> Self {
        Self { status: error.status, body: write::error(id, error), retry_after: None, session: None }
    }

    /// Something that has to be known cannot be found out at the moment.
    pub fn later(id: Option<&str>, error: &Unshared) -> Self {
        tracing::warn!(target: "doorward::session", %error, "a request was put off");
        let error = RpcError {
            code: INTERNAL,
            message: "the gateway's shared state cannot be reached; try again".to_owned(),
            data: None,
            status: 503,
        };
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::error(id, &error) }
    }

    /// There is no room for the request: too much else is under way.
    pub fn overloaded() -> Self {
        let error = RpcError {
            code: INTERNAL,
            message: "the gateway has too much to do at the moment; try again".to_owned(),
            data: Some(format!(r#"{{"code":"{}"}}"#, codes::OVERLOADED)),
            status: 503,
        };
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::error(None, &error) }
    }

    /// The answer is there, and its client has too many unread ones for it to be kept.
    pub fn withheld(id: &str) -> Self {
        let error = RpcError {
            code: INTERNAL,
            message: "the request was carried out, but its answer is withheld: large answers before it \
                      have not been read yet; read them first, or ask for less at once"
                .to_owned(),
            data: Some(format!(r#"{{"code":"{}"}}"#, codes::UNREAD)),
            status: 200,
        };
        Self::error(Some(id), &error)
    }

    /// Nothing to say but that the message arrived.
    pub fn accepted() -> Self {
        Self { status: 202, body: Bytes::new(), retry_after: None, session: None }
    }
}

/// A time to wait as clients are told it: in seconds, one at least.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs_f64().ceil() as u64).max(1)
}
