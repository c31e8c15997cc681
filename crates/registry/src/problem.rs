//! What is wrong with what a server offers, for the people who run the gateway or the server.

use std::fmt;
use std::sync::Arc;

use doorward_model::{CapabilityKind, ServerId};

/// Something that a server offered and that is not offered on as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Who offered it.
    pub server: ServerId,
    /// What it is.
    pub kind: CapabilityKind,
    /// What the server calls it; `None` where all of a list is concerned.
    pub name: Option<Arc<str>>,
    /// What is wrong with it.
    pub trouble: Trouble,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The definition is no object, has a key twice, or gives another name than its own.
    #[error("its definition cannot be read; it is left out")]
    Unreadable,
    /// The definition does not have the form of MCP, and it is not clear what was meant.
    #[error("its definition is malformed: {0}; it is left out")]
    Malformed(String),
    /// The definition did not have the form of MCP, and it was clear what was meant.
    #[error("its definition is malformed and was mended: {0}")]
    Mended(String),
    /// Nobody could say its arguments in headers.
    #[error("its x-mcp-header annotations break the rules; it is left out")]
    Headers,
    /// The server offers the same name more than once.
    #[error("it is offered more than once; it is left out")]
    Repeated,
    /// Something else has the same name on the aggregate endpoint.
    #[error("it would be called `{exposed}`, and so would {other}; neither is offered under that name")]
    Ambiguous {
        /// The contested name.
        exposed: Arc<str>,
        /// What else would have it.
        other: String,
    },
    /// All of the list or a part of it is not there.
    #[error("{0}")]
    Incomplete(Arc<str>),
}

impl Problem {
    /// Whether it is offered all the same.
    pub fn is_mended(&self) -> bool {
        matches!(self.trouble, Trouble::Mended(_))
    }

    /// What it is about and what is wrong, without the server.
    pub fn what(&self) -> String {
        match &self.name {
            Some(name) => format!("{} `{name}`: {}", word(self.kind), self.trouble),
            None => format!("{}: {}", self.kind.list_method(), self.trouble),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server `{}`: {}", self.server, self.what())
    }
}

fn word(kind: CapabilityKind) -> &'static str {
    match kind {
        CapabilityKind::Tool => "tool",
        CapabilityKind::Resource => "resource",
        CapabilityKind::ResourceTemplate => "resource template",
        CapabilityKind::Prompt => "prompt",
    }
}
