//! Keys that nobody knows, at every place of the configuration.

use std::collections::BTreeSet;

use doorward::config::{Lint, schema};
use serde_json::{Map, Value, json};

use super::load_named;

/// An object of the configuration: the way to it, and the keys it knows.
struct Place {
    path: String,
    /// Keys that lead to it; an empty one stands for the first element of a list.
    way: Vec<String>,
    keys: Vec<String>,
}

/// Every object of the configuration that knows its keys, found in the schema.
fn places() -> (Vec<Place>, usize) {
    let schema: Value = serde_json::from_str(&schema()).expect("JSON");
    let mut found = Vec::new();
    walk(&schema, &schema, "", &[], &mut found);
    let definitions = schema["$defs"].as_object().expect("definitions");
    let objects = definitions.values().filter(|it| it.get("properties").is_some()).count();
    (found, objects + 1)
}

fn walk(schema: &Value, root: &Value, path: &str, way: &[String], found: &mut Vec<Place>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
        return walk(&root["$defs"][name], root, path, way, found);
    }
    let further = |step: &str| [way, &[step.to_owned()]].concat();
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        walk(choice, root, path, way, found);
    }
    if schema["items"].is_object() {
        walk(&schema["items"], root, &format!("{path}[0]"), &further(""), found);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    assert_eq!(schema["additionalProperties"], false, "{path}");
    assert_eq!(schema["patternProperties"], json!({"^x-": true}), "{path}");
    found.push(Place {
        path: path.to_owned(),
        way: way.to_vec(),
        keys: properties.keys().cloned().collect(),
    });
    for (key, property) in properties {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(property, root, &path, &further(key), found);
    }
}

impl Place {
    /// What is found in a document that has only this key, at this place.
    fn with(&self, key: &str) -> Vec<Lint> {
        let leaf = Value::Object(Map::from_iter([(key.to_owned(), json!(true))]));
        let document = self.way.iter().rev().fold(leaf, |inner, step| match step.as_str() {
            "" => json!([inner]),
            key => json!({key: inner}),
        });
        let text = serde_json::to_string_pretty(&document).expect("JSON");
        load_named("gateway.json", &text).map_or_else(|lints| lints, |loaded| loaded.lints)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

#[test]
fn a_misspelt_key_is_an_error_with_line_and_nearest_name_wherever_it_stands() {
    let (places, objects) = places();
    let distinct: BTreeSet<_> = places.iter().map(|place| &place.keys).collect();
    assert_eq!(distinct.len(), objects, "every object is reached");
    for place in &places {
        for key in &place.keys {
            let misspelt = format!("{key}{}", &key[key.len() - 1..]);
            let lints = place.with(&misspelt);
            let path = place.path_of(&misspelt);
            let about = |lint: &&Lint| lint.code == "unknown-key" && lint.path == path;
            let found: Vec<_> = lints.iter().filter(about).map(ToString::to_string).collect();
            let line = place.way.len() + 2;
            let column = lints.iter().find(about).and_then(|lint| lint.column).unwrap_or_default();
            let expected =
                format!("{line}:{column}: error: {path}: unknown key `{misspelt}`; did you mean `{key}`?");
            assert_eq!(found, [expected]);
        }
    }
}

#[test]
fn a_key_that_is_like_no_other_is_refused_with_those_that_are_known() {
    for place in places().0 {
        let lints = place.with("wxyzq");
        let lint = lints.iter().find(|lint| lint.code == "unknown-key").expect("refused");
        assert!(lint.is_error() && lint.path == place.path_of("wxyzq"), "{lint}");
        let remedy = lint.remedy.as_deref().expect("said");
        for key in place.keys.iter().filter(|key| !key.starts_with('$')) {
            assert!(remedy.contains(&format!("`{key}`")), "{remedy}");
        }
    }
}

#[test]
fn a_note_is_free_wherever_it_stands() {
    for place in places().0 {
        let about = |lint: &&Lint| lint.code == "unknown-key" || lint.path.contains("x-note");
        let lints = place.with("x-note");
        assert_eq!(lints.iter().find(about), None, "{}", place.path);
    }
}

#[test]
fn keys_of_the_other_gateway_are_warnings_in_its_files_and_errors_in_others() {
    let theirs = "
auth: {type: api-key, keys: []}
servers: []
policies: []
audit: {enabled: true, storage: sqlite, retentionDays: 90, dsn: x, webhookUrl: 'https://a', export: {type: s3}}
metering: {enabled: true, dimensions: [calls]}
redaction: {enabled: false, rules: []}
tenants: {enabled: false}
";
    let loaded = load_named("gateway.yaml", theirs).expect("loads as there");
    let kept = loaded.lints.iter().filter(|lint| lint.code == "not-supported");
    let kept: Vec<_> = kept.map(|lint| lint.path.as_str()).collect();
    assert_eq!(
        kept,
        ["audit.retentionDays", "audit.dsn", "audit.webhookUrl", "audit.export", "redaction", "tenants"]
    );
    for key in ["redactoin: {}", "webhooks: []", "regoPolicys: []"] {
        let lints =
            load_named("gateway.yaml", &format!("{theirs}{key}\n")).expect_err("unknown there as well");
        assert!(lints.iter().any(Lint::is_error), "{key}");
    }
    let ours = theirs.replace("metering: {enabled: true, dimensions: [calls]}\n", "");
    let lints = load_named("gateway.yaml", &ours).expect_err("nothing would be redacted");
    assert_eq!(lints.iter().filter(|lint| lint.is_error() && lint.code == "not-supported").count(), 6);
}
