//! URIs in what a server says, as the aggregate endpoint offers them: a client that
//! follows one must come back to the same server.

use std::borrow::Cow;

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, quoted};
use doorward_model::{CapabilityKind, Operation, ServerId};
use doorward_registry::name;
use doorward_wire::edit::Edits;

use crate::surface::Surface;

/// A result, JSON text, as `surface` shows it. Text inside of content is nobody's to change.
pub(crate) fn outward<'a>(
    surface: &Surface,
    server: &ServerId,
    operation: Operation,
    text: Cow<'a, str>,
) -> Cow<'a, str> {
    let has_uris =
        matches!(operation, Operation::ToolsCall | Operation::PromptsGet | Operation::ResourcesRead);
    if matches!(surface, Surface::Server(_)) || !has_uris || !text.contains("\"uri\"") {
        return text;
    }
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let Ok(document) = Document::parse(Bytes::copy_from_slice(text.as_bytes()), &limits) else { return text };
    let mut edits = Edits::new(&document);
    for uri in uris(document.root()) {
        if let Some(own) = uri.as_str() {
            edits.replace(uri, quoted(&name::exposed(server, CapabilityKind::Resource, &own)));
        }
    }
    match edits.made() {
        Cow::Borrowed(_) => text,
        Cow::Owned(renamed) => Cow::Owned(renamed),
    }
}

/// Where a result names resources.
fn uris(result: Value<'_>) -> Vec<Value<'_>> {
    let read = result.get("contents").into_iter().flat_map(Value::items);
    let of_tool = result.get("content").into_iter().flat_map(Value::items);
    let messages = result.get("messages").into_iter().flat_map(Value::items);
    let blocks = of_tool.chain(messages.filter_map(|message| message.get("content")));
    let named = blocks.filter_map(|block| match block.get("type")?.as_str()?.as_ref() {
        "resource_link" => Some(block),
        "resource" => block.get("resource"),
        _ => None,
    });
    read.chain(named).filter_map(|holder| holder.get("uri")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_lead_back_to_their_server_and_nothing_else_changes() {
        let server = ServerId::try_from("wiki").expect("valid");
        let cases = [
            (
                Operation::ResourcesRead,
                r#"{"contents":[{"uri":"a:b","text":"\"uri\":\"a:b\""}], "x":1.0}"#,
                r#"{"contents":[{"uri":"gw+wiki+a:b","text":"\"uri\":\"a:b\""}], "x":1.0}"#,
            ),
            (
                Operation::ToolsCall,
                r#"{"content":[{"type":"resource_link","uri":"a:b"},{"type":"resource","resource":{"uri":"ui://c"}},{"type":"text","uri":"d:e"}],"structuredContent":{"uri":"a:b"}}"#,
                r#"{"content":[{"type":"resource_link","uri":"gw+wiki+a:b"},{"type":"resource","resource":{"uri":"ui://wiki+c"}},{"type":"text","uri":"d:e"}],"structuredContent":{"uri":"a:b"}}"#,
            ),
            (
                Operation::PromptsGet,
                r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:b"}}}]}"#,
                r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"gw+wiki+a:b"}}}]}"#,
            ),
        ];
        for (operation, own, offered) in cases {
            let shown = |surface| outward(&surface, &server, operation, Cow::Borrowed(own));
            assert_eq!(shown(Surface::Aggregate), offered);
            assert_eq!(shown(Surface::Server(server.clone())), own);
        }
    }
}
