//! A server as its registration describes the way to it.

use std::path::PathBuf;
use std::time::Duration;

use doorward_model::json::Numbers;
use doorward_model::{Secret, ServerId};

use crate::error::UpstreamError;

/// Everything needed to reach one server. Two equal specifications may share a
/// link, so that reloading a configuration restarts only what has changed.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// The server's id.
    pub id: ServerId,
    /// How it is reached.
    pub transport: Transport,
    /// Which era it is spoken to in.
    pub protocol: Protocol,
    /// What it is shown as proof, over HTTP.
    pub credential: Credential,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long one may take at most whose progress is reported: each report lets it go on for
    /// another `timeout`. Without it, progress changes nothing.
    pub max_timeout: Option<Duration>,
    /// How long it may take to start, probe and open a link.
    pub start_timeout: Duration,
    /// A managed child is stopped after so long without a call; `None` keeps it.
    pub idle_timeout: Option<Duration>,
    /// Whether `http://` to another machine is accepted.
    pub allow_insecure_http: bool,
    /// How integers in the arguments meant for this server are read.
    pub numbers: Numbers,
    /// Secrets that it needs and nobody has set. With any of them missing it is not started.
    pub lacking: Vec<String>,
    /// What else it is told and must not repeat: of its environment, its arguments, its address.
    pub secrets: Vec<Secret>,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A child process, started with exactly these arguments and no shell.
    Stdio {
        /// The program, a path or a name to be found in `PATH`.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment, besides the few variables every child inherits.
        env: Vec<(String, Secret)>,
        /// Its working directory; `None` is the gateway's own.
        cwd: Option<PathBuf>,
        /// Most memory that it and each process it starts may have, in bytes; address space that is
        /// merely reserved does not count.
        max_memory: Option<u64>,
    },
    /// Streamable HTTP; HTTP+SSE if the server turns out to speak nothing newer.
    Http {
        /// Where requests are posted.
        url: String,
    },
    /// HTTP+SSE of 2024-11-05.
    Sse {
        /// Where the event stream is.
        url: String,
    },
}

/// Which era a server is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Whichever it turns out to speak, the newer one first.
    #[default]
    Auto,
    /// Sessions: 2024-11-05 to 2025-11-25.
    Legacy,
    /// Stateless: 2026-07-28.
    Modern,
}

/// What a server is shown as proof.
#[derive(Clone, Debug, Default)]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// `Authorization: Bearer …`
    Bearer(Secret),
    /// Headers of these names.
    Headers(Vec<(String, Secret)>),
}

/// Whether this header belongs to the connection or the protocol, so that no credential may set it.
/// `name` is in lower case.
pub fn is_reserved_header(name: &str) -> bool {
    const RESERVED: [&str; 16] = [
        "host",
        "content-length",
        "content-type",
        "content-encoding",
        "accept",
        "connection",
        "expect",
        "keep-alive",
        "last-event-id",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    RESERVED.contains(&name) || name.starts_with("mcp-")
}

impl ServerSpec {
    /// A specification with the defaults of everything but id and transport.
    pub fn new(id: ServerId, transport: Transport) -> Self {
        Self {
            id,
            transport,
            protocol: Protocol::Auto,
            credential: Credential::None,
            timeout: Duration::from_secs(30),
            max_timeout: None,
            start_timeout: Duration::from_secs(60),
            idle_timeout: None,
            allow_insecure_http: false,
            numbers: Numbers::Safe,
            lacking: Vec::new(),
            secrets: Vec::new(),
        }
    }

    /// What is wrong with it before anybody tries; `None` if nothing is.
    pub(crate) fn misfit(&self) -> Option<UpstreamError> {
        if self.lacking.is_empty() {
            return None;
        }
        let detail = format!("missing secret {}", self.lacking.join(", "));
        Some(UpstreamError::Configuration { server: self.id.clone(), detail: detail.into() })
    }

    /// Every secret this server is given: what must not come back from it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let (token, headers) = match &self.credential {
            Credential::None => (None, &[][..]),
            Credential::Bearer(token) => (Some(token), &[][..]),
            Credential::Headers(headers) => (None, headers.as_slice()),
        };
        self.secrets.iter().chain(token).chain(headers.iter().map(|(_, value)| value))
    }
}

/// Secrets are compared in memory, one configuration against the next; nobody
/// outside can time it.
impl PartialEq for ServerSpec {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.transport == other.transport
            && self.protocol == other.protocol
            && self.credential == other.credential
            && self.timeout == other.timeout
            && self.max_timeout == other.max_timeout
            && self.start_timeout == other.start_timeout
            && self.idle_timeout == other.idle_timeout
            && self.allow_insecure_http == other.allow_insecure_http
            && self.numbers == other.numbers
            && self.lacking == other.lacking
            && self.secrets.iter().map(Secret::expose).eq(other.secrets.iter().map(Secret::expose))
    }
}

impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Stdio { command, args, env, cwd, max_memory },
                Self::Stdio { command: command2, args: args2, env: env2, cwd: cwd2, max_memory: memory2 },
            ) => {
                (command, args, cwd, max_memory) == (command2, args2, cwd2, memory2) && same_pairs(env, env2)
            }
            (Self::Http { url }, Self::Http { url: other })
            | (Self::Sse { url }, Self::Sse { url: other }) => url == other,
            _ => false,
        }
    }
}

impl PartialEq for Credential {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Bearer(token), Self::Bearer(other)) => token.expose() == other.expose(),
            (Self::Headers(headers), Self::Headers(others)) => same_pairs(headers, others),
            _ => false,
        }
    }
}

fn same_pairs(ours: &[(String, Secret)], theirs: &[(String, Secret)]) -> bool {
    ours.len() == theirs.len()
        && ours.iter().zip(theirs).all(|(a, b)| a.0 == b.0 && a.1.expose() == b.1.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(value: &str) -> ServerSpec {
        let transport = Transport::Stdio {
            command: "server".into(),
            args: vec!["-x".into()],
            env: vec![("TOKEN".into(), Secret::new(value))],
            cwd: None,
            max_memory: None,
        };
        ServerSpec::new(ServerId::try_from("a").expect("valid"), transport)
    }

    #[test]
    fn specifications_differ_by_their_secrets_and_never_print_them() {
        assert_eq!(child("one-secret"), child("one-secret"));
        assert_ne!(child("one-secret"), child("two-secrets"));
        let bearer =
            |token: &str| ServerSpec { credential: Credential::Bearer(Secret::new(token)), ..child("e") };
        assert_ne!(bearer("a"), bearer("b"));
        assert_ne!(bearer("a"), ServerSpec { timeout: Duration::from_secs(1), ..bearer("a") });
        assert!(!format!("{:?}", bearer("sesame")).contains("sesame"));
        assert_eq!(bearer("sesame").secrets().count(), 1, "what is in the environment need not be secret");
        let told = |secret: &str| ServerSpec { secrets: vec![Secret::new(secret)], ..bearer("sesame") };
        assert_eq!(told("a").secrets().count(), 2);
        assert_ne!(told("a"), told("b"));
    }
}
