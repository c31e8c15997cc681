//! The first look at a source: its tokens only, by a scanner that cannot recurse.
//!
//! The parser behind it takes time exponential in the nesting of brackets and
//! stack in the nesting of parentheses, so both are bounded before it sees them.
//! Strings and comments are told apart exactly as its lexer does.

use crate::problem::At;

/// Longest source, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Deepest nesting of `[` and `{`.
const MAX_BRACKETS: usize = 10;
/// Deepest nesting of all brackets and parentheses together.
const MAX_NESTING: usize = 40;

/// Why a source is refused, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: At,
    pub(super) message: String,
}

/// Looks a source over.
pub(super) fn scan(source: &str) -> Result<(), Problem> {
    if source.len() > MAX_BYTES {
        return fail(source, 0, format!("is longer than {} KiB; move tables to `data`", MAX_BYTES / 1024));
    }
    let (mut brackets, mut nesting) = (0_usize, 0_usize);
    let mut rest = source.bytes();
    while let Some(byte) = rest.next() {
        let at = source.len() - rest.len() - 1;
        match byte {
            // The lexer takes it for the end of the source.
            0 => return fail(source, at, "holds a zero byte".to_owned()),
            b'#' => {
                let end = rest.by_ref().find(|c| matches!(c, b'\n' | 0));
                if end == Some(0) {
                    return fail(source, at, "holds a zero byte".to_owned());
                }
            }
            b'"' => loop {
                match rest.next() {
                    Some(b'\\') => drop(rest.next()),
                    Some(b'"') => break,
                    None | Some(0..=0x1f) => return fail(source, at, "has a text without an end".to_owned()),
                    Some(_) => {}
                }
            },
            b'`' => loop {
                match rest.next() {
                    Some(b'`') => break,
                    None | Some(0) => return fail(source, at, "has a raw text without an end".to_owned()),
                    Some(_) => {}
                }
            },
            b'[' | b'{' | b'(' => {
                brackets += usize::from(byte != b'(');
                nesting += 1;
                if brackets > MAX_BRACKETS {
                    return fail(source, at, format!("nests brackets deeper than {MAX_BRACKETS}"));
                }
                if nesting > MAX_NESTING {
                    return fail(source, at, format!("nests parentheses deeper than {MAX_NESTING}"));
                }
            }
            b']' | b'}' | b')' => {
                brackets = brackets.saturating_sub(usize::from(byte != b')'));
                nesting = nesting.saturating_sub(1);
            }
            _ => {}
        }
    }
    Ok(())
}

fn fail(source: &str, at: usize, message: String) -> Result<(), Problem> {
    Err(Problem { at: place(source, at), message })
}

/// The line and column of a byte.
fn place(source: &str, at: usize) -> At {
    let before = source.as_bytes().get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    At::new(u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_found_whatever_surrounds_it() {
        let deep =
            |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let cases = [
            (deep("[", "]", 10), None),
            (deep("[", "]", 11), Some(1)),
            (format!("# [[[[[[[[[[[[[\n{}", deep("[", "]", 10)), None),
            (format!("x := \"[[[[[[[[[[[[\\\"[[[\"\n{}", deep("{\"a\":", "}", 11)), Some(2)),
            (format!("x := `[[[[[[[[[[[[[\n[`\n{}", deep("{", "}", 11)), Some(3)),
            (deep("(", ")", 40), None),
            (deep("(", ")", 41), Some(1)),
            ("set(\n".repeat(50), Some(41)),
            ("a\n\0".to_owned(), Some(2)),
            ("# a\0[".to_owned(), Some(1)),
            ("\"a".to_owned(), Some(1)),
            ("`a\n".to_owned(), Some(1)),
            (" ".repeat(256 * 1024 + 1), Some(1)),
        ];
        for (source, expected) in cases {
            let line = scan(&source).err().map(|problem| problem.at.line);
            assert_eq!(line, expected, "{:.40}", source);
        }
    }
}
