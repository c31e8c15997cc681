//! The JSON schema of the file, for editors.

use super::file::GatewayFile;

/// The schema as it is checked in: generated from the structs that read the file.
pub fn schema() -> String {
    let schema = schemars::schema_for!(GatewayFile);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
