//! Credentials that cannot be meant: what shows that a text is not the credential itself.
//!
//! They come from mounted files, from variables and from copied examples. A text is never
//! mended here: whoever wrote the configuration learns what is wrong with it. No message
//! repeats the text.

use super::lint::Lint;

/// What is wrong with a credential, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slip {
    pub(super) message: &'static str,
    remedy: &'static str,
}

impl Slip {
    pub(super) fn advise(self, lint: &mut Lint) {
        lint.remedy(self.remedy);
    }
}

/// Kinds of credentials that people copy along with the credential.
const SCHEMES: [&str; 3] = ["bearer ", "basic ", "token "];

/// Looks for what no key and no token has.
pub(super) fn slip(text: &str) -> Option<Slip> {
    let found = |message, remedy| Some(Slip { message, remedy });
    if text.trim().is_empty() {
        return found("it is empty", "set it, and look whether the variable that it comes from is set");
    }
    if text.trim() != text {
        return found(
            "a blank or a line end stands around it",
            "remove that; `printf %s` writes a file without a line end",
        );
    }
    if text.chars().any(|c| c.is_control() || !c.is_ascii()) {
        return found(
            "it holds characters that no header may hold",
            "look for line breaks and the like in it",
        );
    }
    if is_variable(text) {
        return found("it is the name of a variable", "write `${NAME}`, with braces, to have it filled in");
    }
    None
}

/// Looks for what no key has: the kind of the credential, which clients put in front of it.
pub(super) fn slip_of_key(text: &str) -> Option<Slip> {
    let has_scheme =
        |scheme: &&str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    slip(text).or_else(|| {
        SCHEMES.iter().any(has_scheme).then_some(Slip {
            message: "it begins with the name of its scheme, which is not part of it",
            remedy: "leave `Bearer` out",
        })
    })
}

/// Looks for what no token of another service is: a placeholder, for one.
pub(super) fn slip_of_token(text: &str) -> Option<Slip> {
    let template = Slip { message: "it is a placeholder", remedy: "put the credential itself there" };
    slip_of_key(text).or_else(|| is_template(text).then_some(template))
}

/// `$NAME`, `%NAME%` or `{{NAME}}`, which other programs fill in.
pub(super) fn is_variable(text: &str) -> bool {
    let inside = [("$", ""), ("%", "%"), ("{{", "}}"), ("$(", ")"), ("$env:", "")];
    let name = |(start, end): &(&str, &str)| text.strip_prefix(*start)?.strip_suffix(*end).map(str::trim);
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'.')
    };
    inside.iter().filter_map(name).any(is_name)
}

/// `<token>`, or words that ask for one.
fn is_template(text: &str) -> bool {
    let plain = text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    (text.starts_with('<') && text.ends_with('>'))
        || ["changeme", "replaceme", "yourtoken", "yourapikey", "tokenhere", "keyhere"]
            .iter()
            .any(|mark| plain.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_told_from_credentials() {
        let cases = [
            // text, what is wrong with any of them, whether it is no key, and no token
            ("", Some("it is empty"), true, true),
            (" \n", Some("it is empty"), true, true),
            ("abc\n", Some("a blank or a line end stands around it"), true, true),
            (" abc", Some("a blank or a line end stands around it"), true, true),
            ("a\tb", Some("it holds characters that no header may hold"), true, true),
            ("grüße", Some("it holds characters that no header may hold"), true, true),
            ("$TOK", Some("it is the name of a variable"), true, true),
            ("%TOK%", Some("it is the name of a variable"), true, true),
            ("{{ TOK }}", Some("it is the name of a variable"), true, true),
            ("$(TOK)", Some("it is the name of a variable"), true, true),
            ("Bearer abc", None, true, true),
            ("bearer abc", None, true, true),
            ("<your token>", None, false, true),
            ("YOUR_API_KEY", None, false, true),
            ("Bearer", None, false, false),
            ("ghp_1a2b3c", None, false, false),
            ("$5$salt$hash", None, false, false),
            ("a b", None, false, false),
        ];
        for (text, anywhere, in_key, in_token) in cases {
            assert_eq!(slip(text).map(|slip| slip.message), anywhere, "{text:?}");
            assert_eq!(slip_of_key(text).is_some(), in_key, "{text:?}");
            assert_eq!(slip_of_token(text).is_some(), in_token, "{text:?}");
        }
    }
}
