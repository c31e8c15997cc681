//! JSON as Rego values. Numbers keep their exact value, and a number has one
//! value however it is spelled (`5`, `5.0`, `5e0`), so that a recorded input
//! decides as the original did.

use std::collections::BTreeMap;

use doorward_model::json::{Kind, Value, number_text};
use regorus::Value as RegoValue;

/// The Rego value of a JSON value. Recursion is bounded by the reader's depth limit.
pub(crate) fn from_json(value: Value<'_>) -> RegoValue {
    match value.kind() {
        Kind::Null => RegoValue::Null,
        Kind::Bool => RegoValue::Bool(value.as_bool().unwrap_or_default()),
        Kind::Number => number(value.raw()),
        Kind::String => RegoValue::from(&*value.as_str().unwrap_or_default()),
        Kind::Array => RegoValue::from(value.items().map(from_json).collect::<Vec<_>>()),
        Kind::Object => {
            let members = value.members().map(|(key, member)| (RegoValue::from(&*key), from_json(member)));
            RegoValue::from(members.collect::<BTreeMap<_, _>>())
        }
    }
}

/// An object with these members.
pub(crate) fn object<const N: usize>(members: [(&'static str, RegoValue); N]) -> RegoValue {
    let members = members.map(|(key, member)| (RegoValue::from(key), member));
    RegoValue::from(BTreeMap::from(members))
}

/// A list of texts.
pub(crate) fn texts<T: AsRef<str>>(texts: &[T]) -> RegoValue {
    RegoValue::from(texts.iter().map(|text| RegoValue::from(text.as_ref())).collect::<Vec<_>>())
}

fn number(raw: &str) -> RegoValue {
    if let Ok(integer) = raw.parse::<i64>() {
        return RegoValue::from(integer);
    }
    // The canonical text is what a record holds; reading the value from it makes
    // the first evaluation see what a later one will.
    let text = number_text(raw);
    if let Ok(integer) = text.parse::<i64>() {
        return RegoValue::from(integer);
    }
    if text.bytes().all(|c| c.is_ascii_digit() || c == b'-') {
        return RegoValue::from_numeric_string(&text).unwrap_or(RegoValue::Null);
    }
    text.parse::<f64>().map_or(RegoValue::Null, RegoValue::from)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits, Numbers, canonical};
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> RegoValue {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        from_json(Document::parse(Bytes::copy_from_slice(json.as_bytes()), &limits).expect(json).root())
    }

    #[test]
    fn a_number_has_one_value_however_it_is_spelled() {
        for (one, other) in [
            ("5", "5.0"),
            ("5", "5e0"),
            ("-0", "0"),
            ("0.1", "1e-1"),
            ("1e16", "10000000000000000"),
            ("9007199254740991", "9007199254740991.0"),
            ("1e21", "1e+21"),
        ] {
            assert_eq!(read(one), read(other), "{one} and {other}");
        }
        assert_ne!(read("9007199254740993"), read("9007199254740992"), "exact beyond doubles");
        assert_ne!(read("12345678901234567890123"), read("12345678901234567890124"), "and beyond 64 bits");
    }

    proptest! {
        #[test]
        fn the_canonical_text_has_the_same_value(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let text = format!("[{number:e},{number}]");
            let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
            if let Ok(document) = Document::parse(Bytes::from(text), &limits) {
                prop_assert_eq!(read(&canonical(document.root())), from_json(document.root()));
            }
        }
    }
}
