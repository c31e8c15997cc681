//! JSON into a tree: the same strict reading that calls get.

use bytes::Bytes;
use doorward_model::json::{Document, Kind, Limits, Value as Json};

use super::tree::{Key, Malformed, Mark, Node, Scalar, Style, Value};

/// Reads one JSON value.
///
/// # Errors
/// [`Malformed`] with the place and what is wrong there.
pub fn parse(text: &str) -> Result<Node, Malformed> {
    let lines = Lines::of(text);
    let limits = Limits { depth: 64, ..Limits::default() };
    match Document::parse(Bytes::copy_from_slice(text.as_bytes()), &limits) {
        Ok(document) => Ok(node(document.root(), &lines)),
        Err(error) => Err(Malformed { mark: lines.mark(error.offset), problem: error.problem.to_string() }),
    }
}

fn node(value: Json<'_>, lines: &Lines<'_>) -> Node {
    let scalar = |text: String, style| Value::Scalar(Scalar { text, style });
    let content = match value.kind() {
        Kind::Array => Value::List(value.items().map(|item| node(item, lines)).collect()),
        Kind::Object => {
            Value::Map(value.members().map(|(key, value)| entry(key.into_owned(), value, lines)).collect())
        }
        Kind::String => scalar(value.as_str().unwrap_or_default().into_owned(), Style::Quoted),
        Kind::Null | Kind::Bool | Kind::Number => scalar(value.raw().to_owned(), Style::Plain),
    };
    let end = match &content {
        Value::Scalar(_) => value.span().end,
        Value::List(_) | Value::Map(_) => value.span().end - 1,
    };
    Node { mark: lines.mark(value.span().start), end, value: content }
}

fn entry(text: String, value: Json<'_>, lines: &Lines<'_>) -> (Key, Node) {
    let node = node(value, lines);
    // The reader does not tell where a key stands; its value is near enough.
    (Key { text, mark: node.mark }, node)
}

/// Where lines start.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(ends).collect() }
    }

    fn mark(&self, offset: usize) -> Mark {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Mark { line, column, offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_with_its_lines() {
        let root =
            parse("{\n  \"port\": 3100,\n  \"servers\": [\n    {\"id\": \"a\"}\n  ]\n}").expect("valid");
        assert_eq!(root.get("servers").expect("present").items()[0].mark.line, 4);
        let twice = parse("{\"a\": 1,\n\"a\": 2}").expect_err("twice");
        assert_eq!((twice.mark.line, twice.problem.as_str()), (2, "duplicate key \"a\""));
    }
}
