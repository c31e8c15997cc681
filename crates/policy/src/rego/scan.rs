//! The first look at a source: its tokens only, by a scanner that cannot recurse.
//!
//! The parser behind it takes time exponential in the nesting of brackets and
//! stack in the nesting of parentheses, so both are bounded before it sees them.
//! Strings and comments are told apart exactly as its lexer does.

/// Longest source, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Deepest nesting of `[` and `{`.
const MAX_BRACKETS: usize = 10;
/// Deepest nesting of all brackets and parentheses together.
const MAX_NESTING: usize = 40;

/// Why a source is refused unread, with its line, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Looks a source over.
pub(super) fn scan(source: &str) -> Result<(), Problem> {
    let fail = |line, message: String| Err(Problem { line, message });
    if source.len() > MAX_BYTES {
        return fail(1, format!("is longer than {} KiB; move tables to `data`", MAX_BYTES / 1024));
    }
    let mut line = 1;
    let (mut brackets, mut nesting) = (0_usize, 0_usize);
    let mut rest = source.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\n' => line += 1,
            // The lexer takes it for the end of the source.
            0 => return fail(line, "holds a zero byte".to_owned()),
            b'#' => {
                if let Some(hidden) = rest.by_ref().find(|c| matches!(c, b'\n' | 0)) {
                    if hidden == 0 {
                        return fail(line, "holds a zero byte".to_owned());
                    }
                    line += 1;
                }
            }
            b'"' => loop {
                match rest.next() {
                    Some(b'\\') => drop(rest.next()),
                    Some(b'"') => break,
                    None | Some(0..=0x1f) => return fail(line, "has a text without an end".to_owned()),
                    Some(_) => {}
                }
            },
            b'`' => loop {
                match rest.next() {
                    Some(b'`') => break,
                    Some(b'\n') => line += 1,
                    None | Some(0) => return fail(line, "has a raw text without an end".to_owned()),
                    Some(_) => {}
                }
            },
            b'[' | b'{' | b'(' => {
                brackets += usize::from(byte != b'(');
                nesting += 1;
                if brackets > MAX_BRACKETS {
                    return fail(line, format!("nests brackets deeper than {MAX_BRACKETS}"));
                }
                if nesting > MAX_NESTING {
                    return fail(line, format!("nests parentheses deeper than {MAX_NESTING}"));
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
            ("`a\n".to_owned(), Some(2)),
            (" ".repeat(256 * 1024 + 1), Some(1)),
        ];
        for (source, expected) in cases {
            let line = scan(&source).err().map(|problem| problem.line);
            assert_eq!(line, expected, "{:.40}", source);
        }
    }
}
