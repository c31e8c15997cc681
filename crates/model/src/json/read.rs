//! The reader: one pass, no recursion, no allocation but the index.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::write::special_bytes;
use super::{Kind, Node};

/// Bounds on what is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How deep arrays and objects may nest.
    pub depth: usize,
    /// How many values a document may hold, keys included.
    pub values: usize,
    /// Values nested deeper than this are checked, but not indexed: they can be
    /// cut out as part of their parent and not looked into. Duplicate keys are
    /// only found among what is indexed.
    pub index_depth: usize,
    /// What to do about integers that not every reader keeps exact.
    pub numbers: Numbers,
}

/// How integers beyond ±(2^53−1) are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Refused: JavaScript would round them and so act on another number.
    Safe,
    /// Kept as written; nothing may compare them.
    Exact,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 128, values: 200_000, index_depth: 128, numbers: Numbers::Safe }
    }
}

/// Why a text was refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {offset}")]
pub struct ParseError {
    /// Bytes from the start of the text.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The text ends inside a value.
    Truncated,
    /// Something else was needed here.
    Unexpected,
    /// Text behind the value.
    Trailing,
    /// Not UTF-8.
    Utf8,
    /// A byte order mark.
    ByteOrderMark,
    /// A control character inside a string.
    ControlCharacter,
    /// An escape that JSON does not know.
    Escape,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// A key that the same object already has.
    DuplicateKey(String),
    /// A number that JSON does not know.
    Number,
    /// A number beyond what a double can hold.
    NumberRange,
    /// An integer that JavaScript would round.
    IntegerRange,
    /// Nested too deep.
    TooDeep,
    /// Too many values.
    TooMany,
    /// Longer than an index can address.
    TooLong,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the text ends too early",
            Self::Unexpected => "unexpected character",
            Self::Trailing => "text after the value",
            Self::Utf8 => "not UTF-8",
            Self::ByteOrderMark => "byte order mark",
            Self::ControlCharacter => "unescaped control character in a string",
            Self::Escape => "unknown escape",
            Self::LoneSurrogate => "lone surrogate",
            Self::DuplicateKey(key) => {
                return write!(f, "duplicate key {:?}", key.chars().take(64).collect::<String>());
            }
            Self::Number => "malformed number",
            Self::NumberRange => "number beyond double range",
            Self::IntegerRange => "integer beyond ±(2^53−1)",
            Self::TooDeep => "nested too deep",
            Self::TooMany => "too many values",
            Self::TooLong => "too long",
        })
    }
}

const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Checks that `bytes` are text that this reader takes.
pub(super) fn text(bytes: Bytes) -> Result<ByteString, ParseError> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(ParseError { offset: 0, problem: Problem::TooLong });
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(ParseError { offset: 0, problem: Problem::ByteOrderMark });
    }
    ByteString::try_from(bytes)
        .map_err(|error| ParseError { offset: error.valid_up_to(), problem: Problem::Utf8 })
}

/// Checks a text and says where each value lies.
pub(super) fn index(text: &str, limits: &Limits) -> Result<Vec<Node>, ParseError> {
    let bytes = text.as_bytes();
    let mut reader = Reader {
        bytes,
        at: 0,
        limits,
        nodes: Vec::with_capacity((bytes.len() / 12).clamp(16, 4096)),
        seen: 0,
        open: Vec::with_capacity(16),
    };
    reader.document()?;
    Ok(reader.nodes)
}

/// An array or object that is not closed yet.
struct Open {
    object: bool,
    /// Its node, when it is indexed at all.
    node: Option<u32>,
}

/// So many keys are compared pair by pair.
const FEW: usize = 12;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: &'a Limits,
    nodes: Vec<Node>,
    seen: usize,
    open: Vec<Open>,
}

/// What the grammar allows next.
enum Next {
    Value,
    /// A value, or the end of an array that has none yet.
    ValueOrEnd,
    /// A key, or the end of an object that has none yet.
    KeyOrEnd,
    Key,
    CommaOrEnd,
}

impl Reader<'_> {
    fn fail<T>(&self, problem: Problem) -> Result<T, ParseError> {
        Err(ParseError { offset: self.at, problem })
    }

    fn unexpected<T>(&self) -> Result<T, ParseError> {
        self.fail(if self.at < self.bytes.len() { Problem::Unexpected } else { Problem::Truncated })
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn document(&mut self) -> Result<(), ParseError> {
        let mut next = Next::Value;
        loop {
            self.skip_space();
            let byte = self.bytes.get(self.at).copied();
            next = match (next, byte) {
                (Next::ValueOrEnd, Some(b']')) | (Next::KeyOrEnd, Some(b'}')) => {
                    self.at += 1;
                    self.close()?
                }
                (Next::Value | Next::ValueOrEnd, _) => self.value()?,
                (Next::Key | Next::KeyOrEnd, Some(b'"')) => {
                    self.string()?;
                    self.skip_space();
                    if self.bytes.get(self.at) != Some(&b':') {
                        return self.unexpected();
                    }
                    self.at += 1;
                    Next::Value
                }
                (Next::CommaOrEnd, Some(b',')) => {
                    self.at += 1;
                    if self.open.last().is_some_and(|open| open.object) { Next::Key } else { Next::Value }
                }
                (Next::CommaOrEnd, Some(close @ (b']' | b'}'))) => {
                    if self.open.last().is_none_or(|open| open.object != (close == b'}')) {
                        return self.unexpected();
                    }
                    self.at += 1;
                    self.close()?
                }
                _ => return self.unexpected(),
            };
            if self.open.is_empty() {
                break;
            }
        }
        self.skip_space();
        if self.at < self.bytes.len() { self.fail(Problem::Trailing) } else { Ok(()) }
    }

    fn value(&mut self) -> Result<Next, ParseError> {
        match self.bytes.get(self.at).copied() {
            Some(b'"') => self.string()?,
            Some(b'{') => {
                self.enter(Kind::Object)?;
                return Ok(Next::KeyOrEnd);
            }
            Some(b'[') => {
                self.enter(Kind::Array)?;
                return Ok(Next::ValueOrEnd);
            }
            Some(b't') => self.word(b"true", Kind::Bool)?,
            Some(b'f') => self.word(b"false", Kind::Bool)?,
            Some(b'n') => self.word(b"null", Kind::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return self.unexpected(),
        }
        Ok(Next::CommaOrEnd)
    }

    /// Adds a leaf that ends where the reader stands.
    fn leaf(&mut self, kind: Kind, start: usize, escaped: bool) -> Result<(), ParseError> {
        self.count()?;
        if self.indexing() {
            let next = self.nodes.len() as u32 + 1;
            self.nodes.push(Node { kind, escaped, start: start as u32, end: self.at as u32, next });
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.seen += 1;
        if self.seen > self.limits.values { self.fail(Problem::TooMany) } else { Ok(()) }
    }

    fn indexing(&self) -> bool {
        self.open.len() <= self.limits.index_depth
    }

    fn enter(&mut self, kind: Kind) -> Result<(), ParseError> {
        if self.open.len() >= self.limits.depth {
            return self.fail(Problem::TooDeep);
        }
        self.count()?;
        let node = self.indexing().then(|| {
            let at = self.nodes.len() as u32;
            let start = self.at as u32;
            self.nodes.push(Node { kind, escaped: false, start, end: start, next: at + 1 });
            at
        });
        self.open.push(Open { object: kind == Kind::Object, node });
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<Next, ParseError> {
        let Some(open) = self.open.pop() else { return self.unexpected() };
        if let Some(at) = open.node {
            let next = self.nodes.len() as u32;
            let node = &mut self.nodes[at as usize];
            node.end = self.at as u32;
            node.next = next;
            if open.object {
                self.refuse_duplicates(at)?;
            }
        }
        Ok(Next::CommaOrEnd)
    }

    fn refuse_duplicates(&self, object: u32) -> Result<(), ParseError> {
        if self.few_plain_keys_differ(object) {
            return Ok(());
        }
        let end = self.nodes[object as usize].next;
        let mut at = object + 1;
        let mut keys: Vec<(Cow<'_, [u8]>, u32)> = Vec::new();
        while at < end {
            let key = &self.nodes[at as usize];
            let raw = &self.bytes[key.start as usize + 1..key.end as usize - 1];
            let text = if key.escaped {
                Cow::Owned(unescape(std::str::from_utf8(raw).unwrap_or_default()).into_bytes())
            } else {
                Cow::Borrowed(raw)
            };
            keys.push((text, key.start));
            at = match self.nodes.get(at as usize + 1) {
                Some(value) => value.next,
                None => end,
            };
        }
        // Sorted, so that a hostile object cannot cost quadratic time.
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| &pair[1]) {
            Some((key, offset)) => Err(ParseError {
                offset: *offset as usize,
                problem: Problem::DuplicateKey(String::from_utf8_lossy(key).into_owned()),
            }),
            None => Ok(()),
        }
    }

    /// Whether an object has few keys, none of them escaped and no two the same: most
    /// are like that, and comparing them pair by pair allocates nothing.
    fn few_plain_keys_differ(&self, object: u32) -> bool {
        let mut keys: [&[u8]; FEW] = [&[]; FEW];
        let end = self.nodes[object as usize].next;
        let (mut at, mut count) = (object + 1, 0);
        while at < end {
            let key = &self.nodes[at as usize];
            let raw = &self.bytes[key.start as usize + 1..key.end as usize - 1];
            if count == FEW || key.escaped || keys[..count].contains(&raw) {
                return false;
            }
            keys[count] = raw;
            count += 1;
            at = self.nodes.get(at as usize + 1).map_or(end, |value| value.next);
        }
        true
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<(), ParseError> {
        let start = self.at;
        if !self.bytes[start..].starts_with(word) {
            return self.unexpected();
        }
        self.at += word.len();
        self.leaf(kind, start, false)
    }

    fn string(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.bytes.get(self.at) {
                None => return self.fail(Problem::Truncated),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..0x20) => return self.fail(Problem::ControlCharacter),
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        self.leaf(Kind::String, start, escaped)
    }

    /// Steps over characters that stand for themselves, eight bytes at a time, up to one
    /// that does not or to the last few of the text.
    fn skip_plain(&mut self) {
        while let Some(word) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let special = special_bytes(u64::from_le_bytes(*word));
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }

    fn escape(&mut self) -> Result<(), ParseError> {
        match self.bytes.get(self.at + 1) {
            None => self.fail(Problem::Truncated),
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let first = self.hex4(self.at + 2)?;
                if (0xdc00..0xe000).contains(&first) {
                    return self.fail(Problem::LoneSurrogate);
                }
                if !(0xd800..0xdc00).contains(&first) {
                    self.at += 6;
                    return Ok(());
                }
                let paired = self.bytes.get(self.at + 6..self.at + 8) == Some(b"\\u");
                if !paired || !(0xdc00..0xe000).contains(&self.hex4(self.at + 8)?) {
                    return self.fail(Problem::LoneSurrogate);
                }
                self.at += 12;
                Ok(())
            }
            Some(_) => self.fail(Problem::Escape),
        }
    }

    fn hex4(&self, from: usize) -> Result<u32, ParseError> {
        let Some(digits) = self.bytes.get(from..from + 4) else { return self.fail(Problem::Truncated) };
        let mut value = 0;
        for digit in digits {
            match char::from(*digit).to_digit(16) {
                Some(nibble) => value = value << 4 | nibble,
                None => return self.fail(Problem::Escape),
            }
        }
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.fail(Problem::Number) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let whole = self.at;
        self.digits()?;
        if self.bytes[whole] == b'0' && self.at - whole > 1 {
            return self.fail(Problem::Number);
        }
        let mut is_integer = true;
        let magnitude = magnitude(&self.bytes[whole..self.at]);
        if self.bytes.get(self.at) == Some(&b'.') {
            is_integer = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            is_integer = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        let is_safe_only = self.limits.numbers == Numbers::Safe;
        if is_integer && magnitude > MAX_SAFE_INTEGER && is_safe_only {
            return self.fail(Problem::IntegerRange);
        }
        if !is_integer || self.at - whole > 300 {
            let text = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
            match text.parse::<f64>() {
                Ok(double) if is_unsafe_double(double) && !is_integer && is_safe_only => {
                    return self.fail(Problem::IntegerRange);
                }
                Ok(double) if double.is_finite() => {}
                _ => return self.fail(Problem::NumberRange),
            }
        }
        self.leaf(Kind::Number, start, false)
    }
}

/// What digits amount to. Summed with saturation: whatever saturates is out of range anyway.
fn magnitude(digits: &[u8]) -> u64 {
    digits
        .iter()
        .fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0'))))
}

/// Whether a number, as it was read, is an integer that not every reader keeps exact.
pub(super) fn is_unsafe_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw).as_bytes();
    if digits.iter().all(u8::is_ascii_digit) {
        return magnitude(digits) > MAX_SAFE_INTEGER;
    }
    raw.parse().is_ok_and(is_unsafe_double)
}

/// Whether a number that is spelled as no integer (`9007199254740993.0`, `1e16`) is written as
/// one in canonical JSON (RFC 8785: below 10^21), which a record holds, and is then beyond
/// ±(2^53−1). However it is spelled, a number is treated alike.
fn is_unsafe_double(double: f64) -> bool {
    (MAX_SAFE_INTEGER as f64) < double.abs() && double.abs() < 1e21
}

/// Resolves the escapes of a string whose escapes were already checked.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        match code {
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'n' => out.push('\n'),
            b'r' => out.push('\r'),
            b't' => out.push('\t'),
            b'u' => {
                let unit = |text: &str, from: usize| {
                    text.get(from..from + 4)
                        .and_then(|hex| u16::from_str_radix(hex, 16).ok())
                        .unwrap_or(0xfffd)
                };
                let first = unit(rest, 0);
                let units =
                    if (0xd800..0xdc00).contains(&first) { [first, unit(rest, 6)] } else { [first, 0] };
                let used = if units[1] == 0 { 1 } else { 2 };
                out.extend(
                    char::decode_utf16(units[..used].iter().copied()).map(|c| c.unwrap_or('\u{fffd}')),
                );
                rest = rest.get(if used == 1 { 4 } else { 10 }..).unwrap_or_default();
            }
            other => out.push(char::from(other)),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::json::Document;

    fn problem(bytes: &[u8]) -> Option<Problem> {
        Document::parse(Bytes::copy_from_slice(bytes), &Limits::default()).err().map(|error| error.problem)
    }

    #[test]
    fn whatever_parsers_disagree_about_is_refused() {
        let cases: &[(&[u8], Option<Problem>)] = &[
            (b"{\"a\":1,\"b\":[true,false,null]}", None),
            (b" 1 ", None),
            (b"9007199254740991", None),
            (b"-9007199254740991", None),
            (b"1.5e300", None),
            (b"\"\\ud83d\\ude00\"", None),
            (b"", Some(Problem::Truncated)),
            (b"{\"a\":", Some(Problem::Truncated)),
            (b"\"abc", Some(Problem::Truncated)),
            (b"[1,]", Some(Problem::Unexpected)),
            (b"{,}", Some(Problem::Unexpected)),
            (b"[1}", Some(Problem::Unexpected)),
            (b"{\"a\" 1}", Some(Problem::Unexpected)),
            (b"{1:2}", Some(Problem::Unexpected)),
            (b"nul", Some(Problem::Unexpected)),
            (b"NaN", Some(Problem::Unexpected)),
            (b"-Infinity", Some(Problem::Number)),
            (b"01", Some(Problem::Number)),
            (b"1.", Some(Problem::Number)),
            (b"1e", Some(Problem::Number)),
            (b"+1", Some(Problem::Unexpected)),
            (b"{}{}", Some(Problem::Trailing)),
            (b"\xef\xbb\xbf{}", Some(Problem::ByteOrderMark)),
            (b"\"\xc0\xaf\"", Some(Problem::Utf8)),
            (b"{\x00\"\x00a\x00", Some(Problem::Unexpected)),
            (b"\"\\ud800\"", Some(Problem::LoneSurrogate)),
            (b"\"\\udc00\\ud800\"", Some(Problem::LoneSurrogate)),
            (b"\"\\ud800\\u0041\"", Some(Problem::LoneSurrogate)),
            (b"\"\\x41\"", Some(Problem::Escape)),
            (b"\"\\u00g0\"", Some(Problem::Escape)),
            (b"\"a\nb\"", Some(Problem::ControlCharacter)),
            (b"9007199254740992", Some(Problem::IntegerRange)),
            (b"18446744073709551617", Some(Problem::IntegerRange)),
            (b"9007199254740991.0", None),
            (b"9e15", None),
            (b"9007199254740993.0", Some(Problem::IntegerRange)),
            (b"-90e15", Some(Problem::IntegerRange)),
            (b"9.99e20", Some(Problem::IntegerRange)),
            (b"1e21", None),
            (b"1e400", Some(Problem::NumberRange)),
            (b"{\"a\":1,\"\\u0061\":2}", Some(Problem::DuplicateKey("a".into()))),
            (b"[{\"x\":{\"k\":1,\"k\":1}}]", Some(Problem::DuplicateKey("k".into()))),
        ];
        for (text, expected) in cases {
            assert_eq!(&problem(text), expected, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn every_character_counts_wherever_it_stands() {
        for byte in 0..=127_u8 {
            for at in 0..20 {
                let mut text = [b'a'; 22];
                (text[0], text[21], text[1 + at]) = (b'"', b'"', byte);
                let expected = match byte {
                    b'"' => Some(Problem::Trailing),
                    // Behind it stands a letter that is an escape, or the last quote.
                    b'\\' => Some(if at < 19 { Problem::Escape } else { Problem::Truncated }),
                    0..0x20 => Some(Problem::ControlCharacter),
                    _ => None,
                };
                let found = Document::parse(Bytes::copy_from_slice(&text), &Limits::default());
                let found = found.err().map(|error| (error.problem, error.offset));
                assert_eq!(found.as_ref().map(|found| &found.0), expected.as_ref(), "{byte:#x} at {at}");
                if byte < 0x20 {
                    assert_eq!(found.map(|found| found.1), Some(1 + at), "{byte:#x}");
                }
            }
        }
        for text in ["\u{7f}ééééééé\u{1f512}", "a\u{80}\u{fff}b", "\u{a0}\u{a2}\u{dc}\u{9f}"] {
            assert_eq!(problem(format!("\"{text}\"").as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_duplicate_among_few_or_many_keys_is_found_too() {
        assert_eq!(problem(br#"{"a":1,"b":2,"aa":3}"#), None);
        let twice = Some(Problem::DuplicateKey("b".into()));
        assert_eq!(problem(br#"{"a":1,"b":2,"c":{"b":1},"b":3}"#), twice);
        let keys: Vec<_> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
        assert_eq!(problem(format!("{{{}}}", keys.join(",")).as_bytes()), None);
        let twice = format!("{{{},\"k\\u0037\":0}}", keys.join(","));
        assert_eq!(problem(twice.as_bytes()), Some(Problem::DuplicateKey("k7".into())));
    }

    #[test]
    fn depth_and_count_are_bounded_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(problem(nested(128).as_bytes()), None);
        assert_eq!(problem(nested(129).as_bytes()), Some(Problem::TooDeep));
        assert_eq!(problem("[".repeat(100_000).as_bytes()), Some(Problem::TooDeep));
        assert_eq!(problem(format!("[{}1]", "1,".repeat(200_000)).as_bytes()), Some(Problem::TooMany));
    }

    #[test]
    fn big_integers_are_kept_as_written_where_asked() {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let text = "12345678901234567890123";
        let document = Document::parse(Bytes::from(text), &limits).expect("exact");
        assert_eq!(document.root().raw(), text);
    }

    #[test]
    fn a_shallow_index_still_checks_what_lies_deeper() {
        let limits = Limits { index_depth: 1, ..Limits::default() };
        let text = r#"{"result":{"content":[{"text":"x"}]},"id":7}"#;
        let document = Document::parse(Bytes::from(text), &limits).expect("valid");
        let result = document.root().get("result").expect("indexed");
        assert_eq!(result.raw(), r#"{"content":[{"text":"x"}]}"#);
        assert_eq!(result.members().count(), 0, "not looked into");
        assert_eq!(document.root().get("id").and_then(|id| id.as_i64()), Some(7));
        let broken = Document::parse(Bytes::from(r#"{"result":{"a":[1,}}"#), &limits);
        assert!(broken.is_err());
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Into::into),
            any::<f64>()
                .prop_filter("safe and finite", |n| n.is_finite() && !is_unsafe_double(*n))
                .prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Where every value lies.
    fn index_of(read: Result<Document, ParseError>) -> Result<String, ParseError> {
        read.map(|document| format!("{:?}", document.nodes))
    }

    fn same(ours: crate::json::Value<'_>, theirs: &serde_json::Value) -> bool {
        match theirs {
            serde_json::Value::Null => ours.is_null(),
            serde_json::Value::Bool(b) => ours.as_bool() == Some(*b),
            serde_json::Value::Number(n) => ours.as_f64() == n.as_f64(),
            serde_json::Value::String(s) => ours.as_str().as_deref() == Some(s),
            serde_json::Value::Array(items) => {
                ours.items().count() == items.len() && ours.items().zip(items).all(|(a, b)| same(a, b))
            }
            serde_json::Value::Object(map) => {
                ours.members().count() == map.len()
                    && ours
                        .members()
                        .all(|(key, value)| map.get(key.as_ref()).is_some_and(|other| same(value, other)))
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_reads_as_another_parser_reads_it(value in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.expect("serialises");
            let document = Document::parse(Bytes::from(text), &Limits::default()).expect("valid");
            prop_assert!(same(document.root(), &value));
        }

        #[test]
        fn where_exact_numbers_are_taken_everything_else_is_read_as_ever(value in any_json(), at in 0_usize..200, byte: u8) {
            let mut bytes = serde_json::to_vec(&value).expect("serialises");
            let at = at % (2 * bytes.len());
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            let limits = Limits::default();
            let strict = index_of(Document::parse(Bytes::from(bytes.clone()), &limits));
            let mut asked = false;
            let exact = || {
                asked = true;
                true
            };
            let exact = Document::parse_exact_if(Bytes::from(bytes), &limits, exact);
            let is_beyond = matches!(&strict, Err(error) if error.problem == Problem::IntegerRange);
            prop_assert_eq!(asked, is_beyond);
            if !is_beyond {
                prop_assert!(exact.as_ref().is_ok_and(|(_, refused)| refused.is_none()) || exact.is_err());
                prop_assert_eq!(index_of(exact.map(|(document, _)| document)), strict);
            }
        }

        #[test]
        fn no_bytes_make_it_panic_and_what_it_accepts_others_accept(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if Document::parse(Bytes::from(bytes.clone()), &Limits::default()).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            }
        }

        #[test]
        fn cut_or_altered_json_never_panics(value in any_json(), at in 0_usize..200, byte: u8) {
            let mut bytes = serde_json::to_vec(&value).expect("serialises");
            let at = at % bytes.len();
            bytes[at] = byte;
            if Document::parse(Bytes::from(bytes.clone()), &Limits::default()).is_ok() {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
            }
        }
    }
}
