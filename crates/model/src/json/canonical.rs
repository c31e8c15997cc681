//! Canonical JSON (RFC 8785): the form that digests are taken over.

use super::{Kind, Value, number_text, push_string};

/// Writes `value` with sorted keys, no white space and one spelling per value.
pub fn canonical(value: Value<'_>) -> String {
    let mut out = String::with_capacity(value.span().len());
    push(&mut out, value);
    out
}

/// Recursion is bounded by the depth limit of the reader.
fn push(out: &mut String, value: Value<'_>) {
    match value.kind() {
        Kind::Null | Kind::Bool => out.push_str(value.raw()),
        Kind::Number => out.push_str(&number_text(value.raw())),
        Kind::String => push_string(out, &value.as_str().unwrap_or_default()),
        Kind::Array => {
            out.push('[');
            for (at, item) in value.items().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push(out, item);
            }
            out.push(']');
        }
        Kind::Object => {
            let mut members: Vec<_> = value.members().collect();
            // RFC 8785 sorts by UTF-16 code units, which differs from byte order
            // only for characters beyond the basic plane.
            members.sort_by(|(a, _), (b, _)| {
                if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
            });
            out.push('{');
            for (at, (key, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_string(out, &key);
                out.push(':');
                push(out, member);
            }
            out.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::json::{Document, Limits, Numbers};

    #[test]
    fn equal_values_have_equal_bytes() {
        let cases = [
            (r#"{ "b" : 1.0, "a":[ true , "\u0041" ] }"#, r#"{"a":[true,"A"],"b":1}"#),
            // The example of RFC 8785, section 3.2.3: order by UTF-16 units.
            (
                r#"{"\u20ac":"Euro","\r":"CR","\ufb33":"Dalet","1":"One","\ud83d\ude00":"Smiley","\u0080":"Control","\u00f6":"o"}"#,
                "{\"\\r\":\"CR\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"o\",\"€\":\"Euro\",\"😀\":\"Smiley\",\"\u{fb33}\":\"Dalet\"}",
            ),
        ];
        for (text, expected) in cases {
            let document = Document::parse(Bytes::from(text), &Limits::default()).expect("valid");
            assert_eq!(canonical(document.root()), expected);
        }
    }

    #[test]
    fn different_integers_never_have_one_spelling() {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let spelled = |text: String| {
            let document = Document::parse(Bytes::from(text), &limits).expect("valid");
            canonical(document.root())
        };
        let around = |middle: u128| (middle - 40..middle + 40).flat_map(|n| [n.to_string(), format!("-{n}")]);
        let integers: Vec<_> = [1 << 53, 1 << 63, 1 << 64, 12_345_678_901_234_567_890_123]
            .into_iter()
            .flat_map(around)
            .chain(["0".to_owned()])
            .collect();
        let spellings: Vec<_> = integers.iter().cloned().map(spelled).collect();
        assert_eq!(spellings, integers);
    }
}
