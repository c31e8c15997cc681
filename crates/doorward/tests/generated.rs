//! Files that are generated and checked in must be what would be generated now.
//! `BLESS=1 cargo test -p doorward generated` writes them anew.

mod reference;

use std::path::Path;

use clap::CommandFactory as _;
use doorward::cli::Cli;

/// Compares a checked-in file with what it is generated from, or writes it anew.
#[allow(clippy::disallowed_methods, reason = "the one switch of this test comes from whoever runs it")]
fn is_current(name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    if std::env::var("BLESS").is_ok() {
        std::fs::write(&path, generated).expect("written");
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == generated, "{name} is out of date: run with BLESS=1");
}

#[test]
fn the_generated_schema_is_the_one_checked_in() {
    is_current("schemas/gateway.schema.json", &doorward::config::schema());
}

#[test]
fn the_generated_page_of_members_has_them_all() {
    let schema = serde_json::from_str(&doorward::config::schema()).expect("JSON");
    is_current("docs/reference/members.md", &reference::members::page(&schema));
}

#[test]
fn the_generated_page_of_commands_has_them_all() {
    let mut program = Cli::command();
    program.build();
    is_current("docs/reference/commands.md", &reference::commands::page(&program));
}
