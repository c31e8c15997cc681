//! The JSON schema of the file, for editors.

use serde_json::{Value, json};

use super::absent::FREE;
use super::file::GatewayFile;

/// The schema as it is checked in: generated from the structs that read the file.
pub fn schema() -> String {
    let schema = schemars::schema_for!(GatewayFile);
    let mut schema = serde_json::to_value(schema).expect("a schema is plain JSON");
    allow_notes(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}

/// Lets every object that knows its keys have those that are free as well.
fn allow_notes(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(allow_notes);
            if members.get("additionalProperties") == Some(&Value::Bool(false)) {
                members.insert("patternProperties".to_owned(), json!({format!("^{FREE}"): true}));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(allow_notes),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
