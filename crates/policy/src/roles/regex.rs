//! JavaScript regular expressions, run with a limit.
//!
//! Configurations written for a JavaScript gateway mean JavaScript's dialect, in
//! which `\d` is ASCII, `.` stops at `\r`, and `{` may be a letter. The pattern is
//! therefore read by JavaScript's grammar and written again in the dialect of our
//! engine. What has no equal there is refused when the policy is loaded. One
//! difference remains: we see characters, JavaScript sees UTF-16 halves of those
//! beyond the basic plane.

use std::iter::Peekable;
use std::str::Chars;

use fancy_regex::RegexBuilder;

/// Backtracking steps after which a match is given up: about a millisecond.
const STEPS: usize = 50_000;

const DIGITS: &str = "0-9";
const WORD: &str = "A-Za-z0-9_";
const SPACE: &str =
    r"\t\n\x0B\x0C\r\x20\xA0\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}\x{FEFF}";
const BOUNDARY: &str = "(?:(?<=[A-Za-z0-9_])(?![A-Za-z0-9_])|(?<![A-Za-z0-9_])(?=[A-Za-z0-9_]))";
const NO_BOUNDARY: &str = "(?:(?<=[A-Za-z0-9_])(?=[A-Za-z0-9_])|(?<![A-Za-z0-9_])(?![A-Za-z0-9_]))";

/// A compiled pattern.
#[derive(Debug)]
pub(crate) struct Regex(fancy_regex::Regex);

impl Regex {
    /// Compiles `pattern` as `new RegExp(pattern)` would.
    ///
    /// # Errors
    /// A sentence saying what is invalid or has no equal here.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let translated = translate(pattern)?;
        RegexBuilder::new(&translated)
            .backtrack_limit(STEPS)
            .delegate_size_limit(1 << 20)
            .build()
            .map(Self)
            .map_err(|error| format!("cannot be used as a regular expression: {error}"))
    }

    /// Whether it matches somewhere; `None` when the limit was reached first.
    pub(crate) fn is_match(&self, text: &str) -> Option<bool> {
        self.0.is_match(text).ok()
    }
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut reader =
        Reader { rest: pattern.chars().peekable(), out: String::new(), groups: groups_in(pattern), open: 0 };
    reader.pattern()?;
    Ok(reader.out)
}

/// How many capturing groups there are, which decides what `\1` means.
fn groups_in(pattern: &str) -> u32 {
    let mut count = 0;
    let mut in_class = false;
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => drop(rest.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => {
                let after = rest.as_str();
                let named = after.starts_with("?<") && !after.starts_with("?<=") && !after.starts_with("?<!");
                count += u32::from(named || !after.starts_with('?'));
            }
            _ => {}
        }
    }
    count
}

struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
    groups: u32,
    open: u32,
}

impl Reader<'_> {
    fn pattern(&mut self) -> Result<(), String> {
        // Whether what was just written can be repeated.
        let mut repeatable = false;
        while let Some(c) = self.rest.next() {
            repeatable = match c {
                '*' | '+' | '?' => {
                    self.repeat(repeatable, &c.to_string())?;
                    false
                }
                '{' => match self.braces() {
                    Some(count) => {
                        self.repeat(repeatable, &count)?;
                        false
                    }
                    None => self.letter('{'),
                },
                '(' => {
                    self.group()?;
                    false
                }
                ')' => {
                    self.open = self.open.checked_sub(1).ok_or("has a `)` too many")?;
                    self.out.push(')');
                    true
                }
                '|' => {
                    self.out.push('|');
                    false
                }
                '^' => self.zero_width(r"\A"),
                '$' => self.zero_width(r"\z"),
                '.' => self.write(r"[^\n\r\x{2028}\x{2029}]"),
                '[' => self.class()?,
                '\\' => self.escape()?,
                other => self.letter(other),
            };
        }
        if self.open > 0 { Err("has a `(` that is not closed".to_owned()) } else { Ok(()) }
    }

    fn write(&mut self, text: &str) -> bool {
        self.out.push_str(text);
        true
    }

    fn zero_width(&mut self, text: &str) -> bool {
        self.out.push_str(text);
        false
    }

    fn letter(&mut self, c: char) -> bool {
        push_literal(&mut self.out, c);
        true
    }

    fn repeat(&mut self, repeatable: bool, count: &str) -> Result<(), String> {
        if !repeatable {
            return Err(format!("has nothing to repeat before `{count}`"));
        }
        self.out.push_str(count);
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,5}`; anything else is a letter, and nothing is consumed.
    fn braces(&mut self) -> Option<String> {
        let inner: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let closed = self.rest.clone().nth(inner.chars().count()) == Some('}');
        let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let valid = match inner.split_once(',') {
            Some((least, most)) => number(least) && (most.is_empty() || number(most)),
            None => number(&inner),
        };
        if !(valid && closed) {
            return None;
        }
        self.rest.nth(inner.len());
        Some(format!("{{{inner}}}"))
    }

    fn group(&mut self) -> Result<(), String> {
        self.open += 1;
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        match self.rest.next() {
            Some(c @ (':' | '=' | '!')) => self.out.push(c),
            Some('<') => {
                self.out.push('<');
                if let Some(c) = self.rest.next_if(|c| matches!(c, '=' | '!')) {
                    self.out.push(c);
                } else {
                    self.name()?;
                }
            }
            _ => return Err("has a `(?` that JavaScript does not know".to_owned()),
        }
        Ok(())
    }

    fn name(&mut self) -> Result<(), String> {
        let start = self.out.len();
        for c in self.rest.by_ref() {
            self.out.push(c);
            if c == '>' && self.out.len() > start + 1 {
                return Ok(());
            }
            if !(c.is_ascii_alphanumeric() || c == '_') {
                break;
            }
        }
        Err("has a group name other than letters, digits and `_`".to_owned())
    }

    fn escape(&mut self) -> Result<bool, String> {
        let Some(c) = self.rest.next() else { return Err("ends in a `\\`".to_owned()) };
        match c {
            'd' => return Ok(self.write(&format!("[{DIGITS}]"))),
            'D' => return Ok(self.write(&format!("[^{DIGITS}]"))),
            'w' => return Ok(self.write(&format!("[{WORD}]"))),
            'W' => return Ok(self.write(&format!("[^{WORD}]"))),
            's' => return Ok(self.write(&format!("[{SPACE}]"))),
            'S' => return Ok(self.write(&format!("[^{SPACE}]"))),
            'b' => return Ok(self.zero_width(BOUNDARY)),
            'B' => return Ok(self.zero_width(NO_BOUNDARY)),
            'k' => {
                if self.rest.next() != Some('<') {
                    return Err("has a `\\k` without a name".to_owned());
                }
                self.out.push_str(r"\k<");
                self.name()?;
                return Ok(true);
            }
            '1'..='9' => {
                let number = c.to_digit(10).unwrap_or_default();
                if number > self.groups || self.rest.peek().is_some_and(char::is_ascii_digit) {
                    return Err(format!("refers to group {c}, or one beyond 9"));
                }
                // In a group, so that a digit that follows stays a digit.
                return Ok(self.write(&format!(r"(?:\{c})")));
            }
            _ => {}
        }
        let literal = self.character_escape(c)?;
        Ok(self.letter(literal))
    }

    /// Escapes that stand for one character, in a class and outside.
    fn character_escape(&mut self, c: char) -> Result<char, String> {
        Ok(match c {
            't' => '\t',
            'n' => '\n',
            'v' => '\x0b',
            'f' => '\x0c',
            'r' => '\r',
            '0' if !self.rest.peek().is_some_and(char::is_ascii_digit) => '\0',
            '0'..='9' => return Err("has an octal escape; write it as `\\xHH`".to_owned()),
            'x' => self.hex(2)?,
            'u' => self.hex(4)?,
            'c' => match self.rest.next() {
                Some(letter) if letter.is_ascii_alphabetic() => char::from((letter as u8) % 32),
                _ => return Err("has a `\\c` without a letter".to_owned()),
            },
            'p' | 'P' => return Err("has a `\\p`, which needs JavaScript's `u` flag".to_owned()),
            other => other,
        })
    }

    fn hex(&mut self, digits: usize) -> Result<char, String> {
        let mut code = 0;
        for _ in 0..digits {
            let digit = self.rest.next().and_then(|c| c.to_digit(16));
            code = code * 16
                + digit.ok_or_else(|| format!("has an escape without {digits} hexadecimal digits"))?;
        }
        char::from_u32(code).ok_or_else(|| "has half of a surrogate pair".to_owned())
    }

    fn class(&mut self) -> Result<bool, String> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        if self.rest.next_if_eq(&']').is_some() {
            return Ok(self.write(if negated { r"[\s\S]" } else { "(?!)" }));
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        while let Some(first) = self.class_atom()? {
            // `a-z` is a range, `a-]` and `\w-z` hold a dash.
            let dashed = self.rest.peek() == Some(&'-') && self.rest.clone().nth(1).is_some_and(|c| c != ']');
            if !dashed {
                self.class_item(&first);
                continue;
            }
            self.rest.next();
            let Some(last) = self.class_atom()? else {
                return Err("has a `[` that is not closed".to_owned());
            };
            match (&first, &last) {
                (Atom::One(low), Atom::One(high)) if low <= high => {
                    push_literal(&mut self.out, *low);
                    self.out.push('-');
                    push_literal(&mut self.out, *high);
                }
                (Atom::One(low), Atom::One(high)) => {
                    return Err(format!("has the range `{low}-{high}` in the wrong order"));
                }
                _ => {
                    self.class_item(&first);
                    self.class_item(&Atom::One('-'));
                    self.class_item(&last);
                }
            }
        }
        self.out.push(']');
        Ok(true)
    }

    fn class_item(&mut self, atom: &Atom) {
        match atom {
            Atom::One(c) => push_literal(&mut self.out, *c),
            Atom::Set(text) => self.out.push_str(text),
        }
    }

    /// The next member of a class, `None` at its end.
    fn class_atom(&mut self) -> Result<Option<Atom>, String> {
        let unclosed = || "has a `[` that is not closed".to_owned();
        Ok(Some(match self.rest.next().ok_or_else(unclosed)? {
            ']' => return Ok(None),
            '\\' => match self.rest.next().ok_or_else(unclosed)? {
                'd' => Atom::Set(DIGITS.to_owned()),
                'w' => Atom::Set(WORD.to_owned()),
                's' => Atom::Set(SPACE.to_owned()),
                'D' => Atom::Set(format!("[^{DIGITS}]")),
                'W' => Atom::Set(format!("[^{WORD}]")),
                'S' => Atom::Set(format!("[^{SPACE}]")),
                'b' => Atom::One('\x08'),
                other => Atom::One(self.character_escape(other)?),
            },
            other => Atom::One(other),
        }))
    }
}

/// A member of a class: one character, or a ready piece of class.
enum Atom {
    One(char),
    Set(String),
}

/// Writes a character so that it can mean nothing but itself.
fn push_literal(out: &mut String, c: char) {
    use std::fmt::Write as _;
    if c.is_ascii_alphanumeric() || c == '_' {
        out.push(c);
    } else {
        write!(out, r"\x{{{:X}}}", u32::from(c)).expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_javascript() {
        // Each expectation was read off `new RegExp(pattern).test(text)` by the
        // rules of ECMA-262, annex B included.
        let cases = [
            ("^a+$", "aaa", true),
            ("^a+$", "aaa\n", false),
            ("a.c", "a\rc", false),
            ("a.c", "a\tc", true),
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{0661}", false),
            (r"^\w$", "é", false),
            (r"\bcat\b", "a cat.", true),
            (r"\bcat\b", "concat", false),
            (r"^[\w.-]+@corp\.example$", "a.b-c@corp.example", true),
            (r"^[\w.-]+@corp\.example$", "a@corp-example", false),
            (r"^[^/]+\/main$", "x/main", true),
            ("^(?!prod).*$", "production", false),
            ("^(?!prod).*$", "staging", true),
            ("(?<=id:)7", "id:7", true),
            (r"^(a|b)\1$", "aa", true),
            (r"^(a|b)\1$", "ab", false),
            (r"^(?<x>.)\k<x>$", "zz", true),
            ("{", "{", true),
            ("^a{2,3}$", "aaa", true),
            ("^a{,3}$", "a{,3}", true),
            ("[]", "x", false),
            ("[^]", "\n", true),
            ("^[a-]$", "-", true),
            (r"^[\w-z]$", "-", true),
            ("^[[&&]$", "&", true),
            (r"^\x41\u0042\cJ$", "AB\n", true),
            (r"^\z$", "z", true),
            ("a+?b", "aab", true),
            ("", "anything", true),
            ("#", "#", true),
        ];
        for (pattern, text, expected) in cases {
            let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(text), Some(expected), "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_javascript_refuses_or_we_cannot_match_is_refused() {
        for pattern in [
            "(",
            ")",
            "a**",
            "*",
            "a++",
            "[",
            "(?i)a",
            "(?>a)",
            "[z-a]",
            r"\",
            r"\p{L}",
            r"\2(a)",
            r"\ud800",
            "(?<a-b>x)",
        ] {
            assert!(Regex::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_match_that_would_take_forever_is_given_up() {
        let regex = Regex::new(r"^(?:(a|a)+\1)+$").expect("valid");
        assert_eq!(regex.is_match(&format!("{}b", "a".repeat(40))), None);
    }
}
