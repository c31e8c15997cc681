//! Pages of the reference that say what the program itself says of its configuration and of its
//! commands, so that neither can have a member without an entry.

pub mod commands;
pub mod members;

/// One row of a table: no line ends, and no bar that would end a column.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
