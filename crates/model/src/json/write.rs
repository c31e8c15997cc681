//! Writing JSON texts, in the one spelling that RFC 8785 (section 3.2.2) allows.

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(out: &mut String, text: &str) {
    out.push('"');
    // Nearly every text is plain, and this sum, unlike a search, is made of many bytes
    // at a time.
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    if !text.as_bytes().iter().fold(false, |found, byte| found | special(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x09 => "\\t",
            0x0a => "\\n",
            0x0c => "\\f",
            0x0d => "\\r",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[clean..at]);
        clean = at + 1;
        if short.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        } else {
            out.push_str(short);
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// `text` as a JSON string, quotes included.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// A number as JavaScript's `String()` writes it (ECMA-262, `Number::toString`),
/// which is also its canonical form (RFC 8785, section 3.2.2.3).
///
/// Integers written without fraction or exponent are kept as they are when a
/// double would not hold them.
pub fn number_text(raw: &str) -> String {
    let is_integer = !raw.contains(['.', 'e', 'E']);
    if is_integer && raw.trim_start_matches('-').len() <= 15 {
        return if raw == "-0" { "0".to_owned() } else { raw.to_owned() };
    }
    match raw.parse::<f64>() {
        Ok(number) if number.is_finite() => {
            let text = ryu_js::Buffer::new().format_finite(number).to_owned();
            let exact = !is_integer || number.abs() < 9_007_199_254_740_992.0;
            if exact { text } else { raw.to_owned() }
        }
        _ => raw.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_one_spelling() {
        assert_eq!(
            quoted("a\"b\\c/\u{7f}é\u{1}\u{1f}\n\t\r\u{8}\u{c}"),
            "\"a\\\"b\\\\c/\u{7f}é\\u0001\\u001f\\n\\t\\r\\b\\f\""
        );
    }

    #[test]
    fn numbers_are_written_as_javascript_writes_them() {
        let cases = [
            ("5", "5"),
            ("-0", "0"),
            ("5.0", "5"),
            ("1e21", "1e+21"),
            ("1E3", "1000"),
            ("0.0000001", "1e-7"),
            ("-2.50", "-2.5"),
            ("9007199254740991", "9007199254740991"),
            ("12345678901234567890123", "12345678901234567890123"),
        ];
        for (raw, expected) in cases {
            assert_eq!(number_text(raw), expected, "{raw}");
        }
    }
}
