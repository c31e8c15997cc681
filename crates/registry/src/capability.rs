//! One capability as policy judges it and as clients are shown it.

use std::sync::Arc;

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, quoted};
use doorward_model::{CapabilityKind, Definition, ServerId};

use crate::fingerprint::fingerprint;
use crate::mend;
use crate::mirrored::{Mirrored, mirrored};
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
    /// Whether a call of it may, or must, become a task of 2025-11-25.
    pub tasks: TaskSupport,
    /// Arguments that a modern request over HTTP repeats in headers.
    pub headers: Vec<Mirrored>,
    /// The definition as the server wrote it, or in the form of MCP where it did not have it.
    pub raw: Bytes,
    /// The same under its aggregate name.
    pub aggregate: Bytes,
    /// What had to be changed to give the definition the form of MCP, for people.
    pub mended: Option<String>,
}

impl Capability {
    /// Reads a definition. Its fingerprint is that of what the server wrote.
    pub(crate) fn new(
        position: usize,
        server: &Arc<Server>,
        definition: &Definition,
    ) -> Result<Self, Unusable> {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let document = Document::parse(definition.raw.clone(), &limits).map_err(|_| Unusable::Unreadable)?;
        let naming = document.root().get(naming_member(definition.kind)).ok_or(Unusable::Unreadable)?;
        if naming.as_str().as_deref() != Some(&*definition.name) {
            return Err(Unusable::Unreadable);
        }
        let fingerprint = fingerprint(document.root()).into();
        let mended = mend::mended(definition.kind, document.root())
            .map_err(|mend::Hopeless(why)| Unusable::Malformed(why))?;
        let (document, mended) = match mended {
            None => (document, None),
            Some(mend::Mended { text, changes }) => {
                let document = Document::parse(Bytes::from(text), &limits);
                (document.map_err(|_| Unusable::Unreadable)?, Some(changes))
            }
        };
        let naming = document.root().get(naming_member(definition.kind)).ok_or(Unusable::Unreadable)?;
        let schema = document.root().get("inputSchema").filter(|_| definition.kind == CapabilityKind::Tool);
        let headers = match schema.map(mirrored).transpose() {
            Ok(headers) => headers.unwrap_or_default(),
            // A child process has no headers, so that it matters to nobody.
            Err(_) if server.transport == "stdio" => Vec::new(),
            Err(_) => return Err(Unusable::Headers),
        };
        let exposed = name::exposed(&server.id, definition.kind, &definition.name);
        let annotations = document.root().get("annotations").filter(|value| value.is_object());
        Ok(Self {
            position,
            headers,
            server: Arc::clone(server),
            kind: definition.kind,
            name: Arc::clone(&definition.name),
            aggregate: renamed(&document, naming, &exposed, &server.id),
            exposed: exposed.into(),
            fingerprint,
            tasks: TaskSupport::read(document.root()),
            annotations: annotations.map_or(Bytes::from_static(b"{}"), |value| document.slice(value)),
            raw: if mended.is_some() { document.bytes().clone() } else { definition.raw.clone() },
            mended,
        })
    }
}

/// `execution.taskSupport` of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSupport {
    /// Its calls are answered, as all calls once were; what nothing said means.
    Forbidden,
    /// Whoever calls may want a task.
    Optional,
    /// It can be called as a task only.
    Required,
}

impl TaskSupport {
    fn read(definition: Value<'_>) -> Self {
        let support = definition.get("execution").and_then(|execution| execution.get("taskSupport"));
        match support.and_then(Value::as_str).as_deref() {
            Some("optional") => Self::Optional,
            Some("required") => Self::Required,
            _ => Self::Forbidden,
        }
    }
}

/// Why a definition cannot be offered on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is no object with the member that names it.
    Unreadable,
    /// It does not have the form of MCP, for this reason, and nobody can know what was meant.
    Malformed(String),
    /// Its `x-mcp-header` annotations break the rules.
    Headers,
}

fn naming_member(kind: CapabilityKind) -> &'static str {
    match kind {
        CapabilityKind::Tool | CapabilityKind::Prompt => "name",
        CapabilityKind::Resource => "uri",
        CapabilityKind::ResourceTemplate => "uriTemplate",
    }
}

/// The definition under its aggregate name. Where a tool names the page that shows it, that
/// is a resource of the same server.
fn renamed(document: &Document, naming: Value<'_>, exposed: &str, server: &ServerId) -> Bytes {
    let mut changes = vec![(naming.span(), quoted(exposed))];
    let meta = document.root().get("_meta");
    let pages = [
        meta.and_then(|meta| meta.get("ui")).and_then(|ui| ui.get("resourceUri")),
        meta.and_then(|meta| meta.get("ui/resourceUri")),
    ];
    for page in pages.into_iter().flatten() {
        if let Some(uri) = page.as_str() {
            changes.push((page.span(), quoted(&name::exposed(server, CapabilityKind::Resource, &uri))));
        }
    }
    changes.sort_by_key(|(span, _)| span.start);
    let bytes = document.bytes();
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut at = 0;
    for (span, text) in changes {
        out.extend_from_slice(&bytes[at..span.start]);
        out.extend_from_slice(text.as_bytes());
        at = span.end;
    }
    out.extend_from_slice(&bytes[at..]);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_and_its_page_are_renamed_together() {
        let server = Arc::new(Server {
            id: ServerId::try_from("a").expect("valid"),
            name: "a".to_owned(),
            tags: Vec::new(),
            transport: "http",
            address: String::new(),
            enabled: true,
            lacking: Vec::new(),
            disable: Vec::new(),
            exact_numbers: false,
        });
        let raw = r#"{"_meta":{"ui":{"resourceUri":"ui://p"},"ui/resourceUri":"ui://p"}, "name":"t","inputSchema":{"type":"object"}}"#;
        let definition = Definition { kind: CapabilityKind::Tool, name: "t".into(), raw: raw.into() };
        let capability = Capability::new(0, &server, &definition).expect("readable");
        assert_eq!(
            capability.aggregate,
            r#"{"_meta":{"ui":{"resourceUri":"ui://a+p"},"ui/resourceUri":"ui://a+p"}, "name":"a__t","inputSchema":{"type":"object"}}"#
        );
        assert_eq!(capability.raw, raw);
    }
}
