//! `tools/list`, `resources/list`, `resources/templates/list`, `prompts/list`.

use std::sync::Arc;

use doorward_model::CapabilityKind;
use doorward_model::json::{push_string, quoted};
use doorward_registry::Server;
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
        return Reply::result(id, &result(kind, &tools, None, &[], asked.era()));
    }
    let cursor = match asked.request.params.and_then(|params| params.get("cursor")) {
        None => None,
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
    let next = page.next.and_then(|next| handle::seal(&asked, CURSOR, &[&next.offset, &next.list]));
    Reply::result(id, &result(kind, &entries, next.as_deref(), &missing(&asked), asked.era()))
}

/// The kind of handle that a cursor is.
const CURSOR: &str = "cursor";

fn opened(asked: &Asked<'_>, cursor: &str) -> Option<Position> {
    let [offset, list] = handle::open(asked, CURSOR, cursor)?.try_into().ok()?;
    Some(Position { offset, list })
}

/// The servers of the view that have never said what they offer: what the list lacks.
fn missing(asked: &Asked<'_>) -> Vec<String> {
    let registry = &asked.snapshot.registry;
    let is_silent = |server: &Arc<Server>| registry.listing(&server.id, &asked.declared).is_none();
    let silent = view::servers(asked).into_iter().filter(is_silent);
    silent.map(|server| quoted(server.id.as_str())).collect()
}

fn invalid_cursor(id: &str) -> Reply {
    Reply::error(Some(id), &RpcError::answer(INVALID_PARAMS, "Invalid cursor"))
}

fn result(kind: CapabilityKind, entries: &str, next: Option<&str>, missing: &[String], era: Era) -> String {
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
    if !missing.is_empty() {
        out.push_str(r#","_meta":{"dev.doorward/missing":["#);
        out.push_str(&missing.join(","));
        out.push_str("]}");
    }
    out.push('}');
    out
}
