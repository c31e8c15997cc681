//! `tools/list`, `resources/list`, `resources/templates/list`, `prompts/list`.

use doorward_model::CapabilityKind;
use doorward_model::json::{push_string, quoted};
use doorward_upstream::State;
use doorward_wire::error::INVALID_PARAMS;
use doorward_wire::{Era, RpcError, level};

use super::offer::Offer;
use super::page::{self, Position};
use crate::pipeline::Asked;
use crate::reply::Reply;
use crate::surface::Surface;
use crate::{handle, meta, tasks, view};

/// Lists what the caller may see, across all servers of the endpoint.
pub(crate) async fn list(mut asked: Box<Asked<'_>>, kind: CapabilityKind) -> Reply {
    let id = asked.request.id.raw();
    if asked.incoming.arrival.surface == Surface::Gateway {
        let tools = if kind == CapabilityKind::Tool { meta::definitions() } else { String::new() };
        return Reply::result(id, &result(kind, &tools, None, &Lacks::default(), asked.era()));
    }
    let cursor = match asked.request.params.and_then(|params| params.get("cursor")) {
        None => None,
        Some(cursor) if cursor.is_null() => None,
        Some(cursor) => match cursor.as_str().and_then(|cursor| opened(&asked, &cursor)) {
            Some(position) => Some(position),
            None => return invalid_cursor(id),
        },
    };
    view::refresh(&mut asked).await;
    if !Offer::of(&asked).has(kind) {
        return Reply::error(Some(id), &RpcError::unknown_method(&asked.request.method, asked.era()));
    }
    let shown = view::capabilities(&asked, kind);
    let Some(page) = page::cut(&shown, cursor.as_ref(), asked.gateway.settings.page) else {
        return invalid_cursor(id);
    };
    let own_names = matches!(asked.incoming.arrival.surface, Surface::Server(_));
    let mut entries = String::new();
    for capability in page.entries {
        if !entries.is_empty() {
            entries.push(',');
        }
        let definition = if own_names { &capability.raw } else { &capability.aggregate };
        // Definitions were read strictly when they were learned, so they are UTF-8.
        let definition = std::str::from_utf8(definition).unwrap_or("{}");
        let definition = level::definition(kind, definition, asked.incoming.revision);
        let definition = tasks::offered(&asked, capability, definition);
        entries.push_str(&definition);
    }
    let lacks = Lacks::of(&asked, kind);
    let next = page.next.and_then(|next| handle::seal(&asked, CURSOR, &[&next.offset, &next.list]));
    Reply::result(id, &result(kind, &entries, next.as_deref(), &lacks, asked.era()))
}

/// The kind of handle that a cursor is.
const CURSOR: &str = "cursor";

fn opened(asked: &Asked<'_>, cursor: &str) -> Option<Position> {
    let [offset, list] = handle::open(asked, CURSOR, cursor)?.try_into().ok()?;
    Some(Position { offset, list })
}

/// What a list says about itself: ids of servers, as JSON text.
#[derive(Default)]
struct Lacks {
    /// Those that have not said what they offer of this kind, or not all of it.
    missing: Vec<String>,
    /// Those that are listed, as they were heard last, and cannot be reached at the moment.
    unavailable: Vec<String>,
}

impl Lacks {
    fn of(asked: &Asked<'_>, kind: CapabilityKind) -> Self {
        let mut lacks = Self::default();
        for server in view::servers(asked) {
            let listing = asked.snapshot.registry.listing(&server.id, &asked.declared);
            let is_whole = listing.is_some_and(|listing| listing.is_whole(kind));
            let state = asked.gateway.upstreams.state(&server.id);
            if !is_whole {
                lacks.missing.push(quoted(server.id.as_str()));
            } else if matches!(state, Some(State::Error | State::AuthRequired)) {
                lacks.unavailable.push(quoted(server.id.as_str()));
            }
        }
        lacks
    }

    /// As `_meta`; `None` where there is nothing to say.
    fn to_meta(&self) -> Option<String> {
        let members =
            [("dev.doorward/missing", &self.missing), ("dev.doorward/unavailable", &self.unavailable)];
        let said = members.iter().filter(|(_, servers)| !servers.is_empty());
        let said: Vec<_> =
            said.map(|(name, servers)| format!(r#""{name}":[{}]"#, servers.join(","))).collect();
        (!said.is_empty()).then(|| format!("{{{}}}", said.join(",")))
    }
}

fn invalid_cursor(id: &str) -> Reply {
    Reply::error(Some(id), &RpcError::answer(INVALID_PARAMS, "Invalid cursor"))
}

fn result(kind: CapabilityKind, entries: &str, next: Option<&str>, lacks: &Lacks, era: Era) -> String {
    let mut out = String::with_capacity(entries.len() + 128);
    out.push('{');
    if era == Era::Modern {
        // What a caller sees depends on who it is, and may change with the next reload.
        out.push_str(r#""resultType":"complete","ttlMs":0,"cacheScope":"private","#);
    }
    push_string(&mut out, kind.list_member());
    out.push_str(":[");
    out.push_str(entries);
    out.push(']');
    if let Some(next) = next {
        out.push_str(r#","nextCursor":"#);
        push_string(&mut out, next);
    }
    if let Some(meta) = lacks.to_meta() {
        out.push_str(r#","_meta":"#);
        out.push_str(&meta);
    }
    out.push('}');
    out
}
