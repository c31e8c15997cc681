//! Text from outside on a terminal: what would drive the terminal, or could not be seen on it,
//! is shown as an escape.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One line in which every character can be seen. A backslash is doubled, so that nothing
/// looks like an escape that is none.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\\' || is_odd(c))
}

/// Text of any language, whose lines and tabs stay: only what drives a terminal, turns the order of
/// what is read, or says something that is never shown, is escaped.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    let drives = |c: char| match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => c.is_control(),
    };
    escaped(text, drives)
}

/// One line in which every character can be seen, and backslashes stand as they do: some of
/// it is escaped already.
pub(crate) fn without_odd(text: &str) -> Cow<'_, str> {
    escaped(text, is_odd)
}

/// Whether a terminal might do something else than show this character as it is.
pub fn is_odd(character: char) -> bool {
    !matches!(character, '"' | '\'' | '\\') && character.escape_debug().len() > 1
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(first) = text.find(&is_escaped) else { return Cow::Borrowed(text) };
    let (plain, rest) = text.split_at(first);
    let mut out = plain.to_owned();
    for c in rest.chars() {
        match is_escaped(c) {
            true => out.extend(c.escape_debug()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A line of JSON in which every character can be seen, and which still says the same: what is
/// odd stands in its strings alone.
pub(crate) fn printable_json(line: &str) -> Cow<'_, str> {
    let Some(first) = line.find(is_odd) else { return Cow::Borrowed(line) };
    let (plain, rest) = line.split_at(first);
    let mut out = plain.to_owned();
    for c in rest.chars() {
        match is_odd(c) {
            true => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_a_terminal_and_nothing_is_unseen() {
        let cases = [
            // text                    one line                      lines stay
            ("plain \"text\" 'é' 😀 日本", "plain \"text\" 'é' 😀 日本", "plain \"text\" 'é' 😀 日本"),
            ("a\nb\tc\r", r"a\nb\tc\r", "a\nb\tc\\r"),
            ("\u{1b}[2J\u{7}\u{8}", r"\u{1b}[2J\u{7}\u{8}", r"\u{1b}[2J\u{7}\u{8}"),
            ("\u{9b}31m\u{7f}\0", r"\u{9b}31m\u{7f}\0", r"\u{9b}31m\u{7f}\0"),
            (
                "a\u{202e}b\u{2066}c\u{200b}d\u{feff}",
                r"a\u{202e}b\u{2066}c\u{200b}d\u{feff}",
                "a\\u{202e}b\\u{2066}c\u{200b}d\u{feff}",
            ),
            (
                "e\u{301}\u{fe0f}\u{2028}\u{e0041}",
                r"e\u{301}\u{fe0f}\u{2028}\u{e0041}",
                "e\u{301}\u{fe0f}\\u{2028}\\u{e0041}",
            ),
            (r"\u{1b}", r"\\u{1b}", r"\u{1b}"),
        ];
        for (text, line, lines) in cases {
            assert_eq!(printable(text), line);
            assert_eq!(printable_lines(text), lines);
        }
    }

    #[test]
    fn json_says_the_same_afterwards() {
        let text = serde_json::json!({"a": "x\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\\ \" é"});
        let shown = printable_json(&text.to_string()).into_owned();
        assert!(!shown.contains(is_odd), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), text);
    }
}
