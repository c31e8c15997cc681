//! Optional members of results that are `null`, which means that they are not there.
//!
//! Clients check results against schemas that let hardly any member be null. What a server says
//! as data, its structured content and its metadata, is never looked into.

use doorward_model::Operation;
use doorward_model::json::{Document, Value, push_string};

use super::read;
use crate::era::{Era, Revision};

/// Which members of an object need not be there, and which have members of that kind themselves.
struct Shape {
    optional: &'static [&'static str],
    inside: &'static [(&'static str, &'static Self)],
}

const ANNOTATIONS: Shape = Shape { optional: &["audience", "priority", "lastModified"], inside: &[] };
const ICON: Shape = Shape { optional: &["mimeType", "sizes", "theme"], inside: &[] };
/// Of text and blob, a resource has one.
const RESOURCE: Shape = Shape { optional: &["_meta", "mimeType", "text", "blob"], inside: &[] };
const BLOCK: Shape = Shape {
    optional: &["_meta", "annotations", "title", "description", "mimeType", "size", "icons"],
    inside: &[("annotations", &ANNOTATIONS), ("icons", &ICON), ("resource", &RESOURCE)],
};
const MESSAGE: Shape = Shape { optional: &[], inside: &[("content", &BLOCK)] };
const COMPLETION: Shape = Shape { optional: &["total", "hasMore"], inside: &[] };

const OF_TOOL: Shape = Shape {
    optional: &["_meta", "resultType", "isError", "structuredContent"],
    inside: &[("content", &BLOCK)],
};
/// In 2026-07-28, structured content may be any value, and null is one.
const OF_TOOL_MODERN: Shape = Shape { optional: &["_meta", "resultType", "isError"], ..OF_TOOL };
const OF_PROMPT: Shape =
    Shape { optional: &["_meta", "resultType", "description"], inside: &[("messages", &MESSAGE)] };
const OF_READ: Shape = Shape { optional: &["_meta", "resultType"], inside: &[("contents", &RESOURCE)] };
const OF_COMPLETION: Shape =
    Shape { optional: &["_meta", "resultType"], inside: &[("completion", &COMPLETION)] };

/// `result`, for a client of `revision`, without its optional members that are null; `None`
/// where there is none of them.
pub fn without_nulls(operation: Operation, result: Value<'_>, revision: Revision) -> Option<Document> {
    let shape = match (operation, revision.era()) {
        (Operation::ToolsCall, Era::Legacy) => &OF_TOOL,
        (Operation::ToolsCall, Era::Modern) => &OF_TOOL_MODERN,
        (Operation::PromptsGet, _) => &OF_PROMPT,
        (Operation::ResourcesRead, _) => &OF_READ,
        (Operation::CompletionComplete, _) => &OF_COMPLETION,
        (Operation::ResourcesSubscribe | Operation::SkillsGet | Operation::DirectoryRead, _) => return None,
    };
    if !may_have_nulls(result, shape) {
        return None;
    }
    let document = read(result.raw())?;
    if !has_nulls(document.root(), shape) {
        return None;
    }
    let mut out = String::with_capacity(result.span().len());
    push(&mut out, document.root(), shape);
    read(&out)
}

/// Nearly no result has any, and answers are not indexed so deeply that all would be seen.
fn may_have_nulls(result: Value<'_>, shape: &Shape) -> bool {
    result.members().any(|(key, member)| {
        if member.is_null() {
            is_optional(shape, &key)
        } else {
            inside(shape, &key).is_some_and(|_| member.raw().contains("null"))
        }
    })
}

fn has_nulls(object: Value<'_>, shape: &Shape) -> bool {
    object.members().any(|(key, member)| {
        if member.is_null() {
            return is_optional(shape, &key);
        }
        inside(shape, &key).is_some_and(|shape| {
            has_nulls(member, shape) || member.items().any(|item| has_nulls(item, shape))
        })
    })
}

fn is_optional(shape: &Shape, key: &str) -> bool {
    shape.optional.contains(&key)
}

fn inside(shape: &Shape, key: &str) -> Option<&'static Shape> {
    shape.inside.iter().find(|(name, _)| *name == key).map(|(_, shape)| *shape)
}

/// What has nothing to take away stays as the server wrote it, byte for byte.
fn push(out: &mut String, value: Value<'_>, shape: &Shape) {
    if !has_nulls(value, shape) {
        return out.push_str(value.raw());
    }
    out.push('{');
    let mut is_first = true;
    for (key, member) in value.members() {
        if member.is_null() && is_optional(shape, &key) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(',');
        }
        push_string(out, &key);
        out.push(':');
        match inside(shape, &key) {
            Some(shape) if member.is_object() => push(out, member, shape),
            Some(shape) => push_all(out, member, shape),
            None => out.push_str(member.raw()),
        }
    }
    out.push('}');
}

fn push_all(out: &mut String, list: Value<'_>, shape: &Shape) {
    if !list.items().any(|item| has_nulls(item, shape)) {
        return out.push_str(list.raw());
    }
    out.push('[');
    for (at, item) in list.items().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(out, item, shape);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Limits, Numbers};

    use super::*;

    fn levelled(operation: Operation, raw: &str, revision: Revision) -> Option<String> {
        let document = read(raw).expect("JSON");
        let made = without_nulls(operation, document.root(), revision);
        made.map(|document| document.root().raw().to_owned())
    }

    #[test]
    fn optional_members_that_are_null_are_taken_out() {
        use Operation::{CompletionComplete, PromptsGet, ResourcesRead, ToolsCall};
        let cases = [
            (
                ToolsCall,
                r#"{"content":[{"type":"text","text":"ok a","annotations":null}],"structuredContent":null,"isError":null,"_meta":null}"#,
                r#"{"content":[{"type":"text","text":"ok a"}]}"#,
            ),
            (
                ToolsCall,
                r#"{"resultType":null,"structuredContent":{"a":null},"content":[{ "type":"text","text":"null" },{"type":"resource_link","uri":"a:b","name":"n","title":null,"description":null,"mimeType":null,"size":null,"_meta":{"x":null},"icons":[{"src":"i","theme":null}],"annotations":{"audience":null,"priority":1.0}}],"own":null}"#,
                r#"{"structuredContent":{"a":null},"content":[{ "type":"text","text":"null" },{"type":"resource_link","uri":"a:b","name":"n","_meta":{"x":null},"icons":[{"src":"i"}],"annotations":{"priority":1.0}}],"own":null}"#,
            ),
            (
                ToolsCall,
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b","text":"x","blob":null,"mimeType":null}}]}"#,
                r#"{"content":[{"type":"resource","resource":{"uri":"a:b","text":"x"}}]}"#,
            ),
            (
                PromptsGet,
                r#"{"description":null,"messages":[{"role":"user","content":{"type":"text","text":"x","_meta":null}}]}"#,
                r#"{"messages":[{"role":"user","content":{"type":"text","text":"x"}}]}"#,
            ),
            (
                ResourcesRead,
                r#"{"contents":[{"uri":"a:b","mimeType":null,"blob":"","text":null}],"_meta":null}"#,
                r#"{"contents":[{"uri":"a:b","blob":""}]}"#,
            ),
            (
                CompletionComplete,
                r#"{"completion":{"values":["null"],"total":null,"hasMore":null}}"#,
                r#"{"completion":{"values":["null"]}}"#,
            ),
        ];
        for (operation, raw, expected) in cases {
            for revision in Revision::ALL.into_iter().filter(|revision| revision.era() == Era::Legacy) {
                assert_eq!(levelled(operation, raw, revision).as_deref(), Some(expected), "{revision}");
            }
        }
    }

    #[test]
    fn data_and_what_must_be_there_stay_as_they_were() {
        use Operation::{ResourcesRead, ToolsCall};
        use Revision::{V2025_11_25, V2026_07_28};
        let cases = [
            (ToolsCall, r#"{"content":[],"structuredContent":{"a":null},"_meta":{"b":null}}"#, V2025_11_25),
            (ToolsCall, r#"{"content":[{"type":"text","text":"{\"a\": null}"}],"ttlMs":null}"#, V2025_11_25),
            (ToolsCall, r#"{"content":[{"type":"text","text":null}]}"#, V2025_11_25),
            (ToolsCall, r#"{"content":null}"#, V2025_11_25),
            (ToolsCall, r#"{"content":[null]}"#, V2025_11_25),
            (ToolsCall, r#"{"content":[],"structuredContent":null}"#, V2026_07_28),
            (ResourcesRead, r#"{"contents":[{"uri":null}]}"#, V2025_11_25),
        ];
        for (operation, raw, revision) in cases {
            assert_eq!(levelled(operation, raw, revision), None, "{raw}");
        }
    }

    #[test]
    fn an_answer_that_is_indexed_no_deeper_than_its_list_is_seen_through() {
        let limits = Limits { index_depth: 2, numbers: Numbers::Exact, ..Limits::default() };
        let raw = br#"{"content":[{"type":"text","text":"x","_meta": null}]}"#;
        let document = Document::parse(Bytes::from_static(raw), &limits).expect("JSON");
        let made = without_nulls(Operation::ToolsCall, document.root(), Revision::V2025_11_25);
        assert_eq!(made.expect("made").root().raw(), r#"{"content":[{"type":"text","text":"x"}]}"#);
    }
}
