//! What a record keeps of arguments: a salted digest, the keys, and a short text
//! with the values of secret-looking members masked, and whatever looks like a secret or is known
//! to be one.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::hmac;
use doorward_model::json::{Kind, Value, canonical, number_text, push_hex, push_string};
use doorward_model::{CallId, Secret};

use crate::canonical::first;
use crate::options::Capture;
use crate::secrets::{MASK, Secrets};

/// Longest preview, in characters.
const LONGEST: usize = 1_024;
/// Keys of the outermost object that are listed.
const MOST_KEYS: usize = 64;
/// Characters of each that are kept.
const LONGEST_KEY: usize = 64;

/// Parts of key names whose values are masked.
const SECRET: [&str; 12] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "authorization",
    "credential",
    "privatekey",
    "cookie",
    "accesskey",
    "passphrase",
    "bearer",
];

/// What they begin with.
const FIRST: [u8; SECRET.len()] = {
    let mut first = [0; SECRET.len()];
    let mut at = 0;
    while at < SECRET.len() {
        first[at] = SECRET[at].as_bytes()[0];
        at += 1;
    }
    first
};

/// Writes the `arguments` member of a decision.
///
/// The salt of a record is an HMAC of its call id, so that it can be revealed for
/// one record alone without being stored with each.
pub(crate) fn write(
    out: &mut String,
    arguments: Value<'_>,
    (call, key): (CallId, &hmac::Key),
    capture: Capture,
    secrets: Secrets<'_>,
) {
    let text = canonical(arguments);
    let salt = hmac::sign(key, call.as_bytes());
    let mut context = Context::new(&SHA256);
    context.update(&salt.as_ref()[..16]);
    context.update(text.as_bytes());
    out.push_str("{\"digest\":\"sha256:");
    push_hex(out, context.finish().as_ref());
    out.push('"');
    if capture == Capture::None {
        out.push('}');
        return;
    }
    if capture == Capture::Full {
        // Whole, sealed, and apart from the log.
        out.push_str(",\"kept\":true");
    }
    out.push_str(",\"keys\":[");
    let mut keys: Vec<_> = arguments.members().map(|(key, _)| key).collect();
    keys.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    for (at, key) in keys.iter().take(MOST_KEYS).enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, if secrets.is_in(key) { MASK } else { first(key, LONGEST_KEY) });
    }
    if capture == Capture::Keys {
        out.push_str("]}");
        return;
    }
    out.push_str("],\"preview\":");
    let text = if has_secret(arguments) {
        let mut masked = String::new();
        mask(&mut masked, arguments, false);
        masked
    } else {
        text
    };
    let masked = secrets.masked(text);
    // As many bytes are no fewer characters.
    let is_long = masked.len() > LONGEST;
    let cut = is_long.then(|| masked.char_indices().nth(LONGEST).map(|(at, _)| at)).flatten();
    push_string(out, &masked[..cut.unwrap_or(masked.len())]);
    if cut.is_some() {
        out.push_str(",\"truncated\":true");
    }
    out.push('}');
}

fn is_secret(key: &str) -> bool {
    // Every call asks this of every key.
    let mut plain = Vec::with_capacity(key.len());
    plain.extend(key.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase()));
    let starts = |at| SECRET.iter().any(|word| plain[at..].starts_with(word.as_bytes()));
    (0..plain.len()).any(|at| FIRST.contains(&plain[at]) && starts(at))
}

fn has_secret(value: Value<'_>) -> bool {
    value.members().any(|(key, member)| is_secret(&key) || has_secret(member))
        || value.items().any(has_secret)
}

/// The texts and numbers that a preview of these arguments masks.
pub fn secrets_in(arguments: Value<'_>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    if has_secret(arguments) {
        collect(&mut secrets, arguments, false);
    }
    secrets
}

fn collect(secrets: &mut Vec<Secret>, value: Value<'_>, secret: bool) {
    match value.kind() {
        Kind::Object => {
            value.members().for_each(|(key, member)| collect(secrets, member, secret || is_secret(&key)));
        }
        Kind::Array => value.items().for_each(|item| collect(secrets, item, secret)),
        Kind::String if secret => secrets.push(Secret::new(value.as_str().unwrap_or_default())),
        Kind::Number if secret => secrets.push(Secret::new(value.raw())),
        Kind::String | Kind::Number | Kind::Null | Kind::Bool => {}
    }
}

fn mask(out: &mut String, value: Value<'_>, secret: bool) {
    match value.kind() {
        Kind::Object => {
            let mut members: Vec<_> = value.members().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (at, (key, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_string(out, &key);
                out.push(':');
                mask(out, member, secret || is_secret(&key));
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for (at, item) in value.items().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                mask(out, item, secret);
            }
            out.push(']');
        }
        _ if secret => push_string(out, MASK),
        Kind::String => push_string(out, &value.as_str().unwrap_or_default()),
        Kind::Number => out.push_str(&number_text(value.raw())),
        Kind::Null | Kind::Bool => out.push_str(value.raw()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::Timestamp;
    use doorward_model::clock::Fixed;
    use doorward_model::json::{Document, Limits};

    use super::*;

    fn preview(arguments: &str) -> String {
        let document =
            Document::parse(Bytes::copy_from_slice(arguments.as_bytes()), &Limits::default()).expect("valid");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let call = CallId::new(Timestamp::from_micros(1), &Fixed::new(1));
        let mut out = String::new();
        write(&mut out, document.root(), (call, &key), Capture::Preview, Secrets::default());
        out
    }

    #[test]
    fn secret_looking_values_are_masked_at_any_depth() {
        let text = preview(r#"{"b":1,"Api-Key":"k1","a":[{"accessToken":{"x":"k2","y":["k3"]}}]}"#);
        assert!(text.contains(r#""keys":["Api-Key","a","b"]"#), "{text}");
        for secret in ["k1", "k2", "k3"] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    #[test]
    fn the_same_values_are_known_apart() {
        let text = br#"{"b":"no","pass_word":["s1",7],"a":[{"token":{"x":"s2","y":null}}]}"#;
        let document = Document::parse(Bytes::from_static(text), &Limits::default()).expect("valid");
        let mut secrets: Vec<_> =
            secrets_in(document.root()).iter().map(|secret| secret.expose().to_owned()).collect();
        secrets.sort();
        assert_eq!(secrets, ["7", "s1", "s2"]);
    }

    #[test]
    fn less_is_kept_where_less_is_asked_for() {
        let document =
            Document::parse(Bytes::from_static(b"{\"a\":\"v\"}"), &Limits::default()).expect("valid");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let call = CallId::new(Timestamp::from_micros(1), &Fixed::new(1));
        let kept = |capture| {
            let mut out = String::new();
            write(&mut out, document.root(), (call, &key), capture, Secrets::default());
            (out.contains("\"a\""), out.contains('v'), out.starts_with("{\"digest\":") && out.ends_with('}'))
        };
        assert_eq!(kept(Capture::None), (false, false, true));
        assert_eq!(kept(Capture::Keys), (true, false, true));
        assert_eq!(kept(Capture::Full), (true, true, true));
    }

    #[test]
    fn long_texts_are_cut_between_characters_and_say_so() {
        let text = preview(&format!(r#"{{"m":"{}"}}"#, "é".repeat(5_000)));
        assert!(text.ends_with(r#","truncated":true}"#));
        assert!(text.chars().count() < 1_300);
    }

    #[test]
    fn a_long_key_is_cut_wherever_its_characters_end() {
        for pad in 0..4 {
            let text = preview(&format!(r#"{{"{}{}":1}}"#, "x".repeat(pad), "€".repeat(100_000)));
            assert!(text.len() < 10_000, "{} bytes", text.len());
        }
    }

    #[test]
    fn equal_arguments_of_another_call_have_another_digest() {
        let document = Document::parse(Bytes::from_static(b"{}"), &Limits::default()).expect("valid");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let random = Fixed::new(1);
        let digest = || {
            let mut out = String::new();
            let call = CallId::new(Timestamp::from_micros(1), &random);
            write(&mut out, document.root(), (call, &key), Capture::Preview, Secrets::default());
            out
        };
        assert_ne!(digest(), digest());
    }
}
