//! The fingerprint of a definition: what a review approves.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use doorward_model::json::{Value, canonical};

/// `sha256:<64 hex>` over the canonical JSON (RFC 8785) of a definition. Any change
/// of name, description, schema or annotation changes it; white space and key order do not.
pub fn fingerprint(definition: Value<'_>) -> String {
    let hash = digest(&SHA256, canonical(definition).as_bytes());
    let mut text = String::from("sha256:");
    for byte in hash.as_ref() {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits};

    use super::*;

    #[test]
    fn only_what_a_definition_says_counts() {
        let print = |text: &str| {
            let document =
                Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect(text);
            fingerprint(document.root())
        };
        let one = print(r#"{"name":"a","description":"reads"}"#);
        assert_eq!(one, print(r#"{ "description" : "r\u0065ads", "name":"a" }"#));
        assert_ne!(one, print(r#"{"name":"a","description":"reads."}"#));
        assert_eq!(one.len(), 71);
    }
}
