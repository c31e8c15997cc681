//! `docs/reference/members.md`: every member of the configuration, from its schema.

use std::fmt::Write as _;

use serde_json::Value;

use super::cell;

const HEAD: &str = "\
# Members of the configuration

Every member of `gateway.yaml`, with the kind of value that it takes. [configuration.md](configuration.md) explains how
they work together. This page is generated from the schema (`BLESS=1 cargo test -p doorward generated`); a member that
starts with `x-` is yours and ignored.

| member | takes | meaning |
|---|---|---|
";

/// The page.
pub fn page(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    walk(schema, schema, "", &mut page);
    page
}

/// Adds the members of an object, each followed by its own.
fn walk(schema: &Value, object: &Value, path: &str, page: &mut String) {
    for (name, member) in object["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let target = resolved(schema, member);
        let is_list = target["type"]
            .as_array()
            .map_or(target["type"] == "array", |kinds| kinds.iter().any(|kind| kind == "array"));
        let item = if is_list { resolved(schema, &target["items"]) } else { target };
        let shown = if is_list && item["properties"].is_object() { format!("{path}[]") } else { path };
        let meaning = member["description"].as_str().or(target["description"].as_str()).unwrap_or_default();
        let words = words(item);
        let meaning = if words.is_empty() { cell(meaning) } else { format!("{} {words}", cell(meaning)) };
        let kind = kind(target, item, is_list);
        writeln!(page, "| `{shown}` | {kind} | {meaning} |").expect("a string takes everything");
        walk(schema, item, &shown, page);
    }
}

/// What a reference stands for; of what may also be left out, the other choice.
fn resolved<'a>(schema: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(reference) = node["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return resolved(schema, &schema["$defs"][name]);
    }
    let choices = node["anyOf"].as_array();
    match choices.and_then(|choices| choices.iter().find(|choice| choice["$ref"].is_string())) {
        Some(choice) => resolved(schema, choice),
        None => node,
    }
}

/// The words that a value may be, each with its meaning.
fn words(node: &Value) -> String {
    let choices = node["oneOf"].as_array().into_iter().flatten();
    let words = choices.filter_map(|choice| {
        let meaning = cell(choice["description"].as_str().unwrap_or_default());
        Some(format!("`{}`: {meaning}", choice["const"].as_str()?))
    });
    words.collect::<Vec<_>>().join(" ")
}

fn kind(target: &Value, item: &Value, is_list: bool) -> String {
    let plain = |node: &Value| -> &'static str {
        if node["oneOf"].is_array() || node["enum"].is_array() {
            return "a word";
        }
        let kinds: Vec<_> = match &node["type"] {
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            kind => kind.as_str().into_iter().collect(),
        };
        match kinds.iter().find(|kind| **kind != "null") {
            Some(&"string") => "text",
            Some(&"integer") => "whole number",
            Some(&"number") => "number",
            Some(&"boolean") => "true or false",
            Some(&"object") if node["properties"].is_object() => "members",
            Some(&"object") => "names and texts",
            _ => "text, or a list",
        }
    };
    if is_list { format!("list of {}", plain(item)) } else { plain(target).to_owned() }
}
