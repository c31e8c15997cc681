//! What can go wrong on the way out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Why no answer came.
///
/// `Display` names the host at most; addresses, paths and causes are for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EgressError {
    /// `http://` to another machine, which nobody has allowed.
    #[error("`{host}` may only be reached over https")]
    PlainHttp {
        /// The host of the URL.
        host: Arc<str>,
    },
    /// The host resolves to an address that must not be dialled.
    #[error("`{host}` leads to an address that must not be reached")]
    Forbidden {
        /// The host of the URL.
        host: Arc<str>,
        /// The address in question.
        address: IpAddr,
    },
    /// The name could not be resolved.
    #[error("`{host}` cannot be found")]
    Resolve {
        /// The host of the URL.
        host: Arc<str>,
        /// What the resolver said.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// No connection came about.
    #[error("no connection to `{host}`")]
    Connect {
        /// The host of the URL.
        host: Arc<str>,
        /// The last attempt's error.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// The TLS handshake failed; most often the certificate.
    #[error("no trusted TLS connection to `{host}`")]
    Tls {
        /// The host of the URL.
        host: Arc<str>,
        /// What was wrong.
        #[source]
        cause: Arc<std::io::Error>,
    },
    /// Connecting took too long.
    #[error("no connection to `{host}` within {} ms", limit.as_millis())]
    ConnectTimeout {
        /// The host of the URL.
        host: Arc<str>,
        /// How long was waited.
        limit: Duration,
    },
    /// The head of the answer took too long.
    #[error("`{host}` did not begin to answer within {} ms", limit.as_millis())]
    HeaderTimeout {
        /// The host of the URL.
        host: Arc<str>,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection ended before the answer began. Whether the request was
    /// processed is unknown.
    #[error("the connection to `{host}` broke before the answer")]
    Broken {
        /// The host of the URL.
        host: Arc<str>,
        /// What was wrong.
        #[source]
        cause: Arc<hyper::Error>,
    },
    /// The connection ended within the answer.
    #[error("the connection to `{host}` broke within the answer")]
    Cut {
        /// The host of the URL.
        host: Arc<str>,
        /// What was wrong.
        #[source]
        cause: Arc<hyper::Error>,
    },
    /// The answer is longer than allowed.
    #[error("the answer of `{host}` is longer than {limit} bytes")]
    TooLarge {
        /// The host of the URL.
        host: Arc<str>,
        /// The limit, in bytes.
        limit: usize,
    },
    /// There is no room for the answer: too much else is under way.
    #[error("there is no room for the answer of `{host}` at the moment")]
    NoRoom {
        /// The host of the URL.
        host: Arc<str>,
    },
    /// No root certificate could be loaded, so that nobody can be trusted.
    #[error("no root certificates to trust")]
    NoRoots,
}

impl EgressError {
    /// Whether the request can have reached the other side.
    pub fn may_have_been_processed(&self) -> bool {
        match self {
            Self::PlainHttp { .. }
            | Self::Forbidden { .. }
            | Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::ConnectTimeout { .. }
            | Self::NoRoots => false,
            Self::HeaderTimeout { .. }
            | Self::Broken { .. }
            | Self::Cut { .. }
            | Self::TooLarge { .. }
            | Self::NoRoom { .. } => true,
        }
    }
}
