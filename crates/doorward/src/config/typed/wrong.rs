//! A value that cannot be what it must be, in words.
//!
//! Messages never repeat a text of the file, short words where a word was expected
//! aside: it may be a credential in the wrong place.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use crate::config::lint::did_you_mean;
use crate::config::tree::Mark;

/// A value that cannot be what it must be.
#[derive(Debug)]
pub(crate) struct WrongKind {
    pub(crate) path: String,
    pub(crate) mark: Option<Mark>,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
}

impl WrongKind {
    fn new(message: String, remedy: Option<String>) -> Self {
        Self { path: String::new(), mark: None, message, remedy }
    }
}

/// Keys whose values are numbers of milliseconds.
const MILLISECONDS: [&str; 5] = ["timeout", "maxTimeout", "startTimeout", "idleTimeout", "flushIntervalMs"];

impl WrongKind {
    /// Says of a time that it is a number of milliseconds: people write `30s`.
    pub(super) fn of_key(self, key: &str, found: Option<&str>) -> Self {
        if !MILLISECONDS.contains(&key) {
            return self;
        }
        // Only what looks like a time is repeated: anything else may be a credential in the wrong place.
        let found = found.filter(|text| is_time(text)).map(|text| format!("; found the text \"{text}\""));
        let message =
            format!("`{key}` is a number of milliseconds, such as 30000{}", found.unwrap_or_default());
        Self { message, ..self }
    }
}

/// `30s`, `1.5 min`
fn is_time(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim();
    let units = ["", "ms", "s", "sec", "seconds", "m", "min", "minutes", "h", "hours"];
    text.starts_with(|c: char| c.is_ascii_digit()) && text.len() <= 16 && units.contains(&unit)
}

impl fmt::Display for WrongKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WrongKind {}

impl de::Error for WrongKind {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unit => "nothing",
            Unexpected::Bool(_) => "true or false",
            Unexpected::Float(_) | Unexpected::Signed(_) | Unexpected::Unsigned(_) => "a number",
            Unexpected::Seq => "a list",
            Unexpected::Map => "keys and values",
            _ => "a text",
        };
        Self::new(format!("must be {}; found {found}", plain(expected)), None)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {}", plain(expected)), None)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let words = expected.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        // Only words are repeated: what is longer may be something else entirely.
        let found = if variant.len() <= 24 { format!("; found `{variant}`") } else { String::new() };
        Self::new(format!("must be one of {words}{found}"), did_you_mean(variant, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing"), None)
    }
}

/// What serde calls a type, in words.
fn plain(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more".to_owned(),
        "i64" | "i32" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "keys and values".to_owned(),
        other if other.starts_with("struct ") => "keys and values".to_owned(),
        other => other.to_owned(),
    }
}
