//! YAML 1.2 into a tree.
//!
//! Refused, because people and parsers disagree about them: several documents in one
//! file, keys that appear twice or are no scalars, and tags other than the core
//! schema's. Aliases are copied, up to a bound on the whole tree.

use std::collections::{HashMap, HashSet};

use serde_saphyr::granit_parser::{Event, Marker, Options, Parser, ScalarStyle, StrInput, Tag};

use super::tree::{Key, Malformed, Mark, Node, Scalar, Style, Value};

/// Most nodes of a document, aliases expanded.
const MAX_NODES: usize = 200_000;

/// Deepest nesting.
const MAX_DEPTH: usize = 64;

/// Reads one document. An empty text is an empty map.
///
/// # Errors
/// [`Malformed`] with the place and what is wrong there.
pub fn parse(text: &str) -> Result<Node, Malformed> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        end: 0,
    };
    builder.document()
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Anchored nodes and their sizes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// Where the last event ended, in bytes.
    end: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Malformed> {
        let mut root: Option<Node> = None;
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => return fail(mark, "a second document"),
                Event::DocumentStart(..) => {
                    let (event, mark) = self.next()?;
                    root = Some(self.node(event, mark, 0)?);
                }
                Event::StreamEnd => break,
                _ => return fail(mark, "text outside of the document"),
            }
        }
        let empty =
            Node { mark: Mark { line: 1, column: 1, offset: 0 }, end: 0, value: Value::Map(Vec::new()) };
        Ok(root.filter(|root| !root.is_null()).unwrap_or(empty))
    }

    fn next(&mut self) -> Result<(Event<'a>, Mark), Malformed> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.end = span.end.byte_offset().unwrap_or_default();
                Ok((event, mark(span.start)))
            }
            Some(Err(error)) => fail(mark(*error.marker()), error.info()),
            None => fail(Mark::default(), "the text ends too early"),
        }
    }

    fn node(&mut self, event: Event<'a>, mark: Mark, depth: usize) -> Result<Node, Malformed> {
        if depth > MAX_DEPTH {
            return fail(mark, "nested too deep");
        }
        let before = self.nodes;
        let mut end = self.end;
        self.count(1, mark)?;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let style = scalar_style(style, tag.as_deref(), mark)?;
                (anchor, Value::Scalar(Scalar { text: text.into_owned(), style }))
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", mark)?;
                let (items, at) = self.items(depth)?;
                end = at;
                (anchor, Value::List(items))
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", mark)?;
                let (entries, at) = self.entries(depth)?;
                end = at;
                (anchor, Value::Map(entries))
            }
            Event::Alias(anchor) => {
                // An alias inside its own anchor is not there yet.
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return fail(mark, "an alias to something that contains it");
                };
                self.count(size, mark)?;
                return Ok(Node { mark, end, value: node.value });
            }
            _ => return fail(mark, "a value is missing"),
        };
        let node = Node { mark, end, value };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    /// The elements, and where the closing bracket stands.
    fn items(&mut self, depth: usize) -> Result<(Vec<Node>, usize), Malformed> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, mark) => return Ok((items, mark.offset)),
                (event, mark) => items.push(self.node(event, mark, depth + 1)?),
            }
        }
    }

    /// The entries, and where the closing bracket stands.
    fn entries(&mut self, depth: usize) -> Result<(Vec<(Key, Node)>, usize), Malformed> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (text, at) = match self.next()? {
                (Event::MappingEnd, mark) => return Ok((entries, mark.offset)),
                (Event::Scalar(text, ..), at) => (text.into_owned(), at),
                (_, at) => return fail(at, "a key must be a plain text"),
            };
            if !seen.insert(text.clone()) {
                return fail(at, format!("the key `{text}` appears twice"));
            }
            let (event, mark) = self.next()?;
            let value = self.node(event, mark, depth + 1)?;
            entries.push((Key { text, mark: at }, value));
        }
    }

    fn count(&mut self, nodes: usize, mark: Mark) -> Result<(), Malformed> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES { fail(mark, "the document is too large") } else { Ok(()) }
    }
}

fn scalar_style(style: ScalarStyle, tag: Option<&Tag>, mark: Mark) -> Result<Style, Malformed> {
    match tag.map(Tag::core_suffix) {
        None if style == ScalarStyle::Plain => Ok(Style::Plain),
        None | Some(Some("str")) => Ok(Style::Quoted),
        Some(Some("int" | "float" | "bool" | "null")) => Ok(Style::Plain),
        Some(_) => fail(mark, "tags have no meaning here"),
    }
}

fn refuse_tag(tag: Option<&Tag>, natural: &str, mark: Mark) -> Result<(), Malformed> {
    match tag.map(Tag::core_suffix) {
        None => Ok(()),
        Some(Some(suffix)) if suffix == natural => Ok(()),
        Some(_) => fail(mark, "tags have no meaning here"),
    }
}

fn mark(marker: Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1, offset: marker.byte_offset().unwrap_or_default() }
}

fn fail<T>(mark: Mark, problem: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed { mark, problem: problem.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_trees_that_know_their_lines() {
        let root =
            parse("# top\nport: 3100\nservers:\n  - id: a\n    args: [x, \"1\"]\n  - &b {id: b}\n  - *b\n")
                .expect("valid");
        let servers = root.get("servers").expect("present").items();
        assert_eq!(servers.len(), 3);
        assert_eq!(servers[0].mark.line, 4);
        assert_eq!(servers[0].get("args").expect("present").items()[1].text(), Some("1"));
        assert_eq!(servers[1], servers[2], "an alias is a copy");
        assert_eq!(root.get("port").and_then(Node::text), Some("3100"));
        assert_eq!(parse("").expect("empty").value_count(), 0);
        assert_eq!(parse("# nothing\n").expect("empty").value_count(), 0);
    }

    #[test]
    fn what_readers_disagree_about_is_refused() {
        let bomb = format!(
            "a0: &a0 [x]\n{}",
            (1..30).map(|n| format!("a{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1)).collect::<String>()
        );
        let deep = "[".repeat(100) + &"]".repeat(100);
        let cases = [
            ("a: 1\nb: 2\na: 3\n", 3, "the key `a` appears twice"),
            ("a: 1\n---\nb: 2\n", 2, "a second document"),
            ("a: !secret x\n", 1, "tags have no meaning here"),
            ("[a]: b\n", 1, "a key must be a plain text"),
            ("&a [*a]\n", 1, "an alias to something that contains it"),
            (&bomb, 16, "the document is too large"),
            (&deep, 1, "nested too deep"),
        ];
        for (text, line, problem) in cases {
            let malformed = parse(text).expect_err(problem);
            assert_eq!(malformed.problem, problem);
            assert_eq!(malformed.mark.line, line, "{problem}");
        }
        for text in ["a: [1", "a: b: c", "a: *nowhere", "a: \"x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    impl Node {
        fn value_count(&self) -> usize {
            match &self.value {
                Value::Map(entries) => entries.len(),
                _ => usize::MAX,
            }
        }
    }
}
