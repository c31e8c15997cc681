//! Takes a server's own secrets out of what it says.
//!
//! A server that was given a secret may print it: into a result, an error, its
//! log. Each secret of at least [`SHORTEST`] bytes is looked for as it is, percent-encoded,
//! and as base64 at each of the three alignments; all of these in whatever spelling JSON
//! has for their characters, also in JSON within a string of JSON.

mod spelled;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use doorward_model::Secret;

use spelled::{Hiding, find_in_layers};

/// Shorter secrets are not looked for: they would be found in ordinary words.
pub const SHORTEST: usize = 8;

/// What stands where a secret stood.
const MASK: &str = "[secret]";

/// Knows the secrets of one server.
pub struct Scrubber {
    looks: Option<Looks>,
}

/// What is looked for, and where it can hide.
struct Looks {
    finder: AhoCorasick,
    hiding: Hiding,
}

impl Scrubber {
    /// A scrubber for these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets {
            // A pasted credential often carries its kind in front.
            let whole = secret.expose();
            push_forms(&mut forms, whole);
            if let Some((_, rest)) = whole.split_once(' ') {
                push_forms(&mut forms, rest);
            }
        }
        forms.sort_unstable();
        forms.dedup();
        let finder = (!forms.is_empty())
            .then(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms).ok())
            .flatten();
        Self { looks: finder.map(|finder| Looks { finder, hiding: Hiding::of(&forms) }) }
    }

    /// The same bytes with every secret masked; the very same when there is none.
    pub fn scrub(&self, bytes: Bytes) -> Bytes {
        match self.looks.as_ref().map(|looks| looks.places(&bytes)) {
            Some(places) if !places.is_empty() => Bytes::from(masked(&bytes, &places)),
            _ => bytes,
        }
    }

    /// As [`scrub`](Self::scrub), for text.
    pub fn scrub_text(&self, text: &str) -> String {
        match self.looks.as_ref().map(|looks| looks.places(text.as_bytes())) {
            // Secrets are whole characters, so what remains is text.
            Some(places) if !places.is_empty() => {
                String::from_utf8_lossy(&masked(text.as_bytes(), &places)).into_owned()
            }
            _ => text.to_owned(),
        }
    }
}

impl Looks {
    /// Where secrets stand, in order; no two places overlap.
    fn places(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let look = |text: &[u8]| {
            self.finder.find_iter(text).map(|found| (found.start(), found.end())).collect::<Vec<_>>()
        };
        let mut places = look(text);
        places.extend(find_in_layers(text, &self.hiding, look));
        places.sort_unstable();
        places.dedup_by(|next, last| {
            let overlaps = next.0 < last.1;
            if overlaps {
                last.1 = last.1.max(next.1);
            }
            overlaps
        });
        places
    }
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrubber")
    }
}

fn masked(bytes: &[u8], places: &[(usize, usize)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut clean = 0;
    for (start, end) in places {
        out.extend_from_slice(&bytes[clean..*start]);
        out.extend_from_slice(MASK.as_bytes());
        clean = *end;
    }
    out.extend_from_slice(&bytes[clean..]);
    out
}

fn push_forms(forms: &mut Vec<String>, secret: &str) {
    if secret.len() < SHORTEST {
        return;
    }
    forms.push(secret.to_owned());
    push_percent_encoded(forms, secret);
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for shift in 0..3 {
            let mut bytes = vec![0; shift];
            bytes.extend_from_slice(secret.as_bytes());
            let text = engine.encode(&bytes);
            // The first and last characters also carry bits of what is around.
            let start = (shift * 8).div_ceil(6);
            let end = bytes.len() * 8 / 6;
            forms.push(text[start..end].to_owned());
        }
    }
}

/// As in a path, a query or a form, in digits of either case. What need not be encoded
/// differs a little from one writer to the next.
fn push_percent_encoded(forms: &mut Vec<String>, secret: &str) {
    for plain in [&b"-._~"[..], b"-._~!*'()", b"-._~!$&'()*+,;=:@", b"-._~!$&'()*+,;=:@/"] {
        let mut encoded = String::with_capacity(secret.len() * 3);
        for byte in secret.bytes() {
            if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push_str(&format!("%{byte:02X}"));
            }
        }
        let lower = encoded.split('%').enumerate().map(|(at, part)| match part.split_at_checked(2) {
            Some((digits, rest)) if at > 0 => format!("%{}{rest}", digits.to_ascii_lowercase()),
            _ => part.to_owned(),
        });
        forms.push(lower.collect());
        forms.push(encoded.replace("%20", "+"));
        forms.push(encoded);
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn scrub(secrets: &[&str], text: &str) -> String {
        let secrets: Vec<_> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        let scrubbed = Scrubber::new(&secrets).scrub(Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8(scrubbed.to_vec()).expect("text")
    }

    #[test]
    fn a_secret_is_masked_in_every_usual_spelling() {
        let cases = [
            ("hunter2-hunter2", r#"{"text":"it is hunter2-hunter2!"}"#, r#"{"text":"it is [secret]!"}"#),
            ("with\"quote\\x", r#"{"text":"with\"quote\\x"}"#, r#"{"text":"[secret]"}"#),
            ("grüße-geheim", r#"{"text":"gr\u00fc\u00dfe-geheim"}"#, r#"{"text":"[secret]"}"#),
            ("Bearer abcdefgh12", "token abcdefgh12", "token [secret]"),
            (
                "a/b&c<d>e",
                r#"{"text":"a\/b&c<d>e a/b\u0026c\u003cd\u003ee"}"#,
                r#"{"text":"[secret] [secret]"}"#,
            ),
            ("sesame/öffne+ \"dich\"", "?k=sesame%2F%C3%B6ffne%2B%20%22dich%22&x", "?k=[secret]&x"),
            ("sesame/öffne+ \"dich\"", "?k=sesame%2f%c3%b6ffne%2b%20%22dich%22&x", "?k=[secret]&x"),
            ("sesame/öffne+ \"dich\"", "k=sesame%2F%C3%B6ffne%2B+%22dich%22", "k=[secret]"),
            ("sesame/öffne+", "GET /sesame/%C3%B6ffne+ HTTP", "GET /[secret] HTTP"),
            (
                "a/\"bb\"/cc",
                r#"{"text":"{\"t\":\"a/\\\"bb\\\"/cc\"}"}"#,
                r#"{"text":"{\"t\":\"[secret]\"}"}"#,
            ),
            ("abc+defgh/ij", r#"{"text":"abc\u002Bdefgh\/ij"}"#, r#"{"text":"[secret]"}"#),
            ("abc+defgh", r#"{"text":"x\u0061bc\u002bdefg\u0068y"}"#, r#"{"text":"x[secret]y"}"#),
            (
                "abc+defgh",
                r#"{"text":"{\"t\":\"abc\\u002bdefgh\"} \\\\ {\u0022t\u0022:\u0022abc\u005cu002bdefgh\u0022}"}"#,
                r#"{"text":"{\"t\":\"[secret]\"} \\\\ {\u0022t\u0022:\u0022[secret]\u0022}"}"#,
            ),
            ("pass😀word", r#"["pass\uD83D\uDe00word"]"#, r#"["[secret]"]"#),
            ("line\nbreak", r#"["line\nbreak line\u000abreak"]"#, r#"["[secret] [secret]"]"#),
            // base64 of the secret, with one of its characters spelled as an escape
            ("s3cr3t-passw0rd", r#"["czNjcjN0LXBhc3N3MHJ\u006b"]"#, r#"["[secret]"]"#),
            ("short", "short", "short"),
        ];
        for (secret, text, expected) in cases {
            assert_eq!(scrub(&[secret], text), expected);
        }
    }

    #[test]
    fn base64_hides_nothing() {
        for prefix in ["", "u", "us", "use", "user"] {
            let wrapped = STANDARD.encode(format!("{prefix}:s3cr3t-passw0rd-77"));
            let text = scrub(&["s3cr3t-passw0rd-77"], &wrapped);
            assert!(text.contains(MASK) && text.len() < wrapped.len(), "{prefix}: {text}");
        }
    }

    #[test]
    fn clean_bytes_are_not_copied() {
        let bytes = Bytes::from_static(b"nothing in here");
        let scrubbed = Scrubber::new(&[Secret::new("hunter2-hunter2")]).scrub(bytes.clone());
        assert_eq!(scrubbed.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn the_longest_of_overlapping_secrets_is_masked() {
        assert_eq!(scrub(&["abcdefgh", "abcdefghij"], "xabcdefghijx"), "x[secret]x");
    }

    #[test]
    fn a_secret_is_found_however_json_spells_it_and_what_remains_is_json() {
        let secret = "tok+/=\"en-\\grüße😀<x>";
        let scrubber = Scrubber::new(&[Secret::new(secret)]);
        // Each number spells every character in one of the ways, and wraps the text in strings.
        for number in 0..2_000_u64 {
            let mut dice = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut roll = |sides: u64| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (dice >> 33) % sides
            };
            let mut text = secret.to_owned();
            for _ in 0..=roll(3) {
                text = format!("see \"{}\" here", spell(&text, &mut roll));
            }
            let message = format!("{{\"text\":\"{}\"}}", spell(&text, &mut roll));
            let parsed: serde_json::Value = serde_json::from_str(&message).expect("a valid spelling");
            assert!(innermost(&parsed["text"]).contains(secret), "{message}");
            let clean = scrubber.scrub(Bytes::from(message.clone()));
            let parsed: serde_json::Value = serde_json::from_slice(&clean).expect("still JSON");
            let left = innermost(&parsed["text"]);
            assert!(
                left.contains(MASK) && !left.contains("tok") && !left.contains("grü"),
                "{message} {left}"
            );
        }
    }

    /// The text as the inside of a JSON string, each character in a way that is rolled.
    fn spell(text: &str, roll: &mut impl FnMut(u64) -> u64) -> String {
        let mut out = String::new();
        for c in text.chars() {
            let units = |digits: fn(u16) -> String| {
                c.encode_utf16(&mut [0; 2]).iter().map(|it| digits(*it)).collect()
            };
            let spelled: String = match roll(8) {
                0 => units(|unit| format!("\\u{unit:04x}")),
                1 => units(|unit| format!("\\u{unit:04X}")),
                2 if c == '/' => "\\/".to_owned(),
                _ => {
                    let quoted = serde_json::to_string(&c).expect("a character");
                    quoted[1..quoted.len() - 1].to_owned()
                }
            };
            out += &spelled;
        }
        out
    }

    /// The text within the strings that a text holds.
    fn innermost(value: &serde_json::Value) -> String {
        let mut text = value.as_str().unwrap_or_default().to_owned();
        while let Some(inner) = text.strip_prefix("see \"").and_then(|rest| rest.strip_suffix("\" here")) {
            match serde_json::from_str(&format!("\"{inner}\"")) {
                Ok(inner) => text = inner,
                Err(_) => break,
            }
        }
        text
    }

    #[test]
    fn clean_bytes_full_of_escapes_are_not_copied() {
        let bytes = Bytes::from_static(br#"{"text":"line\nline \"quoted\" caf\u00e9 \u0026"}"#);
        let scrubbed = Scrubber::new(&[Secret::new("hunter2-hunter2")]).scrub(bytes.clone());
        assert_eq!(scrubbed.as_ptr(), bytes.as_ptr());
    }
}
