//! The one strict reading of JSON (RFC 8259, narrowed by I-JSON, RFC 7493).
//!
//! A body is read once, into a [`Document`]: the bytes as received and an index
//! of where each value starts and ends. Policy decides on it, the ledger digests
//! it, and what a server receives is cut from the very same bytes; so nobody can
//! be shown another message than the one that was judged.
//!
//! Refused, because real parsers disagree about them: byte order marks, invalid
//! UTF-8, lone surrogates, duplicate keys (compared after unescaping), `NaN`,
//! numbers beyond double range, integers beyond ±(2^53−1), and whatever is deeper
//! or longer than the [`Limits`].

mod canonical;
mod indent;
mod read;
mod write;

pub use canonical::canonical;
pub use indent::indented;
pub use read::{Limits, Numbers, ParseError, Problem};
pub use write::{number_text, push_hex, push_ip, push_number, push_string, quoted};

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;

/// What kind of value stands at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number
    Number,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

/// One value of the index. Children follow their parent; `next` steps over them.
#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    /// For strings: whether the text holds an escape and must be unescaped.
    escaped: bool,
    start: u32,
    end: u32,
    next: u32,
}

/// A parsed message: its bytes and where every value lies in them.
#[derive(Clone, Debug)]
pub struct Document {
    /// Known to be UTF-8, so that no look at a value has to check it again.
    text: ByteString,
    nodes: Vec<Node>,
}

impl Document {
    /// Reads one JSON value, strictly.
    ///
    /// # Errors
    /// [`ParseError`] with the byte offset and what is wrong there.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, ParseError> {
        let text = read::text(bytes)?;
        let nodes = read::index(&text, limits)?;
        Ok(Self { text, nodes })
    }

    /// Reads one JSON value that may hold integers beyond ±(2^53−1) if `exact` says so,
    /// which is asked only when there is one. With the value comes why [`parse`](Self::parse)
    /// would have refused it.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), word for word.
    pub fn parse_exact_if(
        bytes: Bytes,
        limits: &Limits,
        exact: impl FnOnce() -> bool,
    ) -> Result<(Self, Option<ParseError>), ParseError> {
        let text = read::text(bytes)?;
        let refused = match read::index(&text, limits) {
            Ok(nodes) => return Ok((Self { text, nodes }, None)),
            Err(refused) => refused,
        };
        if refused.problem != Problem::IntegerRange || !exact() {
            return Err(refused);
        }
        match read::index(&text, &Limits { numbers: Numbers::Exact, ..*limits }) {
            Ok(nodes) => Ok((Self { text, nodes }, Some(refused))),
            Err(_) => Err(refused),
        }
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value { document: self, at: 0 }
    }

    /// The bytes as received.
    pub fn bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// The part of the bytes that holds `value`, sharing their memory.
    pub fn slice(&self, value: Value<'_>) -> Bytes {
        self.text.as_bytes().slice(value.span())
    }
}

/// A value inside a [`Document`].
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    at: u32,
}

impl<'a> Value<'a> {
    fn node(self) -> &'a Node {
        &self.document.nodes[self.at as usize]
    }

    /// What kind of value this is.
    pub fn kind(self) -> Kind {
        self.node().kind
    }

    /// Where the value lies in the document's bytes.
    pub fn span(self) -> Range<usize> {
        self.node().start as usize..self.node().end as usize
    }

    /// The value exactly as received.
    pub fn raw(self) -> &'a str {
        // Values start and end on ASCII characters, so this is always there.
        self.document.text.get(self.span()).unwrap_or_default()
    }

    /// Whether this is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// Whether this is an object.
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    /// A string as written, without its quotes.
    fn inner(self) -> &'a str {
        let span = self.span();
        self.document.text.get(span.start + 1..span.end.saturating_sub(1)).unwrap_or_default()
    }

    /// The text of a string, unescaped; `None` for anything else.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        if self.kind() != Kind::String {
            return None;
        }
        let inner = self.inner();
        Some(if self.node().escaped { Cow::Owned(read::unescape(inner)) } else { Cow::Borrowed(inner) })
    }

    /// `true` or `false`; `None` for anything else.
    pub fn as_bool(self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| self.raw() == "true")
    }

    /// The number as a double; `None` for anything else.
    pub fn as_f64(self) -> Option<f64> {
        if self.kind() == Kind::Number { self.raw().parse().ok() } else { None }
    }

    /// The number, if it is written as an integer that fits; `None` for anything else.
    pub fn as_i64(self) -> Option<i64> {
        if self.kind() == Kind::Number { self.raw().parse().ok() } else { None }
    }

    /// The integers beyond ±(2^53−1) in this value, as far as it is indexed; those of a
    /// document that was read with [`Numbers::Safe`] are none.
    pub fn unsafe_integers(self) -> impl Iterator<Item = Value<'a>> {
        let document = self.document;
        (self.at..self.node().next)
            .map(move |at| Value { document, at })
            .filter(|value| value.kind() == Kind::Number && read::is_unsafe_integer(value.raw()))
    }

    /// The member of an object with this key.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let mut members = self.members();
        while members.at < members.end {
            let name = Value { document: self.document, at: members.at };
            let value = Value { document: self.document, at: members.at + 1 };
            members.at = value.node().next;
            let same = if name.node().escaped {
                name.as_str().is_some_and(|name| name == key)
            } else {
                name.inner() == key
            };
            if same {
                return Some(value);
            }
        }
        None
    }

    /// The members of an object in the order received; nothing for other kinds.
    pub fn members(self) -> Members<'a> {
        let end = if self.is_object() { self.node().next } else { 0 };
        Members { document: self.document, at: self.at + 1, end }
    }

    /// The elements of an array in order; nothing for other kinds.
    pub fn items(self) -> Items<'a> {
        let end = if self.kind() == Kind::Array { self.node().next } else { 0 };
        Items { document: self.document, at: self.at + 1, end }
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.raw())
    }
}

/// Iterator over the members of an object.
pub struct Members<'a> {
    document: &'a Document,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let key = Value { document: self.document, at: self.at };
        let value = Value { document: self.document, at: self.at + 1 };
        self.at = value.node().next;
        Some((key.as_str().unwrap_or_default(), value))
    }
}

/// Iterator over the elements of an array.
pub struct Items<'a> {
    document: &'a Document,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let value = Value { document: self.document, at: self.at };
        self.at = value.node().next;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Document {
        Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect(text)
    }

    #[test]
    fn a_text_is_read_exactly_only_where_nothing_else_is_wrong_with_it() {
        let beyond = Some(Problem::IntegerRange);
        let cases = [
            // text, what `parse` says, whether it is read all the same
            (r#"{"a":9007199254740991}"#, None, true),
            (r#"{"a":9007199254740992}"#, beyond.clone(), true),
            (r#"{"a":[-12345678901234567890123]}"#, beyond.clone(), true),
            (r#"{"a":9007199254740993,"a":1}"#, beyond.clone(), false),
            (r#"{"a":9007199254740993,"b":1e400}"#, beyond.clone(), false),
            (r#"{"a":9007199254740993}}"#, beyond, false),
            (r#"{"a":1,"a":9007199254740993}"#, None, false),
            ("nul", Some(Problem::Unexpected), false),
        ];
        for (text, expected, read) in cases {
            let limits = Limits::default();
            let strictly = Document::parse(Bytes::from(text), &limits);
            let strict = strictly.as_ref().err().cloned();
            if let Some(expected) = expected {
                assert_eq!(strict.as_ref().map(|error| &error.problem), Some(&expected), "{text}");
            }
            let is_unsafe = strict.as_ref().is_some_and(|error| error.problem == Problem::IntegerRange);
            let mut asked = false;
            let exactly = Document::parse_exact_if(Bytes::from(text), &limits, || {
                asked = true;
                true
            });
            assert_eq!(asked, is_unsafe, "asked only where it matters: {text}");
            match exactly {
                Ok((document, refused)) => {
                    assert!(read, "{text}");
                    assert_eq!((document.root().raw(), refused), (text, strict.clone()));
                }
                Err(error) => {
                    assert!(!read, "{text}");
                    assert_eq!(Some(error), strict, "the words are those of a strict reading");
                }
            }
            let never = Document::parse_exact_if(Bytes::from(text), &limits, || false);
            assert_eq!(never.err(), strict, "{text}");
        }
    }

    #[test]
    fn integers_that_are_not_safe_are_found_where_they_stand() {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let text = r#"{"a":[9007199254740991,9007199254740992,{"b":-9007199254740993}],"9007199254740993":"9007199254740993","c":9007199254740993.0,"d":1e30}"#;
        let document = Document::parse(Bytes::from(text), &limits).expect("valid");
        let found =
            |value: Value<'_>| value.unsafe_integers().map(|it| it.raw().to_owned()).collect::<Vec<_>>();
        let root = document.root();
        assert_eq!(found(root), ["9007199254740992", "-9007199254740993", "9007199254740993.0"]);
        assert_eq!(found(root.get("a").expect("present")), ["9007199254740992", "-9007199254740993"]);
        assert_eq!(found(root.get("d").expect("present")), Vec::<String>::new());
        let inner = root.get("a").and_then(|a| a.items().nth(1)).expect("present");
        assert_eq!(found(inner), ["9007199254740992"], "a number is all there is to it");
    }

    #[test]
    fn members_and_items_are_found_where_they_lie() {
        let text = r#"{"a":[1, {"b":"x\u00e9\n"}],"c":{"d":null,"e":true},"f":-2.5e1}"#;
        let document = parse(text);
        let root = document.root();
        let inner = root.get("a").and_then(|a| a.items().nth(1)).and_then(|o| o.get("b"));
        assert_eq!(inner.and_then(Value::as_str).as_deref(), Some("xé\n"));
        assert_eq!(inner.map(Value::raw), Some(r#""x\u00e9\n""#));
        assert_eq!(root.get("c").map(Value::raw), Some(r#"{"d":null,"e":true}"#));
        assert_eq!(root.get("c").and_then(|c| c.get("e")).and_then(Value::as_bool), Some(true));
        assert_eq!(root.get("f").and_then(Value::as_f64), Some(-25.0));
        assert_eq!(root.get("f").and_then(Value::as_i64), None);
        assert!(root.get("d").is_none(), "a key of another object");
        assert_eq!(root.members().map(|(key, _)| key.into_owned()).collect::<Vec<_>>(), ["a", "c", "f"]);
        assert_eq!(document.slice(root.get("a").expect("present")), r#"[1, {"b":"x\u00e9\n"}]"#.as_bytes());
        assert_eq!(parse("[]").root().items().count(), 0);
        assert_eq!(parse("{}").root().members().count(), 0);
        assert_eq!(parse("3").root().items().count(), 0, "a number has no elements");
    }
}
