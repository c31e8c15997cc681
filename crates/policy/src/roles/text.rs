//! Values as JavaScript's `String()` writes them, which is how role rules compare.

use std::borrow::Cow;

use doorward_model::json::{Kind, Value, number_text};

/// `String(value)`.
pub(crate) fn js_string(value: Value<'_>) -> Cow<'_, str> {
    match value.kind() {
        Kind::String => value.as_str().unwrap_or_default(),
        Kind::Null | Kind::Bool => Cow::Borrowed(value.raw()),
        Kind::Number => Cow::Owned(number_text(value.raw())),
        Kind::Object => Cow::Borrowed("[object Object]"),
        Kind::Array => {
            let mut out = String::new();
            join(&mut out, value);
            Cow::Owned(out)
        }
    }
}

/// Elements joined by commas; `null` among them is nothing at all. Recursion is
/// bounded by the depth limit of the reader.
fn join(out: &mut String, array: Value<'_>) {
    for (at, item) in array.items().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match item.kind() {
            Kind::Null => {}
            Kind::Array => join(out, item),
            _ => out.push_str(&js_string(item)),
        }
    }
}

/// `String(value)` of a value from the configuration; `undefined` when it is absent.
pub(crate) fn js_string_of_config(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => "undefined".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(truth) => truth.to_string(),
        serde_json::Value::Number(number) => number_text(&number.to_string()),
        serde_json::Value::Object(_) => "[object Object]".to_owned(),
        serde_json::Value::Array(items) => {
            let texts: Vec<_> = items
                .iter()
                .map(|item| if item.is_null() { String::new() } else { js_string_of_config(item) })
                .collect();
            texts.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits};

    use super::*;

    #[test]
    fn values_become_texts_as_in_javascript() {
        let cases = [
            ("5", "5"),
            ("5.0", "5"),
            ("1e21", "1e+21"),
            ("true", "true"),
            ("null", "null"),
            (r#""a""#, "a"),
            ("[]", ""),
            ("[1,2]", "1,2"),
            (r#"[1,[2,null,"x"],null,{}]"#, "1,2,,x,,[object Object]"),
            ("{}", "[object Object]"),
        ];
        for (json, expected) in cases {
            let document = Document::parse(Bytes::from(json), &Limits::default()).expect(json);
            assert_eq!(js_string(document.root()), expected, "{json}");
            if json != "null" {
                let config = serde_json::from_str(json).expect(json);
                assert_eq!(js_string_of_config(&config), expected, "{json} in a configuration");
            }
        }
    }
}
