//! Writing JSON texts, in the one spelling that RFC 8785 (section 3.2.2) allows.

use std::net::IpAddr;

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    while let Some(at) = first_special(rest.as_bytes()) {
        out.push_str(&rest[..at]);
        push_escape(out, rest.as_bytes()[at]);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Where the first character stands that does not stand for itself.
fn first_special(text: &[u8]) -> Option<usize> {
    let Some(last) = text.last_chunk() else {
        return text.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\');
    };
    let (words, _) = text.as_chunks();
    // The last eight may overlap the ones before them, in which there was none.
    let words = words.iter().enumerate().map(|(at, word)| (8 * at, word)).chain([(text.len() - 8, last)]);
    for (at, word) in words {
        let marks = special_bytes(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
    }
    None
}

fn push_escape(out: &mut String, byte: u8) {
    out.push('\\');
    match byte {
        b'"' | b'\\' => out.push(char::from(byte)),
        0x08 => out.push('b'),
        0x09 => out.push('t'),
        0x0a => out.push('n'),
        0x0c => out.push('f'),
        0x0d => out.push('r'),
        _ => {
            out.push_str("u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// Marks, by its highest bit, the first of eight bytes that is a quote, a backslash or a
/// control character; zero if there is none. Bits above the lowest mark mean nothing.
pub(super) fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = is_zero(word ^ (ONES * u64::from(b'"')));
    let backslash = is_zero(word ^ (ONES * u64::from(b'\\')));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

/// `text` as a JSON string, quotes included.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The two digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Appends bytes as lower-case hexadecimal digits.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    // A hash at a time: digit by digit takes several times longer.
    for chunk in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(chunk) {
            *pair = PAIRS[usize::from(*byte)];
        }
        out.push_str(std::str::from_utf8(&digits[..2 * chunk.len()]).unwrap_or_default());
    }
}

/// Appends a whole number.
pub fn push_number(out: &mut String, number: u64) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// Appends an address, without quotes.
pub fn push_ip(out: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push('.');
                }
                push_number(out, u64::from(octet));
            }
        }
        IpAddr::V6(ip) => out.push_str(&ip.to_string()),
    }
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
    fn what_needs_an_escape_is_found_wherever_it_stands() {
        for length in 1..20 {
            for at in 0..length {
                for byte in 0..128_u8 {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    let is_special = byte < 0x20 || byte == b'"' || byte == b'\\';
                    let expected = is_special.then_some(at);
                    assert_eq!(first_special(&text), expected, "{byte:#x} at {at} of {length}");
                    text[length - 1] = b'"';
                    let expected = expected.unwrap_or(length - 1);
                    assert_eq!(first_special(&text), Some(expected), "the first of two");
                }
            }
        }
        assert_eq!(first_special("\u{7f}é\u{80}\u{a2}\u{dc}\u{1f512}".as_bytes()), None);
    }

    #[test]
    fn bytes_become_two_digits_each() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = String::new();
        push_hex(&mut out, &bytes);
        let expected: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(out, expected);
    }

    #[test]
    fn addresses_are_written_as_everywhere() {
        for text in ["127.0.0.1", "255.10.0.9", "::1", "2001:db8::2", "::ffff:10.0.0.1"] {
            let mut out = String::new();
            push_ip(&mut out, text.parse().expect("an address"));
            assert_eq!(out, text);
        }
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
