//! Which values of a server's entry are secrets, so that nothing the server says repeats them.
//!
//! A value is a secret if `${…}` filled it in, if it is a credential, or if its name says so.
//! `secrets` and `plain` say otherwise by name. Everything else stays readable: a result may
//! well contain the word `production`.

use std::collections::{BTreeMap, BTreeSet};

use doorward_model::Secret;

use crate::config::Context;
use crate::config::interpolate::Part;
use crate::config::lint::nearest;

/// What the words of a secret's name end with.
const ENDS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "secrets", "token", "apikey", "credentials"];

/// Whole words of a secret's name.
const WORDS: [&str; 7] = ["pass", "pwd", "credential", "authorization", "bearer", "cookie", "jwt"];

/// Last words of names that are about a secret, such as where it is, or how long.
const ABOUT: [&str; 20] = [
    "file", "path", "dir", "url", "uri", "endpoint", "name", "id", "ttl", "timeout", "expiry", "limit",
    "type", "length", "size", "enabled", "count", "max", "min", "header",
];

/// Variables that every program has, which say nothing that is secret.
const ORDINARY: [&str; 16] = [
    "HOME", "USER", "LOGNAME", "PATH", "PWD", "OLDPWD", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR",
    "TEMP", "TMP", "HOSTNAME", "NODE_ENV",
];

/// What `secrets` and `plain` of an entry say, and the secrets that were found.
pub(super) struct Secrecy<'a> {
    secrets: BTreeSet<&'a str>,
    plain: BTreeSet<&'a str>,
    /// Names that stand for a value of this entry.
    known: BTreeSet<String>,
    found: Vec<Secret>,
}

/// Whether the name of a variable, an option or a query parameter says that its value is secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let Some(last) = words.last().map(String::as_str) else { return false };
    if ABOUT.contains(&last) || words.len() == 1 && last == "pwd" {
        return false;
    }
    let says_so =
        |word: &String| WORDS.contains(&word.as_str()) || ENDS.iter().any(|end| word.ends_with(end));
    last == "key" || words.iter().any(says_so)
}

/// `GITHUB_TOKEN`, `--api-key` and `apiKey` as words in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().expect("one word at least").extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

impl<'a> Secrecy<'a> {
    pub(super) fn new(secrets: &'a [String], plain: &'a [String]) -> Self {
        let names = |list: &'a [String]| list.iter().map(String::as_str).collect();
        Self { secrets: names(secrets), plain: names(plain), known: BTreeSet::new(), found: Vec::new() }
    }

    /// What the program gets in its environment.
    pub(super) fn environment(&mut self, env: &BTreeMap<String, Secret>, path: &str, context: &Context<'_>) {
        for (name, value) in env {
            self.named(name, value.expose());
            self.parts(Some(name), &format!("{path}.env.{name}"), value.expose(), context);
        }
    }

    /// What the program gets as arguments: `--token=…`, and what follows `--token`.
    pub(super) fn arguments(&mut self, args: &[String], path: &str, context: &Context<'_>) {
        let mut before = "";
        for (index, arg) in args.iter().enumerate() {
            match arg.split_once('=') {
                Some((name, value)) => self.named(name.trim_start_matches('-'), value),
                None if before.starts_with('-') && !before.contains('=') && !arg.starts_with('-') => {
                    self.named(before.trim_start_matches('-'), arg);
                }
                None => {}
            }
            self.parts(None, &format!("{path}.args[{index}]"), arg, context);
            before = arg;
        }
    }

    /// Another text of the entry: its address, its program.
    pub(super) fn text(&mut self, key: &str, text: Option<&str>, path: &str, context: &Context<'_>) {
        let Some(text) = text else { return };
        let query = text.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            self.named(name, value);
        }
        self.parts(None, &format!("{path}.{key}"), text, context);
    }

    /// A value that was presented under a name.
    fn named(&mut self, name: &str, value: &str) {
        self.known.insert(name.to_owned());
        let is_plain = self.plain.contains(name);
        if self.secrets.contains(name) || (is_secret_name(name) && !is_plain) {
            self.found.push(Secret::new(value));
        }
    }

    /// What `${…}` filled in, and the password of an address (`postgres://user:password@host`).
    fn parts(&mut self, name: Option<&str>, at: &str, whole: &str, context: &Context<'_>) {
        let is_plain = name.is_some_and(|name| self.plain.contains(name));
        for Part { name, value } in context.parts.get(at).into_iter().flatten() {
            self.known.insert(name.clone());
            let name = name.as_str();
            let is_known = ORDINARY.contains(&name) || self.plain.contains(name);
            if self.secrets.contains(name) || !(is_plain || is_known) {
                self.found.push(value.clone());
            }
        }
        if let Some(password) = password_in(whole).filter(|_| !is_plain) {
            self.found.push(Secret::new(password));
        }
    }

    /// The secrets that were found. Names in `secrets` and `plain` that stand for nothing are
    /// errors: a misspelt one would leave a secret readable.
    pub(super) fn finish(self, path: &str, context: &mut Context<'_>) -> Vec<Secret> {
        let lists = [("secrets", &self.secrets), ("plain", &self.plain)];
        for (key, names) in lists {
            for name in names.iter().filter(|name| !self.known.contains(**name)) {
                let message = format!("`{name}` names no value of this server");
                let lint = context.findings.error("secrecy", format!("{path}.{key}"), message);
                let known = self.known.iter().map(String::as_str);
                lint.remedy(match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "name a variable of `env`, an option of `args`, or a variable in `${…}`".to_owned()
                    }
                });
            }
        }
        for name in self.secrets.intersection(&self.plain) {
            let message = format!("`{name}` stands in `secrets` and in `plain`");
            context
                .findings
                .error("secrecy", format!("{path}.plain"), message)
                .remedy("remove it from one of them");
        }
        self.found
    }
}

/// The password of an address.
fn password_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whether_a_value_is_secret() {
        let secret = [
            "GITHUB_TOKEN",
            "STRIPE_SECRET_KEY",
            "OPENAI_API_KEY",
            "apiKey",
            "APIKEY",
            "OPENAIAPIKEY",
            "DB_PASSWORD",
            "DB_PASS",
            "PGPASSWORD",
            "MYSQL_PWD",
            "api-key",
            "token",
            "SESSION_COOKIE",
            "AWS_SECRET_ACCESS_KEY",
            "JWT_SECRET",
            "client_secret",
        ];
        let plain = [
            "NODE_ENV",
            "LOG_LEVEL",
            "PWD",
            "TOKEN_URL",
            "SECRET_FILE",
            "MAX_TOKENS",
            "TOKEN_LIMIT",
            "KEYBOARD",
            "PASSENGER",
            "AWS_ACCESS_KEY_ID",
            "monkey",
            "COMPASS",
            "REGION",
            "",
            "--",
        ];
        for name in secret {
            assert!(is_secret_name(name), "{name}");
        }
        for name in plain {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_password_is_found_in_an_address() {
        let cases = [
            ("postgres://app:pa:ss@db/x", Some("pa:ss")),
            ("redis://:pass@db", Some("pass")),
            ("https://host/a@b:c", None),
            ("https://user@host/", None),
            ("plain", None),
        ];
        for (text, expected) in cases {
            assert_eq!(password_in(text), expected, "{text}");
        }
    }
}
