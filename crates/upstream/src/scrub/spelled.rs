//! Escapes of JSON, taken out of a text that remembers where everything stood.
//!
//! `\u002B` and `+` are one character to whoever reads JSON. Results are often JSON in a string
//! of JSON, so a text is decoded again until nothing changes, up to [`MOST_LAYERS`] times.
//! What is no escape stays as it is; nothing here judges whether a text is JSON.

use memchr::memchr_iter;

/// How many strings within strings are looked into.
const MOST_LAYERS: usize = 8;

/// Bytes of `\uXXXX`.
const UNIT: usize = 6;

/// Which escapes can hide a character that is looked for.
pub(super) struct Hiding {
    /// By the letter of the escape, such as `n`.
    short: [bool; 256],
    /// By the character that `\uXXXX` stands for, below 128.
    unit: [bool; 128],
    beyond_ascii: bool,
}

impl Hiding {
    /// Escapes that can hide one of the characters of `forms`.
    pub(super) fn of(forms: &[String]) -> Self {
        let mut hiding = Self { short: [false; 256], unit: [false; 128], beyond_ascii: false };
        // An escape may be spelled in escapes itself, in every character of it.
        let of_escapes = b"\\u0123456789abcdefABCDEF";
        for byte in forms.iter().flat_map(|form| form.bytes()).chain(of_escapes.iter().copied()) {
            match hiding.unit.get_mut(usize::from(byte)) {
                Some(unit) => *unit = true,
                None => hiding.beyond_ascii = true,
            }
        }
        let forms = || forms.iter().flat_map(|form| form.bytes());
        for letter in *b"\"\\/bfnrt" {
            hiding.short[usize::from(letter)] =
                short(letter).is_some_and(|plain| forms().any(|it| it == plain));
        }
        hiding
    }

    /// Whether decoding `text` could show more than there is to see.
    fn is_in(&self, text: &[u8]) -> bool {
        memchr_iter(b'\\', text).any(|at| match text.get(at + 1) {
            Some(b'u') => match unit(&text[at..]) {
                Some(unit) => self.unit.get(usize::from(unit)).copied().unwrap_or(self.beyond_ascii),
                None => false,
            },
            Some(letter) => self.short[usize::from(*letter)],
            None => false,
        })
    }
}

/// Where a decoded text goes on in the text that it was decoded from: behind an escape.
struct Jump {
    decoded: usize,
    source: usize,
}

/// Decodes `text` layer by layer as long as something can hide in it. `look` is shown each
/// layer and adds what it finds there; the ranges come back as places in `text`.
pub(super) fn find_in_layers(
    text: &[u8],
    hiding: &Hiding,
    look: impl Fn(&[u8]) -> Vec<(usize, usize)>,
) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut jumps: Vec<Vec<Jump>> = Vec::new();
    let mut layer = None;
    while jumps.len() < MOST_LAYERS && hiding.is_in(layer.as_deref().unwrap_or(text)) {
        let (decoded, jump) = decode(layer.as_deref().unwrap_or(text));
        jumps.push(jump);
        let origin = |place: usize| jumps.iter().rev().fold(place, |place, jumps| source(jumps, place));
        found.extend(look(&decoded).into_iter().map(|(start, end)| (origin(start), origin(end))));
        layer = Some(decoded);
    }
    found
}

fn source(jumps: &[Jump], place: usize) -> usize {
    let after = jumps.partition_point(|jump| jump.decoded <= place);
    match after.checked_sub(1).and_then(|last| jumps.get(last)) {
        Some(jump) => jump.source + (place - jump.decoded),
        None => place,
    }
}

fn decode(text: &[u8]) -> (Vec<u8>, Vec<Jump>) {
    let mut decoded = Vec::with_capacity(text.len());
    let mut jumps = Vec::new();
    let mut clean = 0;
    let mut rest = 0;
    while let Some(at) = memchr::memchr(b'\\', &text[rest..]).map(|at| rest + at) {
        let Some((plain, length)) = escape(&text[at..]) else {
            rest = at + 1;
            continue;
        };
        decoded.extend_from_slice(&text[clean..at]);
        decoded.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
        clean = at + length;
        rest = clean;
        jumps.push(Jump { decoded: decoded.len(), source: clean });
    }
    decoded.extend_from_slice(&text[clean..]);
    (decoded, jumps)
}

/// The character of the escape that `text` begins with, and the length of the escape.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let letter = *text.get(1)?;
    if letter != b'u' {
        return short(letter).map(|plain| (char::from(plain), 2));
    }
    let first = unit(text)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Some((c, UNIT));
    }
    let second = text.get(UNIT..).filter(|rest| rest.starts_with(b"\\u")).and_then(unit)?;
    let c = char::decode_utf16([first, second]).next()?.ok()?;
    Some((c, 2 * UNIT))
}

/// What a backslash and this letter stand for.
fn short(letter: u8) -> Option<u8> {
    Some(match letter {
        b'"' | b'\\' | b'/' => letter,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

/// The number in `\uXXXX`.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.get(2..UNIT)?;
    let mut number = 0;
    for digit in digits {
        number = number << 4 | u16::try_from(char::from(*digit).to_digit(16)?).ok()?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_remembers_where_everything_stood() {
        let cases = [
            // text, decoded, each part of it and where that stood
            (r"plain", "plain", vec![((0, 5), (0, 5))]),
            (r"a\u002Bb", "a+b", vec![((0, 1), (0, 1)), ((1, 2), (1, 7)), ((1, 3), (1, 8))]),
            (r#"\"x\n"#, "\"x\n", vec![((0, 2), (0, 3)), ((2, 3), (3, 5))]),
            (r"\ud83d\ude00!", "😀!", vec![((0, 4), (0, 12)), ((4, 5), (12, 13))]),
            (r"\ud83d \q \u12", r"\ud83d \q \u12", vec![((0, 14), (0, 14))]),
            (r"\\u002b", r"\u002b", vec![((0, 6), (0, 7))]),
        ];
        for (text, expected, places) in cases {
            let (decoded, jumps) = decode(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&decoded), expected);
            for ((start, end), origin) in places {
                assert_eq!((source(&jumps, start), source(&jumps, end)), origin, "{text} {start}..{end}");
            }
        }
    }

    #[test]
    fn only_escapes_that_can_hide_something_are_decoded() {
        let hiding = |forms: &[&str], text: &str| {
            Hiding::of(&forms.iter().map(|form| (*form).to_owned()).collect::<Vec<_>>())
                .is_in(text.as_bytes())
        };
        let cases = [
            ("abc+x", r#"{"text":"line\nline \"quoted\" caf\u00e9"}"#, false),
            ("abc+x", r"\u002b", true),
            ("abc+x", r"\\\\u002b", true),
            ("abc+x", r"\u005cu002b", true),
            ("abc+x", r"\/", false),
            ("a/c+x", r"\/", true),
            ("a\nb", r"\n", true),
            ("grüße", r"\u00fc", true),
            ("abc+x", r"\u00", false),
            ("abc+x", "\\", false),
        ];
        for (form, text, expected) in cases {
            assert_eq!(hiding(&[form], text), expected, "{form} {text}");
        }
    }
}
