//! What a preview of arguments never shows: secrets that are known, and those that are told by
//! their looks.

use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use doorward_model::Secret;
use doorward_model::json;

use crate::shapes;

/// What stands where a secret stood.
pub(crate) const MASK: &str = "[masked]";
/// Shorter secrets are not looked for: they would be found in ordinary words.
const SHORTEST: usize = 8;
/// How much of a text is looked at: a preview is shorter, and a secret that begins in it is to be
/// recognised.
const FAR_ENOUGH: usize = 8 << 10;

/// The secrets of a configuration, to be found in texts.
pub struct KnownSecrets(Option<AhoCorasick>);

impl KnownSecrets {
    /// Those of these that are long enough to be told from words.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets {
            // A pasted credential often carries its kind in front.
            let whole = secret.expose();
            for form in [Some(whole), whole.split_once(' ').map(|(_, rest)| rest)].into_iter().flatten() {
                if form.len() >= SHORTEST {
                    let quoted = json::quoted(form);
                    forms.push(quoted[1..quoted.len() - 1].to_owned());
                }
            }
        }
        let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&forms);
        Self((!forms.is_empty()).then_some(built).and_then(Result::ok))
    }
}

impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownSecrets")
    }
}

/// What is known to be secret in one call.
#[derive(Clone, Copy, Default)]
pub struct Secrets<'a> {
    /// The configuration's.
    pub known: Option<&'a KnownSecrets>,
    /// What the caller presented.
    pub presented: Option<&'a str>,
}

impl Secrets<'_> {
    /// Whether there is one in a text that is no JSON.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.first(text.as_bytes(), 0).is_some()
    }

    /// JSON text without them; what is far behind the end of any preview is cut off.
    pub(crate) fn masked(&self, json: String) -> String {
        let near = json.floor_char_boundary(FAR_ENOUGH);
        let bytes = &json.as_bytes()[..near];
        let Some(mut found) = self.first(bytes, 0) else { return json };
        let mut out = String::with_capacity(json.len().min(FAR_ENOUGH));
        let mut clean = 0;
        loop {
            out.push_str(json.get(clean..found.start).unwrap_or_default());
            // A number becomes a text, so that the whole stays JSON.
            let is_number = matches!(out.as_bytes().last(), None | Some(b':' | b'[' | b','))
                && bytes[found.start].is_ascii_digit()
                && matches!(bytes.get(found.end), None | Some(b'}' | b']' | b','));
            if is_number {
                json::push_string(&mut out, MASK)
            } else {
                out.push_str(MASK)
            }
            clean = found.end;
            match self.first(bytes, clean) {
                Some(next) => found = next,
                None => break,
            }
        }
        out.push_str(json.get(clean..).unwrap_or_default());
        out
    }

    /// The first that begins at `from` or later.
    fn first(&self, text: &[u8], from: usize) -> Option<Range<usize>> {
        let rest = &text[from..];
        let shaped = shapes::find(text, from);
        let known = self
            .known
            .and_then(|known| known.0.as_ref()?.find(rest))
            .map(|it| from + it.start()..from + it.end());
        let presented = self.presented.filter(|it| it.len() >= SHORTEST).and_then(|presented| {
            let at = from + memchr::memmem::find(rest, presented.as_bytes())?;
            Some(at..at + presented.len())
        });
        [shaped, known, presented]
            .into_iter()
            .flatten()
            .min_by_key(|it| (it.start, std::cmp::Reverse(it.end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_presented_secrets_are_masked_and_the_text_stays_json() {
        let configured =
            [Secret::new("Bearer hunter2-hunter2"), Secret::new("short"), Secret::new("qu\"ote-secret")];
        let known = KnownSecrets::new(&configured);
        let secrets = Secrets { known: Some(&known), presented: Some("my-own-key-0815") };
        let cases = [
            (r#"{"a":"hunter2-hunter2"}"#, r#"{"a":"[masked]"}"#),
            (
                r#"{"a":"x my-own-key-0815 y","b":"hunter2-hunter2"}"#,
                r#"{"a":"x [masked] y","b":"[masked]"}"#,
            ),
            (r#"{"a":"qu\"ote-secret"}"#, r#"{"a":"[masked]"}"#),
            (r#"{"a":"a short word"}"#, r#"{"a":"a short word"}"#),
            (r#"{"a":[4111111111111111,2],"b":4111111111111111}"#, r#"{"a":["[masked]",2],"b":"[masked]"}"#),
            (r#"{"a":"no: 4111111111111111, thanks"}"#, r#"{"a":"no: [masked], thanks"}"#),
        ];
        for (text, masked) in cases {
            assert_eq!(secrets.masked(text.to_owned()), masked, "{text}");
        }
        assert!(secrets.is_in("my-own-key-0815") && !secrets.is_in("another"));
    }

    #[test]
    fn a_text_without_secrets_is_the_very_same() {
        let text = r#"{"a":"plain"}"#.to_owned();
        let place = text.as_ptr();
        let masked = Secrets::default().masked(text);
        assert_eq!(masked.as_ptr(), place, "nothing was allocated");
    }

    #[test]
    fn many_secrets_take_no_longer_than_their_number() {
        let text = format!("{{\"a\":\"{}\"}}", "sk-live-abc123 ".repeat(100_000));
        let masked = Secrets::default().masked(text);
        assert!(masked.starts_with(r#"{"a":"[masked] [masked] "#));
    }
}
