//! Asking a server for everything it offers, page by page, within bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, quoted};
use doorward_model::{CapabilityKind, Catalog, Definition, ServerId};

use crate::call::Call;
use crate::error::{Cause, UpstreamError};
use crate::link::Link;
use crate::open;
use crate::settings::Listing;

const KINDS: [CapabilityKind; 4] = [
    CapabilityKind::Tool,
    CapabilityKind::Resource,
    CapabilityKind::ResourceTemplate,
    CapabilityKind::Prompt,
];

const METHOD_NOT_FOUND: i64 = -32601;

/// Lists everything the server says it has for clients that declare these capabilities; each
/// page may take `per_page`.
pub(crate) async fn list(link: &Link, declared: &str, per_page: Duration) -> Result<Catalog, UpstreamError> {
    let bounds = link.hub.settings.listing;
    let mut collected = Collected { link, declared, per_page, bounds, definitions: Vec::new(), bytes: 0 };
    for kind in KINDS.into_iter().filter(|kind| link.handshake.offers(*kind)) {
        collected.kind(kind).await?;
    }
    let handshake = &link.handshake;
    Ok(Catalog {
        definitions: collected.definitions,
        capabilities: handshake.capabilities.clone(),
        server_info: handshake.server_info.clone(),
        instructions: handshake.instructions.clone(),
        protocol_version: handshake.revision.as_str().into(),
    })
}

struct Collected<'a> {
    link: &'a Link,
    declared: &'a str,
    per_page: Duration,
    bounds: Listing,
    definitions: Vec<Definition>,
    bytes: usize,
}

impl Collected<'_> {
    async fn kind(&mut self, kind: CapabilityKind) -> Result<(), UpstreamError> {
        let mut cursor = None::<String>;
        for _ in 0..self.bounds.pages {
            // An empty cursor is a cursor like any other.
            let members = cursor.as_deref().map(|cursor| format!("\"cursor\":{}", quoted(cursor)));
            let call = Call {
                method: kind.list_method(),
                members: members.map(Bytes::from).unwrap_or_default(),
                capabilities: self.declared,
                ..Call::default()
            };
            let (answer, _) = match tokio::time::timeout(self.per_page, self.link.call(&call)).await {
                Ok(outcome) => outcome?,
                Err(_) => {
                    let method = kind.list_method().into();
                    return Err(UpstreamError::Timeout { method, limit: self.per_page });
                }
            };
            let Some(next) = self.page(kind, &answer)? else { return Ok(()) };
            if cursor.as_deref() == Some(&*next) {
                return Err(self.broken("its list leads back to the same page"));
            }
            cursor = Some(next);
        }
        Err(self.broken("its list has too many pages"))
    }

    /// Takes one page; `Some` is the cursor of the next.
    fn page(&mut self, kind: CapabilityKind, answer: &Document) -> Result<Option<String>, UpstreamError> {
        self.bytes += answer.bytes().len();
        if self.bytes > self.bounds.bytes {
            return Err(self.broken("its lists are too long"));
        }
        if let Some(error) = answer.root().get("error") {
            let code = error.get("code").and_then(Value::as_i64);
            // Many servers have resources and no notion of templates; some
            // declare a list that they then do not have.
            if code == Some(METHOD_NOT_FOUND) || kind == CapabilityKind::ResourceTemplate {
                return Ok(None);
            }
            let cause = open::error_message(answer).unwrap_or_default();
            let detail = "it refused to list what it offers";
            return Err(UpstreamError::protocol_because(self.server(), detail, Cause::new(cause)));
        }
        // The link has looked less deep than names lie.
        let limits = Limits { depth: 128, values: 4_000_000, index_depth: 4, numbers: Numbers::Exact };
        let page = Document::parse(answer.bytes().clone(), &limits)
            .map_err(|_| self.broken("its list holds a key twice"))?;
        let result = page.root().get("result");
        let Some(items) = result.and_then(|result| result.get(kind.list_member())) else {
            return Err(self.broken("its list is missing"));
        };
        for item in items.items() {
            // Without a name it cannot be called, reviewed or refused.
            let Some(name) = item.get(naming_member(kind)).and_then(Value::as_str) else { continue };
            if self.definitions.len() == self.bounds.definitions {
                return Err(self.broken("its lists have too many entries"));
            }
            // A copy: it outlives its page, and must not hold the room for it.
            let raw = Bytes::copy_from_slice(item.raw().as_bytes());
            self.definitions.push(Definition { kind, name: Arc::from(name.as_ref()), raw });
        }
        let next = result.and_then(|result| result.get("nextCursor")).and_then(Value::as_str);
        Ok(next.map(std::borrow::Cow::into_owned))
    }

    fn server(&self) -> &ServerId {
        &self.link.hub.server
    }

    fn broken(&self, detail: &'static str) -> UpstreamError {
        UpstreamError::protocol(self.server(), detail)
    }
}

fn naming_member(kind: CapabilityKind) -> &'static str {
    match kind {
        CapabilityKind::Tool | CapabilityKind::Prompt => "name",
        CapabilityKind::Resource => "uri",
        CapabilityKind::ResourceTemplate => "uriTemplate",
    }
}
