//! One capability as policy judges it and as clients are shown it.

use std::sync::Arc;

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, quoted};
use doorward_model::{CapabilityKind, Definition};

use crate::fingerprint::fingerprint;
use crate::name;
use crate::server::Server;

/// A tool, resource, template or prompt of a registered server.
#[derive(Debug)]
pub struct Capability {
    /// Its place among all capabilities of the picture, see [`Registry::all`](crate::Registry::all).
    pub position: usize,
    /// The server that has it.
    pub server: Arc<Server>,
    /// What it is.
    pub kind: CapabilityKind,
    /// Its own name or URI, which policies and servers know.
    pub name: Arc<str>,
    /// Its name or URI on the aggregate endpoint.
    pub exposed: Arc<str>,
    /// `sha256:<hex>` over its definition.
    pub fingerprint: Arc<str>,
    /// Its `annotations` object as JSON text, `{}` when there is none.
    pub annotations: Bytes,
    /// The definition as the server wrote it.
    pub raw: Bytes,
    /// The definition under its aggregate name.
    pub aggregate: Bytes,
}

impl Capability {
    /// Reads a definition; `None` when it is no object with the member that names it.
    pub(crate) fn new(position: usize, server: &Arc<Server>, definition: &Definition) -> Option<Self> {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let document = Document::parse(definition.raw.clone(), &limits).ok()?;
        let naming = document.root().get(naming_member(definition.kind))?;
        if naming.as_str()? != *definition.name {
            return None;
        }
        let exposed = name::exposed(&server.id, definition.kind, &definition.name);
        let annotations = document.root().get("annotations").filter(|value| value.is_object());
        Some(Self {
            position,
            server: Arc::clone(server),
            kind: definition.kind,
            name: Arc::clone(&definition.name),
            aggregate: replaced(&document, naming, &exposed),
            exposed: exposed.into(),
            fingerprint: fingerprint(document.root()).into(),
            annotations: annotations.map_or(Bytes::from_static(b"{}"), |value| document.slice(value)),
            raw: definition.raw.clone(),
        })
    }
}

fn naming_member(kind: CapabilityKind) -> &'static str {
    match kind {
        CapabilityKind::Tool | CapabilityKind::Prompt => "name",
        CapabilityKind::Resource => "uri",
        CapabilityKind::ResourceTemplate => "uriTemplate",
    }
}

fn replaced(document: &Document, value: Value<'_>, text: &str) -> Bytes {
    let bytes = document.bytes();
    let span = value.span();
    let quoted = quoted(text);
    let mut out = Vec::with_capacity(bytes.len() + quoted.len());
    out.extend_from_slice(&bytes[..span.start]);
    out.extend_from_slice(quoted.as_bytes());
    out.extend_from_slice(&bytes[span.end..]);
    Bytes::from(out)
}
