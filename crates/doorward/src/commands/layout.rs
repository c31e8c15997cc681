//! Columns as people know them from the command line that this one replaces.

/// `text` and as many spaces as make it `width` characters wide; never cut.
pub(super) fn pad(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}
