//! Why a server did not answer.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use doorward_egress::EgressError;
use doorward_model::ServerId;
use doorward_wire::sse::Oversized;

/// Why there is no answer.
///
/// `Display` is what callers and people may read: it names the server and never
/// a secret, an address or a cause. Causes are in `source()`, for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No server of this id is configured, or it is being taken away.
    #[error("server `{server}` is not available")]
    Unavailable {
        /// The id asked for.
        server: ServerId,
    },
    /// The answer did not come in time. A late one is dropped.
    #[error("MCP request timeout after {}ms: {method}", limit.as_millis())]
    Timeout {
        /// The method called.
        method: Cow<'static, str>,
        /// How long was waited.
        limit: Duration,
    },
    /// The server wants a credential, or another one.
    #[error("server `{server}` requires authorization (HTTP {status})")]
    AuthRequired {
        /// The server.
        server: ServerId,
        /// 401 or 403.
        status: u16,
        /// Its `WWW-Authenticate` header.
        challenge: Option<String>,
    },
    /// No connection, or it broke.
    #[error("server `{server}` cannot be reached")]
    Unreachable {
        /// The server.
        server: ServerId,
        /// What went wrong.
        #[source]
        cause: EgressError,
    },
    /// The process could not be started.
    #[error("server `{server}` could not be started{}", start_detail(cause))]
    Start {
        /// The server.
        server: ServerId,
        /// What went wrong.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// The process ended, or closed its output, before it answered.
    #[error("server `{server}` exited before it answered")]
    Exited {
        /// The server.
        server: ServerId,
    },
    /// The process crashed; it is started again later.
    #[error("server `{server}` has crashed and is started again in {} s", retry_in.as_secs().max(1))]
    Restarting {
        /// The server.
        server: ServerId,
        /// When to try again.
        retry_in: Duration,
    },
    /// It has let several calls in a row wait in vain, and gets no more for the moment.
    #[error("server `{server}` does not answer and is tried again in {} s", retry_in.as_secs().max(1))]
    Silent {
        /// The server.
        server: ServerId,
        /// When to try again.
        retry_in: Duration,
    },
    /// An HTTP status that carries no JSON-RPC answer.
    #[error("server `{server}` answered with HTTP status {status}")]
    Status {
        /// The server.
        server: ServerId,
        /// The status.
        status: u16,
    },
    /// An answer that is none.
    #[error("server `{server}` broke the protocol: {detail}")]
    Protocol {
        /// The server.
        server: ServerId,
        /// What it did.
        detail: &'static str,
        /// More, from the server: untrusted.
        #[source]
        cause: Option<Cause>,
    },
    /// It has no such thing.
    #[error("server `{server}` has no {what}")]
    NotOffered {
        /// The server.
        server: ServerId,
        /// What was asked for.
        what: &'static str,
    },
    /// It said no, with an error of its own.
    #[error("{message}")]
    Refused {
        /// The server.
        server: ServerId,
        /// The JSON-RPC code.
        code: i32,
        /// Its words, shortened: untrusted.
        message: String,
    },
    /// An answer beyond the limit.
    #[error("server `{server}` answered with more than {limit} bytes")]
    TooLarge {
        /// The server.
        server: ServerId,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The gateway has no room for its answer: too much else is under way.
    #[error("there is no room for the answer of server `{server}` at the moment; try again")]
    NoRoom {
        /// The server.
        server: ServerId,
    },
    /// Too many requests are in flight to it already.
    #[error("server `{server}` is busy: too many calls at once")]
    Busy {
        /// The server.
        server: ServerId,
    },
    /// Its specification cannot work.
    #[error("server `{server}` is configured wrongly: {detail}")]
    Configuration {
        /// The server.
        server: ServerId,
        /// What is wrong.
        detail: Cow<'static, str>,
    },
}

/// What callers may know of why a process could not be started.
fn start_detail(cause: &std::io::Error) -> &'static str {
    match cause.kind() {
        std::io::ErrorKind::NotFound => ": its program, or the folder that it is to run in, is not there",
        std::io::ErrorKind::PermissionDenied => ": its program may not be run",
        _ => "",
    }
}

/// A text or an error of the server, kept for the log.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    pub(crate) fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

impl UpstreamError {
    /// Whether the server can have acted on the request.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::AuthRequired { .. }
            | Self::Start { .. }
            | Self::Restarting { .. }
            | Self::Silent { .. }
            | Self::Busy { .. }
            | Self::NotOffered { .. }
            | Self::Refused { .. }
            | Self::Configuration { .. } => false,
            Self::Unreachable { cause, .. } => cause.may_have_been_processed(),
            Self::Timeout { .. }
            | Self::Exited { .. }
            | Self::Status { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::NoRoom { .. } => true,
        }
    }

    /// The stable word for it (`docs/reference/error-codes.md`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "upstream-unavailable",
            Self::Timeout { .. } => "upstream-timeout",
            Self::AuthRequired { .. } => "upstream-auth-required",
            Self::Unreachable { .. } => "upstream-unreachable",
            Self::Start { .. } => "upstream-start",
            Self::Exited { .. } => "upstream-exited",
            Self::Restarting { .. } => "upstream-restarting",
            Self::Silent { .. } => "upstream-silent",
            Self::Status { .. } => "upstream-status",
            Self::Protocol { .. } => "upstream-protocol",
            Self::NotOffered { .. } => "upstream-not-offered",
            Self::Refused { .. } => "upstream-refused",
            Self::TooLarge { .. } => "upstream-too-large",
            Self::NoRoom { .. } => "no-room",
            Self::Busy { .. } => "upstream-busy",
            Self::Configuration { .. } => "upstream-configuration",
        }
    }

    /// The error and its causes in one line, for the log and the status page.
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    pub(crate) fn egress(server: &ServerId, cause: EgressError) -> Self {
        match cause {
            EgressError::TooLarge { limit, .. } => Self::TooLarge { server: server.clone(), limit },
            EgressError::NoRoom { .. } => Self::NoRoom { server: server.clone() },
            cause => Self::Unreachable { server: server.clone(), cause },
        }
    }

    /// An event of a stream was too much.
    pub(crate) fn oversized(server: &ServerId, cause: Oversized) -> Self {
        match cause {
            Oversized::Limit { limit } => Self::TooLarge { server: server.clone(), limit },
            Oversized::NoRoom(_) => Self::NoRoom { server: server.clone() },
        }
    }

    pub(crate) fn protocol(server: &ServerId, detail: &'static str) -> Self {
        Self::Protocol { server: server.clone(), detail, cause: None }
    }

    pub(crate) fn protocol_because(server: &ServerId, detail: &'static str, cause: Cause) -> Self {
        Self::Protocol { server: server.clone(), detail, cause: Some(cause) }
    }
}
