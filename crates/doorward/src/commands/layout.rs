//! Columns as people know them from the command line that this one replaces.

use crate::printable::without_odd;

/// `text` and as many spaces as make it `width` characters wide; never cut, always one line.
pub(super) fn pad(text: &str, width: usize) -> String {
    let text = without_odd(text);
    format!("{text:<width$}")
}
