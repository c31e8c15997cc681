//! Takes a server's own secrets out of what it says.
//!
//! A server that was given a secret may print it: into a result, an error, its
//! log. Each secret of at least [`SHORTEST`] bytes is looked for as it is, as the usual
//! writers of JSON escape it, percent-encoded, and as base64 at each of the three
//! alignments.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use doorward_model::{Secret, json};

/// Shorter secrets are not looked for: they would be found in ordinary words.
pub const SHORTEST: usize = 8;

/// What stands where a secret stood.
const MASK: &str = "[secret]";

/// Knows the secrets of one server.
pub struct Scrubber {
    finder: Option<AhoCorasick>,
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
        Self { finder }
    }

    /// The same bytes with every secret masked; the very same when there is none.
    pub fn scrub(&self, bytes: Bytes) -> Bytes {
        match &self.finder {
            Some(finder) if finder.is_match(&bytes[..]) => Bytes::from(masked(finder, &bytes)),
            _ => bytes,
        }
    }

    /// As [`scrub`](Self::scrub), for text.
    pub fn scrub_text(&self, text: &str) -> String {
        match &self.finder {
            // Secrets are whole characters, so what remains is text.
            Some(finder) => String::from_utf8_lossy(&masked(finder, text.as_bytes())).into_owned(),
            None => text.to_owned(),
        }
    }
}

impl std::fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrubber")
    }
}

fn masked(finder: &AhoCorasick, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut clean = 0;
    for found in finder.find_iter(bytes) {
        out.extend_from_slice(&bytes[clean..found.start()]);
        out.extend_from_slice(MASK.as_bytes());
        clean = found.end();
    }
    out.extend_from_slice(&bytes[clean..]);
    out
}

fn push_forms(forms: &mut Vec<String>, secret: &str) {
    if secret.len() < SHORTEST {
        return;
    }
    let first = forms.len();
    forms.push(secret.to_owned());
    let quoted = json::quoted(secret);
    let escaped = &quoted[1..quoted.len() - 1];
    forms.push(escaped.to_owned());
    // Python escapes everything beyond ASCII, Go what means something in HTML.
    forms.push(ascii_escaped(escaped).into_owned());
    forms.push(escaped.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"));
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
    // PHP escapes every slash.
    let slashed: Vec<_> = forms[first..].iter().filter(|form| form.contains('/')).cloned().collect();
    forms.extend(slashed.iter().map(|form| form.replace('/', "\\/")));
    // Results are often JSON in a string of JSON, where every escape is escaped again.
    let escaped: Vec<_> = forms[first..].iter().filter(|form| form.contains(['\\', '"'])).cloned().collect();
    forms.extend(escaped.iter().map(|form| {
        let quoted = json::quoted(form);
        quoted[1..quoted.len() - 1].to_owned()
    }));
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

fn ascii_escaped(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Cow::Owned(out)
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
}
