//! The pages of the documentation that have what was seen.

use std::path::Path;

/// Prints rows of a page's tables, and sees to it that the page has them.
pub fn has(name: &str, rows: &[String]) {
    println!("{}", rows.join("\n"));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(name);
    let text = std::fs::read_to_string(&page).unwrap_or_default();
    let missing: Vec<_> = rows.iter().filter(|row| !text.lines().any(|line| line == *row)).collect();
    assert!(missing.is_empty(), "docs/reference/{name} is to have: {missing:#?}");
}
