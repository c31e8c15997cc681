//! Files that are generated and checked in must be what would be generated now.
//! `BLESS=1 cargo test -p doorward generated` writes them anew.

use std::path::Path;

#[test]
#[allow(clippy::disallowed_methods, reason = "the one switch of this test comes from whoever runs it")]
fn the_generated_schema_is_the_one_checked_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/gateway.schema.json");
    let generated = doorward::config::schema();
    if std::env::var("BLESS").is_ok() {
        std::fs::write(&path, &generated).expect("written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "schemas/gateway.schema.json is out of date: run with BLESS=1");
}
