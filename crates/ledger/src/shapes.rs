//! Secrets that are told by their looks: tokens of common services, private keys, card numbers.
//!
//! A text is read once, from its beginning to its end; where there is nothing, nothing is
//! allocated. What looks like a secret and is none is masked as well: a preview is for people,
//! and the digest beside it is of the whole.

use std::ops::Range;

/// How a token begins, how many characters follow at least, and whether a digit is among them.
const TOKENS: [(&str, usize, bool); 30] = [
    ("AIza", 30, false),
    ("AKIA", 16, false),
    ("ASIA", 16, false),
    ("dop_v1_", 32, false),
    ("ghp_", 16, false),
    ("gho_", 16, false),
    ("ghu_", 16, false),
    ("ghs_", 16, false),
    ("ghr_", 16, false),
    ("github_pat_", 16, false),
    ("glpat-", 16, false),
    ("gw_", 12, false),
    ("hf_", 16, false),
    ("npm_", 16, false),
    ("pk_live_", 4, false),
    ("pypi-", 16, false),
    ("rk_live_", 4, false),
    ("rk_test_", 4, false),
    ("shpat_", 16, false),
    ("sk-ant-", 8, false),
    ("sk-live-", 4, false),
    ("sk-proj-", 8, false),
    ("sk-test-", 4, false),
    ("sk_live_", 4, false),
    ("sk_test_", 4, false),
    ("sk-", 16, true),
    ("whsec_", 16, false),
    ("xapp-", 10, false),
    ("xoxb-", 10, false),
    ("xoxp-", 10, false),
];

/// Bytes that tokens begin with.
const BEGINS: [bool; 256] = {
    let mut begins = [false; 256];
    let mut at = 0;
    while at < TOKENS.len() {
        begins[TOKENS[at].0.as_bytes()[0] as usize] = true;
        at += 1;
    }
    begins
};

/// Digits of the shortest and of the longest card number.
const CARD: Range<usize> = 13..20;
/// Characters of the shortest token behind `Bearer` or `Basic`.
const SHORTEST_CREDENTIAL: usize = 8;
/// What a private key begins with, and what stands soon after.
const PEM: (&[u8], &[u8]) = (b"-----BEGIN ", b"PRIVATE KEY-----");

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte >= 0x80
}

/// The first secret in JSON text that begins at `from` or later, where no word is cut in two.
pub(crate) fn find(json: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    while let Some(&byte) = json.get(at) {
        if byte == b'\\' {
            // An escape is no part of a word.
            at += if json.get(at + 1) == Some(&b'u') { 6 } else { 2 };
            continue;
        }
        if byte == b'-'
            && json[at..].starts_with(PEM.0)
            && let Some(key) = private_key(json, at)
        {
            return Some(key);
        }
        if byte.is_ascii_digit()
            && let Some(card) = card(json, at)
        {
            return Some(card);
        }
        if !is_word(byte) {
            at += 1;
            continue;
        }
        let end = word_end(json, at);
        if let Some(secret) = credential(json, at, end) {
            return Some(secret);
        }
        at = end;
    }
    None
}

fn word_end(json: &[u8], start: usize) -> usize {
    json[start..].iter().position(|byte| !is_word(*byte)).map_or(json.len(), |length| start + length)
}

/// The secret that this word is, or that it begins.
fn credential(json: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    let word = &json[start..end];
    if BEGINS[usize::from(word[0])] && is_token(word) {
        return Some(start..end);
    }
    if word.starts_with(b"eyJ") {
        return web_token(json, start, end);
    }
    if matches!(word, b"Bearer" | b"bearer" | b"Basic" | b"basic") && json.get(end) == Some(&b' ') {
        let length = json[end + 1..]
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte)));
        let last = length.map_or(json.len(), |length| end + 1 + length);
        return (last - end > SHORTEST_CREDENTIAL).then_some(end + 1..last);
    }
    None
}

fn is_token(word: &[u8]) -> bool {
    TOKENS.iter().any(|(begin, least, needs_digit)| {
        word.strip_prefix(begin.as_bytes())
            .is_some_and(|rest| rest.len() >= *least && (!needs_digit || rest.iter().any(u8::is_ascii_digit)))
    })
}

/// Three words with dots between them, the first of which begins like JSON in base64.
fn web_token(json: &[u8], start: usize, first: usize) -> Option<Range<usize>> {
    let mut end = first;
    for _ in 0..2 {
        if json.get(end) != Some(&b'.') {
            return None;
        }
        end = word_end(json, end + 1);
    }
    (end - start > 20).then_some(start..end)
}

/// A private key, up to its last line or the end of the text that it stands in.
fn private_key(json: &[u8], start: usize) -> Option<Range<usize>> {
    let head = &json[start..json.len().min(start + 64)];
    memchr::memmem::find(head, PEM.1)?;
    let end = json[start..].iter().position(|byte| *byte == b'"').map_or(json.len(), |length| start + length);
    Some(start..end)
}

/// A card number that begins here: its digits stand together, or with single blanks or dashes
/// between them, and its last digit is right (Luhn).
fn card(json: &[u8], start: usize) -> Option<Range<usize>> {
    let before = start.checked_sub(1).and_then(|before| json.get(before));
    if before.is_some_and(|byte| is_word(*byte) || *byte == b'.') {
        return None;
    }
    let (mut digits, mut count, mut at, mut end) = ([0_u8; CARD.end], 0, start, start);
    while let Some(&byte) = json.get(at) {
        if byte.is_ascii_digit() {
            *digits.get_mut(count)? = byte - b'0';
            count += 1;
            end = at + 1;
        } else if !(matches!(byte, b' ' | b'-') && json.get(at + 1).is_some_and(u8::is_ascii_digit)) {
            break;
        }
        at += 1;
    }
    let is_alone = json.get(end).is_none_or(|byte| !is_word(*byte) && *byte != b'.');
    (CARD.contains(&count) && is_alone && is_right(&digits[..count])).then_some(start..end)
}

fn is_right(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(at, digit)| u32::from(if at % 2 == 1 { doubled(*digit) } else { *digit }))
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_looks_and_plain_words_are_left() {
        let cases = [
            // text                                        secret
            (r#"{"note":"pay with 4111 1111 1111 1111 now"}"#, Some("4111 1111 1111 1111")),
            (r#"{"note":"5500-0000-0000-0004"}"#, Some("5500-0000-0000-0004")),
            (r#"{"n":4111111111111111}"#, Some("4111111111111111")),
            (r#"{"note":"4111111111111112"}"#, None),
            (r#"{"note":"41111111111111111111111"}"#, None),
            (r#"{"note":"x4111111111111111"}"#, None),
            (r#"{"note":"0000000000000000"}"#, None),
            (r#"{"t":1.4111111111111111}"#, None),
            (r#"{"note":"it is sk-live-abc123"}"#, Some("sk-live-abc123")),
            (r#"{"note":"\nsk-live-abc123\t"}"#, Some("sk-live-abc123")),
            (r#"{"note":"sk-proj-0123456789abcdef"}"#, Some("sk-proj-0123456789abcdef")),
            (r#"{"note":"sk-0123456789abcdef0123"}"#, Some("sk-0123456789abcdef0123")),
            (r#"{"note":"sk-learn-pipelines-are-good"}"#, None),
            (r#"{"url":"https://h/?t=ghp_0123456789abcdefABCD&x"}"#, Some("ghp_0123456789abcdefABCD")),
            (r#"{"note":"AKIAIOSFODNN7EXAMPLE"}"#, Some("AKIAIOSFODNN7EXAMPLE")),
            (r#"{"note":"AKIA"}"#, None),
            (r#"{"h":"Authorization: Bearer abc.def-12345"}"#, Some("abc.def-12345")),
            (r#"{"h":"Bearer of news"}"#, None),
            (
                r#"{"note":"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"}"#,
                Some("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
            ),
            (r#"{"note":"gw_alice_0123456789abcdef"}"#, Some("gw_alice_0123456789abcdef")),
            (
                r#"{"k":"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"}"#,
                Some(r"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"),
            ),
            (r#"{"k":"-----BEGIN CERTIFICATE-----"}"#, None),
            (r#"{"date":"2026-11-21T10:05:00.000000Z","id":"019a2b3c-4d5e-7f60-8123-456789abcdef"}"#, None),
        ];
        for (text, secret) in cases {
            let found = find(text.as_bytes(), 0).map(|range| &text[range]);
            assert_eq!(found, secret, "{text}");
        }
    }

    #[test]
    fn no_text_takes_longer_than_its_length() {
        // Each would be slow if something were looked at again for every byte.
        for part in ["-----BEGIN ", "4 1", "eyJ", "eyJ.", "Bearer ", "1-", "\\"] {
            let text = part.repeat(200_000);
            let mut at = 0;
            while let Some(found) = find(text.as_bytes(), at) {
                assert!(found.end > at);
                at = found.end;
            }
        }
    }
}
