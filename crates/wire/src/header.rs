//! Values of `Mcp-Name` and `Mcp-Param-*` (2026-07-28, "Header value encoding").
//!
//! Printable ASCII travels as it is; everything else as `=?base64?…?=` around the
//! standard base64 of its UTF-8 bytes. So does plain text that looks like such a
//! wrapping, which keeps the two forms apart.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const OPENING: &str = "=?base64?";
const CLOSING: &str = "?=";

/// A header value that nobody following the rules would have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Bytes outside printable ASCII, space and tab.
    #[error("the header holds bytes that must be base64 encoded")]
    Unprintable,
    /// Between the markers stands no strict base64.
    #[error("the header is marked as base64 and is none")]
    Base64,
    /// The decoded bytes are no text.
    #[error("the header decodes to bytes that are not UTF-8")]
    Utf8,
}

/// `text` as the value of a header.
pub fn encode(text: &str) -> Cow<'_, str> {
    let edge = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = text.as_bytes();
    let is_plain = bytes.iter().all(|byte| is_printable(*byte))
        && !edge(bytes.first())
        && !edge(bytes.last())
        && wrapped(text).is_none();
    if is_plain {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(OPENING.len() + bytes.len().div_ceil(3) * 4 + CLOSING.len());
    out.push_str(OPENING);
    STANDARD.encode_string(bytes, &mut out);
    out.push_str(CLOSING);
    Cow::Owned(out)
}

/// The text that a header's value stands for.
///
/// Space around the value is not part of it. A value with only one of the two
/// markers, or with a marker in capitals, is taken literally.
///
/// # Errors
/// [`Malformed`], which a receiver answers with `-32020`.
pub fn decode(value: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    if !value.iter().all(|byte| is_printable(*byte)) {
        return Err(Malformed::Unprintable);
    }
    let text = std::str::from_utf8(value).map_err(|_| Malformed::Unprintable)?.trim_matches([' ', '\t']);
    let Some(inner) = wrapped(text) else { return Ok(Cow::Borrowed(text)) };
    let bytes = STANDARD.decode(inner).map_err(|_| Malformed::Base64)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Malformed::Utf8)
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}

fn wrapped(text: &str) -> Option<&str> {
    text.strip_prefix(OPENING)?.strip_suffix(CLOSING)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_needs_wrapping_is_wrapped() {
        let cases = [
            ("wiki__search", "wiki__search"),
            ("a b\tc", "a b\tc"),
            ("", ""),
            ("doc://é", "=?base64?ZG9jOi8vw6k=?="),
            (" a", "=?base64?IGE=?="),
            ("a\n", "=?base64?YQo=?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
            ("=?base64?=", "=?base64?="),
            ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
        ];
        for (text, header) in cases {
            assert_eq!(encode(text), header, "{text:?}");
            assert_eq!(decode(header.as_bytes()).as_deref(), Ok(text), "{header}");
        }
    }

    #[test]
    fn decoding_is_strict() {
        let cases: &[(&[u8], Result<&str, Malformed>)] = &[
            (b"  spaced out\t", Ok("spaced out")),
            (b"=?base64?YQ==", Ok("=?base64?YQ==")),
            (b"=?base64??=", Ok("")),
            (b"=?base64?YQ?=", Err(Malformed::Base64)),
            (b"=?base64?YR==?=", Err(Malformed::Base64)),
            (b"=?base64?_-8=?=", Err(Malformed::Base64)),
            (b"=?base64?/w==?=", Err(Malformed::Utf8)),
            (b"\xc3\xa9", Err(Malformed::Unprintable)),
            (b"a\x7f", Err(Malformed::Unprintable)),
        ];
        for (value, expected) in cases {
            assert_eq!(decode(value).as_deref(), expected.as_ref().copied(), "{}", value.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn every_text_survives(text: String) {
            let header = encode(&text);
            let decoded = decode(header.as_bytes()).expect("well formed");
            prop_assert_eq!(decoded, text.as_str());
        }
    }
}
