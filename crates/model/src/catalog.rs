//! What a server says it offers, kept exactly as it said it.

use std::sync::Arc;

use bytes::Bytes;

use crate::operation::CapabilityKind;

/// One tool, resource, resource template or prompt, as the server defined it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it is.
    pub kind: CapabilityKind,
    /// Its name on the server: `name` of tools and prompts, `uri` of resources,
    /// `uriTemplate` of templates.
    pub name: Arc<str>,
    /// The definition, a JSON object, byte for byte as received.
    pub raw: Bytes,
}

/// To whom a server offers what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// To every client: it learns nothing of them before it is asked for its lists.
    Everybody,
    /// To clients that declare exactly these capabilities: JSON text, empty for none.
    Declaring(Arc<str>),
}

impl Audience {
    /// Whether a client that declares these capabilities belongs to it.
    pub fn holds(&self, declared: &str) -> bool {
        match self {
            Self::Everybody => true,
            Self::Declaring(these) => **these == *declared,
        }
    }
}

/// Everything a server offered when it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Tools, resources, templates and prompts, in the server's own order.
    pub definitions: Vec<Definition>,
    /// The server's `capabilities` object, as received; empty when unknown.
    pub capabilities: Bytes,
    /// The server's `serverInfo` object, as received; empty when unknown.
    pub server_info: Bytes,
    /// The server's `instructions`: untrusted text for a model.
    pub instructions: Option<Arc<str>>,
    /// The protocol revision spoken with the server.
    pub protocol_version: Arc<str>,
}

impl Catalog {
    /// The definitions of one kind, in the server's order.
    pub fn of(&self, kind: CapabilityKind) -> impl Iterator<Item = &Definition> {
        self.definitions.iter().filter(move |definition| definition.kind == kind)
    }
}
