//! The servers that can be called: `servers`.

mod address;
mod credential;
mod meant;
mod read;
mod secrecy;
mod written;

pub(crate) use address::check_url;
pub(crate) use read::{ServerFile, build};
pub use written::Written;
pub(crate) use written::written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use doorward_model::{Secret, ServerId};
use schemars::JsonSchema;
use serde::Deserialize;

use super::audit::Capture;

/// How long a call may take unless configured.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One registered server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// Its name for people; the id unless configured.
    pub name: String,
    /// Tags, visible to policies.
    pub tags: Vec<String>,
    /// Whether it takes part at all.
    pub enabled: bool,
    /// How it is reached.
    pub transport: Transport,
    /// The same as the file has it, which may be shown.
    pub written: Written,
    /// Which protocol it speaks.
    pub protocol: Protocol,
    /// How new and changed definitions are treated.
    pub review: Review,
    /// What is presented to it.
    pub credential: Credential,
    /// Values of its entry that it must not repeat, beside the credential.
    pub secrets: Vec<Secret>,
    /// Globs over capabilities that nobody gets.
    pub disable: Vec<String>,
    /// How long a call may take.
    pub timeout: Duration,
    /// How long a call may take at most whose progress is reported.
    pub max_timeout: Option<Duration>,
    /// Whether it is started with the gateway.
    pub is_eager: bool,
    /// How long starting it may take.
    pub start_timeout: Duration,
    /// After how long without a call it is stopped; `None` keeps it.
    pub idle_timeout: Option<Duration>,
    /// Whether unencrypted HTTP beyond this machine is accepted.
    pub allow_insecure_http: bool,
    /// Whether integers that JavaScript would round are passed on as written.
    pub exact_numbers: bool,
    /// What is kept of arguments and results, if not what `audit.capture` says.
    pub capture: Option<Capture>,
    /// Environment variables that its entry names and nobody set. It cannot start
    /// while there are any.
    pub missing: Vec<String>,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A child process, spoken to over its standard input and output.
    Stdio {
        /// The program, found by `PATH`.
        command: String,
        /// Its arguments, verbatim.
        args: Vec<String>,
        /// Its environment, beside a few harmless variables.
        env: BTreeMap<String, Secret>,
        /// Its working directory, relative to the gateway's own.
        cwd: Option<PathBuf>,
        /// Most memory that it, and each process it starts, may have, in bytes.
        max_memory: Option<u64>,
    },
    /// Streamable HTTP.
    Http {
        /// The endpoint.
        url: String,
    },
    /// HTTP with server-sent events, as of 2024-11-05.
    Sse {
        /// The event stream.
        url: String,
    },
}

impl Transport {
    /// `stdio`, `http` or `sse`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stdio { .. } => "stdio",
            Self::Http { .. } => "http",
            Self::Sse { .. } => "sse",
        }
    }
}

/// Which protocol a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Found out when connecting.
    #[default]
    Auto,
    /// With sessions: 2024-11-05 to 2025-11-25.
    Legacy,
    /// Without sessions: 2026-07-28 and later.
    Modern,
}

/// How definitions of capabilities come into use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Review {
    /// What a server offers first is trusted; what changes later is reviewed.
    #[default]
    Tofu,
    /// Everything is reviewed before it can be called.
    Strict,
}

/// What is presented to a server.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    None,
    /// `Authorization: Bearer …`.
    Bearer(Secret),
    /// These headers.
    Headers(BTreeMap<String, Secret>),
    /// Variables in the environment of a child process.
    Env,
}

impl Credential {
    /// The kind as the file spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer(_) => "bearer",
            Self::Headers(_) => "headers",
            Self::Env => "env",
        }
    }
}
