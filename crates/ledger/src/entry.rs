//! Reading back what the log itself wrote.
//!
//! Entries are canonical JSON, so their outermost members can be told apart by
//! looking at quotes and brackets alone. That is several times faster than a strict
//! parse, and enough for an index, which decides nothing: whoever must be certain
//! (`verify`, recovery) parses strictly and checks the hashes.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// The outermost members of an entry, each with its value as written.
pub(crate) struct Members<'a> {
    entry: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    pub(crate) fn of(entry: &'a [u8]) -> Self {
        Self { entry, at: 0 }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], Raw<'a>);

    /// The next member. Ends early at what no entry of this log can hold.
    fn next(&mut self) -> Option<Self::Item> {
        // Behind `{` or `,`, a key without escapes, and a colon.
        let [b'{' | b',', b'"', rest @ ..] = self.entry.get(self.at..)? else { return None };
        let key = self.at + 2;
        let end = key + rest.iter().position(|byte| *byte == b'"')?;
        let value = end + 2;
        if self.entry.get(end + 1) != Some(&b':') {
            return None;
        }
        self.at = end_of(self.entry, value)?;
        Some((&self.entry[key..end], Raw { entry: self.entry, start: value, end: self.at }))
    }
}

/// A value as written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    entry: &'a [u8],
    start: usize,
    end: usize,
}

impl<'a> Raw<'a> {
    /// The value that stands there in an entry; `None` for an empty span.
    pub(crate) fn at(entry: &'a [u8], (start, end): (u32, u32)) -> Option<Self> {
        let (start, end) = (start as usize, end as usize);
        (start < end && end <= entry.len()).then_some(Self { entry, start, end })
    }

    /// Where the value stands in its entry. An entry beyond four gigabytes has no values.
    pub(crate) fn span(self) -> (u32, u32) {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(0);
        (narrow(self.start), narrow(self.end))
    }

    fn bytes(self) -> &'a [u8] {
        &self.entry[self.start..self.end]
    }

    /// JSON text.
    pub(crate) fn json(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes())
    }

    /// The text of a string; `None` for anything else.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        match memchr(b'\\', inner) {
            None => Some(String::from_utf8_lossy(inner)),
            Some(_) => serde_json::from_slice(self.bytes()).ok().map(Cow::Owned),
        }
    }

    /// A whole number; `None` for anything else.
    pub(crate) fn number(self) -> Option<i64> {
        std::str::from_utf8(self.bytes()).ok()?.parse().ok()
    }

    /// A member of an object.
    pub(crate) fn get(self, key: &str) -> Option<Raw<'a>> {
        Members::of(self.bytes()).find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }
}

/// Where the value that begins at `start` ends.
fn end_of(entry: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match entry.get(at)? {
            b'"' => at = end_of_string(entry, at + 1)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' if depth == 0 => return Some(at),
            _ => at += 1,
        }
        if depth == 0 && matches!(entry.get(at), Some(b',' | b'}' | b']')) {
            return Some(at);
        }
    }
}

/// How many bytes of a string are looked at one by one.
const SHORT: usize = 12;

/// Where the string ends whose first character is at `start`.
fn end_of_string(entry: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    // Most strings are short, and a search that looks at many bytes at a time takes
    // longer to begin than they are.
    for byte in entry.get(at..)?.iter().take(SHORT) {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => break,
            _ => at += 1,
        }
    }
    loop {
        at += memchr2(b'"', b'\\', entry.get(at..)?)?;
        if entry[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits, Numbers, canonical};
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[\\PC\"\\\\{}\\[\\],:\n]{0,12}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn members_are_those_that_a_strict_parse_finds(
            members in prop::collection::btree_map("[a-z_]{1,6}", json(), 0..8)
        ) {
            let whole: serde_json::Value = members.clone().into_iter().collect::<serde_json::Map<_, _>>().into();
            let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
            let document = Document::parse(Bytes::from(whole.to_string()), &limits).expect("valid");
            let entry = canonical(document.root());
            let found: Vec<_> = Members::of(entry.as_bytes()).collect();
            prop_assert_eq!(found.len(), members.len());
            for (key, value) in found {
                let expected = &members[std::str::from_utf8(key).expect("text")];
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&value.json()).expect("valid"), expected);
                let text = value.text();
                prop_assert_eq!(text.as_deref(), expected.as_str());
                prop_assert_eq!(value.number(), expected.as_i64());
            }
        }

        #[test]
        fn nothing_makes_it_fail(bytes in prop::collection::vec(prop::sample::select(br#"{}[]",:\a1"#.to_vec()), 0..40)) {
            for (_, value) in Members::of(&bytes) {
                let _ = (value.text(), value.number(), value.json(), value.get("a"));
            }
        }
    }
}
