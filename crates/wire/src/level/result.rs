//! Results of calls.

use std::borrow::Cow;

use doorward_model::Operation;
use doorward_model::json::{Value, canonical, push_string};

use super::{is, read, text_block};
use crate::adapt::splice;
use crate::edit::Edits;
use crate::era::{Era, Revision};

/// Whether [`result`] could change anything. Nearly no result differs between the last two
/// revisions, and looking costs next to nothing.
pub fn differs(result: Value<'_>, revision: Revision) -> bool {
    let is_new = || result.get("structuredContent").is_some_and(|content| !content.is_object());
    revision.era() == Era::Legacy && (revision < Revision::NEWEST_LEGACY || is_new())
}

/// A result, JSON text, for a client of `revision`.
pub fn result(operation: Operation, raw: &str, revision: Revision) -> Cow<'_, str> {
    let has_blocks = matches!(operation, Operation::ToolsCall | Operation::PromptsGet);
    if !has_blocks || revision.era() == Era::Modern {
        return Cow::Borrowed(raw);
    }
    let Some(document) = read(raw) else { return Cow::Borrowed(raw) };
    let mut edits = Edits::new(&document);
    for block in blocks(document.root()) {
        if let Some(plainer) = plainer(block, revision) {
            edits.replace(block, plainer);
        }
    }
    let edited = edits.made().into_owned();
    Cow::Owned(if operation == Operation::ToolsCall { structured(edited, revision) } else { edited })
}

fn blocks(result: Value<'_>) -> Vec<Value<'_>> {
    let of_tool = result.get("content").into_iter().flat_map(Value::items);
    let of_prompt = result.get("messages").into_iter().flat_map(Value::items);
    of_tool.chain(of_prompt.filter_map(|message| message.get("content"))).collect()
}

/// A block that `revision` does not have, in words; `None` for one that it has.
fn plainer(block: Value<'_>, revision: Revision) -> Option<String> {
    let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
    if is(block, "type", "resource_link") {
        if revision < Revision::V2025_06_18 {
            let (name, uri) = (text("name"), text("uri"));
            return Some(text_block(&if name.is_empty() {
                uri.into_owned()
            } else {
                format!("{name}: {uri}")
            }));
        }
        let has_icons = block.get("icons").is_some() && revision < Revision::V2025_11_25;
        return has_icons.then(|| splice(block, &["icons"], "").into_owned());
    }
    if is(block, "type", "audio") && revision < Revision::V2025_03_26 {
        return Some(text_block(&format!("[audio of type {} left out]", text("mimeType"))));
    }
    None
}

/// The result without structured content that `revision` does not have; what it said is
/// said as text, unless it already was.
fn structured(result: String, revision: Revision) -> String {
    let Some(document) = read(&result) else { return result };
    let root = document.root();
    let Some(content) = root.get("structuredContent") else { return result };
    if content.is_object() && revision >= Revision::V2025_06_18 {
        return result;
    }
    // Once: there may be as many blocks to compare it with as the server likes.
    let to_say = canonical(content);
    let says_the_same = |block: Value<'_>| {
        let text = block.get("text").and_then(Value::as_str)?;
        Some(canonical(read(&text)?.root()) == to_say)
    };
    let is_said = blocks(root).into_iter().any(|block| says_the_same(block) == Some(true));
    let mut added = String::new();
    if !is_said {
        added.push_str(r#""content":["#);
        for block in blocks(root) {
            added.push_str(block.raw());
            added.push(',');
        }
        added.push_str(r#"{"type":"text","text":"#);
        push_string(&mut added, content.raw());
        added.push_str("}]");
    }
    let dropped: &[&str] = if is_said { &["structuredContent"] } else { &["structuredContent", "content"] };
    splice(root, dropped, &added).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_said_in_the_words_of_the_revision() {
        use Revision::{V2024_11_05, V2025_03_26, V2025_06_18, V2025_11_25};
        let link = r#"{"type":"resource_link","uri":"a:b","name":"n","icons":[]}"#;
        let cases = [
            (V2025_11_25, link, link),
            (V2025_06_18, link, r#"{"type":"resource_link","uri":"a:b","name":"n"}"#),
            (V2025_03_26, link, r#"{"type":"text","text":"n: a:b"}"#),
            (
                V2025_03_26,
                r#"{"type":"audio","mimeType":"a/b","data":""}"#,
                r#"{"type":"audio","mimeType":"a/b","data":""}"#,
            ),
            (
                V2024_11_05,
                r#"{"type":"audio","mimeType":"a/b","data":""}"#,
                r#"{"type":"text","text":"[audio of type a/b left out]"}"#,
            ),
        ];
        for (revision, block, expected) in cases {
            let tool = format!(r#"{{"content":[{block}],"x":1.0}}"#);
            let levelled = format!(r#"{{"content":[{expected}],"x":1.0}}"#);
            assert_eq!(result(Operation::ToolsCall, &tool, revision), levelled, "{revision}");
            let prompt = format!(r#"{{"messages":[{{"role":"user","content":{block}}}]}}"#);
            let levelled = format!(r#"{{"messages":[{{"role":"user","content":{expected}}}]}}"#);
            assert_eq!(result(Operation::PromptsGet, &prompt, revision), levelled, "{revision}");
        }
    }

    #[test]
    fn what_is_said_at_length_is_compared_with_many_blocks_in_no_time() {
        let content = format!("[\"{}\"]", "x".repeat(2 << 20));
        let blocks = vec![r#"{"type":"text","text":"1"}"#; 20_000].join(",");
        let raw = format!(r#"{{"content":[{blocks}],"structuredContent":{content}}}"#);
        let levelled = result(Operation::ToolsCall, &raw, Revision::V2025_11_25);
        let document = read(&levelled).expect("JSON");
        let last = document.root().get("content").into_iter().flat_map(Value::items).last();
        assert_eq!(last.and_then(|block| block.get("text")?.as_str()).as_deref(), Some(content.as_str()));
    }

    #[test]
    fn structured_content_is_never_lost() {
        use Revision::{V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
        let list = r#"{"content":[],"structuredContent":[1]}"#;
        let said = r#"{"content":[{"type":"text","text":"[ 1 ]"}],"structuredContent":[1]}"#;
        let object = r#"{"structuredContent":{"a":1},"content":[]}"#;
        let cases = [
            (V2026_07_28, list, list),
            (V2025_11_25, list, r#"{"content":[{"type":"text","text":"[1]"}]}"#),
            (V2025_11_25, said, r#"{"content":[{"type":"text","text":"[ 1 ]"}]}"#),
            (V2025_06_18, object, object),
            (V2025_03_26, object, r#"{"content":[{"type":"text","text":"{\"a\":1}"}]}"#),
        ];
        for (revision, raw, expected) in cases {
            assert_eq!(result(Operation::ToolsCall, raw, revision), expected, "{revision}");
        }
    }
}
