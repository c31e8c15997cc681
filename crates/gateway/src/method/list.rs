//! `tools/list`, `resources/list`, `resources/templates/list`, `prompts/list`.

use doorward_model::CapabilityKind;
use doorward_model::json::push_string;
use doorward_wire::error::INVALID_PARAMS;
use doorward_wire::{Era, RpcError, level};

use super::page;
use crate::pipeline::Asked;
use crate::reply::Reply;
use crate::surface::Surface;
use crate::{meta, view};

/// Lists what the caller may see, across all servers of the endpoint.
pub(crate) async fn list(mut asked: Asked<'_>, kind: CapabilityKind) -> Reply {
    let id = asked.request.id.raw();
    if asked.incoming.arrival.surface == Surface::Gateway {
        let tools = if kind == CapabilityKind::Tool { meta::definitions() } else { String::new() };
        return Reply::result(id, &result(kind, &tools, None, asked.era()));
    }
    let cursor = match asked.request.params.and_then(|params| params.get("cursor")) {
        None => None,
        Some(cursor) => match cursor.as_str() {
            Some(cursor) => Some(cursor),
            None => return invalid_cursor(id),
        },
    };
    view::refresh(&mut asked).await;
    let shown = view::capabilities(&asked, kind);
    let Some(page) = page::cut(&shown, cursor.as_deref(), asked.gateway.settings.page) else {
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
        entries.push_str(&level::definition(kind, definition, asked.incoming.revision));
    }
    Reply::result(id, &result(kind, &entries, page.next.as_deref(), asked.era()))
}

fn invalid_cursor(id: &str) -> Reply {
    Reply::error(Some(id), &RpcError::answer(INVALID_PARAMS, "Invalid cursor"))
}

fn result(kind: CapabilityKind, entries: &str, next: Option<&str>, era: Era) -> String {
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
    out.push('}');
    out
}
