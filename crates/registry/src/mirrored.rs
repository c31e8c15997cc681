//! Arguments that travel in headers as well: `x-mcp-header` (2026-07-28, Streamable
//! HTTP, "Custom headers from tool parameters").

use doorward_model::json::{Kind, Value};

/// What stands before the name that a schema gives.
const PREFIX: &str = "mcp-param-";

/// How deep a schema is looked into.
const DEEPEST: usize = 16;
/// The largest integer that every reader of JSON reads alike: 2^53 - 1.
const SAFE: f64 = 9_007_199_254_740_991.0;

/// An argument that `Mcp-Param-<name>` repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// The whole name of the header, in lower case.
    pub header: String,
    /// Where the argument is: members from `arguments` inwards.
    pub path: Vec<String>,
}

/// The annotations of a schema break the rules: nobody may call such a tool over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Every annotation of an `inputSchema`.
pub(crate) fn mirrored(schema: Value<'_>) -> Result<Vec<Mirrored>, Invalid> {
    // Nearly no schema has any; of those that do, one that stands where it may not is
    // found by its being there at all.
    let written = schema.raw().matches("\"x-mcp-header\"").count();
    if written == 0 {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    properties(schema, &mut Vec::new(), &mut found)?;
    let mut headers: Vec<_> = found.iter().map(|mirrored| &mirrored.header).collect();
    headers.sort_unstable();
    headers.dedup();
    if headers.len() != found.len() || found.len() != annotations(schema, 0) {
        return Err(Invalid);
    }
    Ok(found)
}

/// What is reached through `properties` alone, and so stands at one known place.
fn properties(schema: Value<'_>, path: &mut Vec<String>, found: &mut Vec<Mirrored>) -> Result<(), Invalid> {
    if path.len() > DEEPEST {
        return Err(Invalid);
    }
    for (key, property) in schema.get("properties").into_iter().flat_map(Value::members) {
        path.push(key.into_owned());
        if let Some(name) = property.get("x-mcp-header") {
            let name = name.as_str().filter(|name| is_token(name)).ok_or(Invalid)?;
            let kind = property.get("type").and_then(Value::as_str);
            if !matches!(kind.as_deref(), Some("string" | "integer" | "boolean")) {
                return Err(Invalid);
            }
            let header = format!("{PREFIX}{}", name.to_ascii_lowercase());
            found.push(Mirrored { header, path: path.clone() });
        }
        properties(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// How many annotations there are anywhere. One that is a property of that name is none.
fn annotations(value: Value<'_>, depth: usize) -> usize {
    if depth > 64 {
        return usize::MAX / 2;
    }
    let own = usize::from(value.get("x-mcp-header").is_some_and(|name| name.kind() == Kind::String));
    let inner = value.members().map(|(_, member)| member).chain(value.items());
    inner
        .filter(|inner| matches!(inner.kind(), Kind::Object | Kind::Array))
        .fold(own, |sum, inner| sum.saturating_add(annotations(inner, depth + 1)))
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_token_char = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_token_char)
}

impl Mirrored {
    /// The argument as the header says it; `None` where there is none to say.
    pub fn value(&self, arguments: Option<Value<'_>>) -> Option<String> {
        let found = self.find(arguments)?;
        match found.kind() {
            Kind::String => found.as_str().map(|text| text.into_owned()),
            Kind::Bool => found.as_bool().map(|value| value.to_string()),
            Kind::Number => integer(found.as_f64()?),
            _ => None,
        }
    }

    /// Whether the argument is an integer that no header may say: beyond ±(2^53−1).
    pub fn is_unsayable(&self, arguments: Option<Value<'_>>) -> bool {
        let found = self.find(arguments).filter(|found| found.kind() == Kind::Number);
        found.is_some_and(|found| found.unsafe_integers().next().is_some())
    }

    fn find<'a>(&self, arguments: Option<Value<'a>>) -> Option<Value<'a>> {
        self.path.iter().try_fold(arguments?, |value, member| value.get(member))
    }

    /// Whether a header's text, decoded, says the same as the argument's.
    pub fn agrees(said: &str, argument: &str) -> bool {
        // Digits behind the point that are not zero may be lost in a double.
        let whole = match said.split_once('.') {
            Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|c| c == b'0') => whole,
            _ => said,
        };
        let number = || integer_text(whole).then(|| whole.parse().ok().and_then(integer)).flatten();
        said == argument || (integer_text(argument) && number().as_deref() == Some(argument))
    }
}

fn integer_text(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())
}

fn integer(number: f64) -> Option<String> {
    (number.fract() == 0.0 && number.abs() <= SAFE).then(|| format!("{number:.0}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits, Numbers};

    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("valid")
    }

    #[test]
    fn annotations_count_only_where_they_may_stand() {
        let nested = r#"{"properties":{"a":{"type":"object","properties":{"b":{"type":"integer","x-mcp-header":"B"}}}}}"#;
        let cases = [
            (r#"{"properties":{"a":{"type":"string"}}}"#, Some(0)),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":"Region"}}}"#, Some(1)),
            (nested, Some(1)),
            (r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#, Some(0)),
            (r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#, None),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#, None),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#, None),
            (r#"{"properties":{"a":{"type":"string","x-mcp-header":7}}}"#, None),
            (
                r#"{"properties":{"a":{"type":"string","x-mcp-header":"X"},"b":{"type":"string","x-mcp-header":"x"}}}"#,
                None,
            ),
            (r#"{"properties":{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}}"#, None),
            (r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#, None),
        ];
        for (schema, expected) in cases {
            let schema = document(schema);
            let found = mirrored(schema.root()).ok().map(|found| found.len());
            assert_eq!(found, expected, "{}", schema.root().raw());
        }
    }

    #[test]
    fn no_header_says_an_integer_that_is_not_safe() {
        let mirrored = |member: &str| Mirrored { header: String::new(), path: vec![member.to_owned()] };
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let text = r#"{"safe":9007199254740991,"next":9007199254740992,"below":-9007199254740993,"text":"9007199254740993","in":{"n":9007199254740993}}"#;
        let arguments = Document::parse(Bytes::from(text), &limits).expect("valid");
        for (member, unsayable) in [
            ("safe", false),
            ("next", true),
            ("below", true),
            ("text", false),
            ("in", false),
            ("none", false),
        ] {
            let mirrored = mirrored(member);
            assert_eq!(mirrored.is_unsayable(Some(arguments.root())), unsayable, "{member}");
            assert!(!unsayable || mirrored.value(Some(arguments.root())).is_none(), "{member}");
        }
    }

    #[test]
    fn a_header_says_what_the_argument_says() {
        let at = |path: &[&str]| Mirrored {
            header: String::new(),
            path: path.iter().map(|member| (*member).to_owned()).collect(),
        };
        let arguments = document(r#"{"s":"é x","i":42.0,"b":true,"n":null,"o":{"p":-7},"f":1.5}"#);
        let cases = [
            (at(&["s"]), Some("é x")),
            (at(&["i"]), Some("42")),
            (at(&["b"]), Some("true")),
            (at(&["n"]), None),
            (at(&["o", "p"]), Some("-7")),
            (at(&["f"]), None),
            (at(&["none"]), None),
        ];
        for (mirrored, expected) in cases {
            assert_eq!(mirrored.value(Some(arguments.root())).as_deref(), expected, "{mirrored:?}");
        }
        assert!(Mirrored::agrees("42.0", "42") && Mirrored::agrees("a", "a"));
        assert!(!Mirrored::agrees("43", "42") && !Mirrored::agrees("A", "a") && !Mirrored::agrees("", "42"));
        for lie in ["9007199254740991.4", "9007199254740991.", "9007199254740992", "9007199254740991e0"] {
            assert!(!Mirrored::agrees(lie, "9007199254740991"), "{lie}");
        }
    }
}
