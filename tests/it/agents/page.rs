//! The page about clients, which has what was seen.

use std::path::Path;

/// Prints rows of its tables, and sees to it that the page has them.
pub fn has(rows: &[String]) {
    println!("{}", rows.join("\n"));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/clients.md");
    let text = std::fs::read_to_string(&page).expect("the page");
    let missing: Vec<_> = rows.iter().filter(|row| !text.lines().any(|line| line == *row)).collect();
    assert!(missing.is_empty(), "docs/reference/clients.md is to have: {missing:#?}");
}
