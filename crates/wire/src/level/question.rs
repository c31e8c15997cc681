//! What a server asks.

use doorward_model::json::{Value, push_string};

use super::{is, read};
use crate::abilities::{ELICIT, SAMPLE};
use crate::adapt::splice;
use crate::edit::Edits;
use crate::era::Revision;

/// The `params` of a question, JSON text, for a client of `revision`; `None` for what
/// cannot be asked there. `elicitation` is the id that a URL is given where the revision
/// wants one.
pub fn question(method: &str, params: &str, revision: Revision, elicitation: &str) -> Option<String> {
    let document = read(params)?;
    let root = document.root();
    match method {
        ELICIT if is(root, "mode", "url") => (revision >= Revision::V2025_11_25).then(|| {
            let mut id = String::new();
            if root.get("elicitationId").is_none() {
                id.push_str(r#""elicitationId":"#);
                push_string(&mut id, elicitation);
            }
            splice(root, &[], &id).into_owned()
        }),
        ELICIT if revision < Revision::V2025_11_25 => form(params),
        SAMPLE if revision < Revision::V2025_11_25 => sampling(params),
        _ => Some(params.to_owned()),
    }
}

/// A form with the fields of 2025-06-18.
fn form(params: &str) -> Option<String> {
    let document = read(params)?;
    let mut edits = Edits::new(&document);
    let schema = document.root().get("requestedSchema")?;
    for (_, field) in schema.get("properties")?.members() {
        if is(field, "type", "array") {
            return None;
        }
        let mut added = String::new();
        if let Some(choices) = field.get("oneOf") {
            let list = |key: &str| {
                let all: Vec<_> =
                    choices.items().filter_map(|choice| choice.get(key)).map(Value::raw).collect();
                all.join(",")
            };
            added = format!(r#""enum":[{}],"enumNames":[{}]"#, list("const"), list("title"));
        }
        edits.replace(field, splice(field, &["oneOf", "default"], &added).into_owned());
    }
    let edited = edits.made().into_owned();
    Some(splice(read(&edited)?.root(), &["mode"], "").into_owned())
}

/// A sampling request without tools, and with one block a message.
fn sampling(params: &str) -> Option<String> {
    let document = read(params)?;
    if document.root().get("tools").is_some() {
        return None;
    }
    let mut edits = Edits::new(&document);
    for message in document.root().get("messages")?.items() {
        let content = message.get("content")?;
        if content.is_object() {
            continue;
        }
        let mut blocks = content.items();
        match (blocks.next(), blocks.next()) {
            (Some(only), None) => edits.replace(content, only.raw()),
            _ => return None,
        }
    }
    Some(edits.made().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_put_in_the_words_of_the_revision_or_not_at_all() {
        use Revision::{V2025_06_18, V2025_11_25};
        let choice = r#"{"mode":"form","message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"string","oneOf":[{"const":"x","title":"X"},{"const":"y","title":"Y"}],"default":"x"}}}}"#;
        let plain = r#"{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"enum":["x","y"],"enumNames":["X","Y"],"type":"string"}}}}"#;
        let several = r#"{"requestedSchema":{"properties":{"a":{"type":"array"}}}}"#;
        let url = r#"{"mode":"url","url":"https://a"}"#;
        let one = r#"{"messages":[{"content":[{"type":"text"}]}]}"#;
        let cases = [
            (ELICIT, choice, V2025_11_25, Some(choice)),
            (ELICIT, choice, V2025_06_18, Some(plain)),
            (ELICIT, several, V2025_06_18, None),
            (ELICIT, url, V2025_11_25, Some(r#"{"elicitationId":"e1","mode":"url","url":"https://a"}"#)),
            (ELICIT, url, V2025_06_18, None),
            (SAMPLE, one, V2025_11_25, Some(one)),
            (SAMPLE, one, V2025_06_18, Some(r#"{"messages":[{"content":{"type":"text"}}]}"#)),
            (SAMPLE, r#"{"messages":[],"tools":[]}"#, V2025_06_18, None),
            (SAMPLE, r#"{"messages":[{"content":[{},{}]}]}"#, V2025_06_18, None),
            ("roots/list", "{}", V2025_06_18, Some("{}")),
        ];
        for (method, params, revision, expected) in cases {
            assert_eq!(question(method, params, revision, "e1").as_deref(), expected, "{params} {revision}");
        }
    }
}
