//! Changing parts of a JSON text and leaving every other byte as it is.

use std::borrow::Cow;

use doorward_model::json::{Document, Value};

/// Changes to one document, collected and made at once.
pub struct Edits<'a> {
    document: &'a Document,
    /// Where, and by what; in no order, never overlapping.
    changes: Vec<(std::ops::Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    /// No changes yet.
    pub fn new(document: &'a Document) -> Self {
        Self { document, changes: Vec::new() }
    }

    /// Puts `text`, which is JSON, in the place of a value of the document.
    pub fn replace(&mut self, value: Value<'_>, text: impl Into<String>) {
        self.changes.push((value.span(), text.into()));
    }

    /// The text with all changes made.
    pub fn made(mut self) -> Cow<'a, str> {
        let root = self.document.root();
        let (text, start) = (root.raw(), root.span().start);
        if self.changes.is_empty() {
            return Cow::Borrowed(text);
        }
        self.changes.sort_by_key(|(span, _)| span.start);
        let mut out = String::with_capacity(text.len() + 64);
        let mut at = 0;
        for (span, replacement) in &self.changes {
            let (from, to) = (span.start - start, span.end - start);
            out.push_str(&text[at..from]);
            out.push_str(replacement);
            at = to;
        }
        out.push_str(&text[at..]);
        Cow::Owned(out)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::Limits;

    use super::*;

    #[test]
    fn what_is_not_changed_stays_as_it_was() {
        let text = r#" { "a" : 1.50, "b":[ true,"x" ] } "#;
        let document =
            Document::parse(Bytes::from_static(text.as_bytes()), &Limits::default()).expect("valid");
        assert_eq!(Edits::new(&document).made(), r#"{ "a" : 1.50, "b":[ true,"x" ] }"#);
        let mut edits = Edits::new(&document);
        let list = document.root().get("b").expect("there");
        edits.replace(list.items().nth(1).expect("there"), "\"longer\"");
        edits.replace(document.root().get("a").expect("there"), "{}");
        assert_eq!(edits.made(), r#"{ "a" : {}, "b":[ true,"longer" ] }"#);
    }
}
