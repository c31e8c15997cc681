//! Asking a server for everything it offers, page by page, within bounds.
//!
//! Each list stands for itself: one that fails, hangs or has no end takes nothing away from the
//! others. What was read of it is kept, and the catalog says what it lacks.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::{Document, Kind, Limits, Numbers, Value, quoted};
use doorward_model::{CapabilityKind, Catalog, Definition, Gap, ServerId};
use futures_util::future::join_all;

use crate::call::Call;
use crate::error::{Cause, UpstreamError};
use crate::link::Link;
use crate::open;
use crate::scrub::Scrubber;
use crate::settings::Listing;

const KINDS: [CapabilityKind; 4] = [
    CapabilityKind::Tool,
    CapabilityKind::Resource,
    CapabilityKind::ResourceTemplate,
    CapabilityKind::Prompt,
];

const METHOD_NOT_FOUND: i64 = -32601;

/// What is read of everything that a server says it has for clients that declare some
/// capabilities.
pub(crate) struct Reading {
    link: Arc<Link>,
    declared: Box<str>,
    /// How long each page may take.
    per_page: Duration,
    bounds: Listing,
    parts: Mutex<Parts>,
}

#[derive(Default)]
struct Parts {
    lists: Vec<Part>,
    bytes: usize,
    definitions: usize,
}

/// What was read of one list so far.
struct Part {
    kind: CapabilityKind,
    definitions: Vec<Definition>,
    nameless: usize,
    end: Option<End>,
}

/// How a list ended.
enum End {
    Whole,
    /// Why no more of it is read.
    Bounded(&'static str),
    Failed(UpstreamError),
}

impl Reading {
    pub(crate) fn new(link: Arc<Link>, declared: &str, per_page: Duration) -> Self {
        let bounds = link.hub.settings.listing;
        let kinds = KINDS.into_iter().filter(|kind| link.handshake.offers(*kind));
        let lists =
            kinds.map(|kind| Part { kind, definitions: Vec::new(), nameless: 0, end: None }).collect();
        let parts = Mutex::new(Parts { lists, ..Parts::default() });
        Self { link, declared: declared.into(), per_page, bounds, parts }
    }

    /// Reads all lists at once.
    ///
    /// # Errors
    /// The first that there was, when no list at all was answered.
    pub(crate) async fn all(&self) -> Result<Catalog, UpstreamError> {
        let count = self.parts().lists.len();
        join_all((0..count).map(|at| self.one(at))).await;
        let parts = self.parts();
        let mut failed = parts.lists.iter().map(|part| match &part.end {
            Some(End::Failed(error)) if part.definitions.is_empty() => Some(error),
            _ => None,
        });
        if let Some(Some(first)) = failed.next()
            && failed.all(|error| error.is_some())
        {
            return Err(first.clone());
        }
        drop(failed);
        Ok(self.catalog(&parts))
    }

    /// What there is so far; `None` while that is nothing.
    pub(crate) fn so_far(&self) -> Option<Catalog> {
        let parts = self.parts();
        let has_any = |part: &Part| {
            !part.definitions.is_empty() || matches!(part.end, Some(End::Whole | End::Bounded(_)))
        };
        parts.lists.iter().any(has_any).then(|| self.catalog(&parts))
    }

    fn catalog(&self, parts: &Parts) -> Catalog {
        let handshake = &self.link.handshake;
        Catalog {
            definitions: parts.lists.iter().flat_map(|part| &part.definitions).cloned().collect(),
            capabilities: handshake.capabilities.clone(),
            server_info: handshake.server_info.clone(),
            instructions: handshake.instructions.clone(),
            protocol_version: handshake.revision.as_str().into(),
            gaps: parts.lists.iter().flat_map(|part| part.gaps(&self.link.hub.scrubber)).collect(),
        }
    }

    async fn one(&self, at: usize) {
        let end = match tokio::time::timeout(self.bounds.time, self.pages(at)).await {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => End::Failed(error),
            Err(_) => {
                let method = self.kind(at).list_method().into();
                End::Failed(UpstreamError::Timeout { method, limit: self.bounds.time })
            }
        };
        if let Some(part) = self.parts().lists.get_mut(at) {
            part.end = Some(end);
        }
    }

    async fn pages(&self, at: usize) -> Result<End, UpstreamError> {
        let kind = self.kind(at);
        let mut cursor = None::<String>;
        let mut followed = HashSet::new();
        let mut known = HashSet::new();
        for _ in 0..self.bounds.pages {
            // An empty cursor is a cursor like any other.
            let members = cursor.as_deref().map(|cursor| format!("\"cursor\":{}", quoted(cursor)));
            let call = Call {
                method: kind.list_method(),
                members: members.map(Bytes::from).unwrap_or_default(),
                capabilities: &self.declared,
                ..Call::default()
            };
            let (answer, _) = match tokio::time::timeout(self.per_page, self.link.call(&call)).await {
                Ok(outcome) => outcome?,
                Err(_) => {
                    let method = kind.list_method().into();
                    return Err(UpstreamError::Timeout { method, limit: self.per_page });
                }
            };
            let next = match self.page(at, &answer, &mut known)? {
                Page::Last => return Ok(End::Whole),
                Page::Bounded(why) => return Ok(End::Bounded(why)),
                Page::Next(next) => next,
            };
            if !followed.insert(next.clone()) {
                return Ok(End::Bounded("its pages lead in a circle; what was read of them is offered"));
            }
            cursor = Some(next);
        }
        Ok(End::Bounded("it has too many pages; those that were read are offered"))
    }

    /// Takes one page. `known` is what earlier pages have.
    fn page(&self, at: usize, answer: &Document, known: &mut HashSet<Bytes>) -> Result<Page, UpstreamError> {
        let kind = self.kind(at);
        let mut parts = self.parts();
        parts.bytes += answer.bytes().len();
        if parts.bytes > self.bounds.bytes {
            return Ok(Page::Bounded("the server's lists are too long; what was read before is offered"));
        }
        if let Some(error) = answer.root().get("error") {
            let code = error.get("code").and_then(Value::as_i64);
            // Many servers have resources and no notion of templates; some
            // declare a list that they then do not have.
            if code == Some(METHOD_NOT_FOUND) || kind == CapabilityKind::ResourceTemplate {
                return Ok(Page::Last);
            }
            let cause = open::error_message(answer).unwrap_or_default();
            let detail = "it refused to list what it offers";
            return Err(UpstreamError::protocol_because(self.server(), detail, Cause::new(cause)));
        }
        let result = answer.root().get("result");
        // An empty list is `null` in some languages, which has no items either.
        let is_list = |list: &Value<'_>| matches!(list.kind(), Kind::Array | Kind::Null);
        let Some(items) = result.and_then(|result| result.get(kind.list_member())).filter(is_list) else {
            return Err(UpstreamError::protocol(self.server(), "its list is missing"));
        };
        let mut fresh = Vec::new();
        let mut repeated = 0;
        for item in items.items() {
            if known.contains(item.raw().as_bytes()) {
                repeated += 1;
                continue;
            }
            if parts.definitions == self.bounds.definitions {
                parts.take(at, fresh);
                return Ok(Page::Bounded("the server's lists have too many entries; the first are offered"));
            }
            // A copy: it outlives its page, and must not hold the room for it.
            let raw = Bytes::copy_from_slice(item.raw().as_bytes());
            let Some(name) = name(kind, &raw) else {
                if let Some(part) = parts.lists.get_mut(at) {
                    part.nameless += 1;
                }
                continue;
            };
            parts.definitions += 1;
            fresh.push(Definition { kind, name, raw });
        }
        let repeats = repeated > 0 && fresh.is_empty();
        known.extend(fresh.iter().map(|definition| definition.raw.clone()));
        parts.take(at, fresh);
        let next = result.and_then(|result| result.get("nextCursor")).and_then(Value::as_str);
        Ok(match next {
            None => Page::Last,
            Some(_) if repeats => {
                Page::Bounded("its pages repeat themselves; what was read of them is offered")
            }
            Some(next) => Page::Next(next.into_owned()),
        })
    }

    fn kind(&self, at: usize) -> CapabilityKind {
        self.parts().lists.get(at).map_or(CapabilityKind::Tool, |part| part.kind)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self) -> &ServerId {
        &self.link.hub.server
    }
}

/// What comes after a page.
enum Page {
    Next(String),
    Last,
    Bounded(&'static str),
}

impl Parts {
    fn take(&mut self, at: usize, fresh: Vec<Definition>) {
        if let Some(part) = self.lists.get_mut(at) {
            part.definitions.extend(fresh);
        }
    }
}

impl Part {
    fn gaps(&self, scrubber: &Scrubber) -> impl Iterator<Item = Gap> + use<> {
        let gap = |why: String, is_passing| Gap { kind: self.kind, why: why.into(), is_passing };
        let end = match &self.end {
            Some(End::Whole) => None,
            Some(End::Bounded(why)) => Some(gap((*why).to_owned(), false)),
            Some(End::Failed(error)) => Some(gap(scrubber.scrub_text(&error.in_full()), true)),
            None => Some(gap("it has not been answered yet".to_owned(), true)),
        };
        let nameless = (self.nameless > 0)
            .then(|| gap(format!("{} of its entries cannot be read, or have no name", self.nameless), false));
        end.into_iter().chain(nameless)
    }
}

/// What the server calls it: without that it cannot be called, reviewed or refused.
fn name(kind: CapabilityKind, raw: &Bytes) -> Option<Arc<str>> {
    let limits = Limits { values: 4_000_000, index_depth: 1, numbers: Numbers::Exact, ..Limits::default() };
    let document = Document::parse(raw.clone(), &limits).ok()?;
    let name = document.root().get(naming_member(kind))?.as_str()?;
    Some(Arc::from(name.as_ref()))
}

fn naming_member(kind: CapabilityKind) -> &'static str {
    match kind {
        CapabilityKind::Tool | CapabilityKind::Prompt => "name",
        CapabilityKind::Resource => "uri",
        CapabilityKind::ResourceTemplate => "uriTemplate",
    }
}
