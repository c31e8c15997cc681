//! Definitions of tools, resources, templates and prompts.

use std::borrow::Cow;

use doorward_model::CapabilityKind;
use doorward_model::json::{Document, Kind, Value};

use super::{is, read};
use crate::adapt::splice;
use crate::edit::Edits;
use crate::era::{Era, Revision};

/// How deep a schema is looked into; what lies deeper stays as it is.
const DEEPEST: usize = 32;

/// A definition, JSON text, for a client of `revision`.
pub fn definition(kind: CapabilityKind, raw: &str, revision: Revision) -> Cow<'_, str> {
    if revision.era() == Era::Modern {
        return Cow::Borrowed(raw);
    }
    let Some(document) = read(raw) else { return Cow::Borrowed(raw) };
    let root = document.root();
    let mut dropped = Vec::new();
    if revision < Revision::V2025_11_25 {
        dropped.extend(["icons", "execution"]);
    }
    if revision < Revision::V2025_06_18 {
        dropped.extend(["title", "outputSchema"]);
    }
    if kind == CapabilityKind::Tool {
        if revision < Revision::V2025_03_26 {
            dropped.push("annotations");
        }
        // Older revisions have objects on both sides only.
        if root.get("outputSchema").is_some_and(|schema| !is(schema, "type", "object")) {
            dropped.push("outputSchema");
        }
    }
    let kept = splice(root, &dropped, "").into_owned();
    let Some(document) = read(&kept) else { return Cow::Owned(kept) };
    Cow::Owned(without_boolean_schemas(&document).into_owned())
}

/// In place of `true` and `false`, the schemas that mean the same.
fn without_boolean_schemas(document: &Document) -> Cow<'_, str> {
    let mut edits = Edits::new(document);
    for schema in ["inputSchema", "outputSchema"] {
        if let Some(schema) = document.root().get(schema) {
            spell_out(schema, &mut edits, 0);
        }
    }
    edits.made()
}

fn spell_out(schema: Value<'_>, edits: &mut Edits<'_>, depth: usize) {
    if depth > DEEPEST {
        return;
    }
    for (_, property) in schema.get("properties").into_iter().flat_map(Value::members) {
        match (property.kind(), property.as_bool()) {
            (Kind::Object, _) => spell_out(property, edits, depth + 1),
            (_, Some(true)) => edits.replace(property, "{}"),
            (_, Some(false)) => edits.replace(property, r#"{"not":{}}"#),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_gets_what_it_knows() {
        let tool = r#"{"name":"a","title":"A","inputSchema":{"type":"object","properties":{"x":true,"y":{"properties":{"z":false}}}},"outputSchema":{"type":"object"},"annotations":{},"icons":[],"execution":{}}"#;
        let plain = r#"{"type":"object","properties":{"x":{},"y":{"properties":{"z":{"not":{}}}}}}"#;
        let cases = [
            (Revision::V2026_07_28, tool.to_owned()),
            (
                Revision::V2025_11_25,
                format!(
                    r#"{{"name":"a","title":"A","inputSchema":{plain},"outputSchema":{{"type":"object"}},"annotations":{{}},"icons":[],"execution":{{}}}}"#
                ),
            ),
            (
                Revision::V2025_06_18,
                format!(
                    r#"{{"name":"a","title":"A","inputSchema":{plain},"outputSchema":{{"type":"object"}},"annotations":{{}}}}"#
                ),
            ),
            (Revision::V2025_03_26, format!(r#"{{"name":"a","inputSchema":{plain},"annotations":{{}}}}"#)),
            (Revision::V2024_11_05, format!(r#"{{"name":"a","inputSchema":{plain}}}"#)),
        ];
        for (revision, expected) in cases {
            assert_eq!(definition(CapabilityKind::Tool, tool, revision), expected, "{revision}");
        }
    }

    #[test]
    fn an_output_that_is_no_object_is_new() {
        let tool = r#"{"name":"a","outputSchema":{"type":"array"}}"#;
        assert_eq!(definition(CapabilityKind::Tool, tool, Revision::V2025_11_25), r#"{"name":"a"}"#);
        assert_eq!(definition(CapabilityKind::Tool, tool, Revision::V2026_07_28), tool);
    }
}
