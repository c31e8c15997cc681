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
        Self::new(format!("must be {}, and is {found}", plain(expected)), None)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("must be {}", plain(expected)), None)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let words = expected.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        // Only words are repeated: what is longer may be something else entirely.
        let found = if variant.len() <= 24 { format!(", and is `{variant}`") } else { String::new() };
        Self::new(format!("must be one of {words}{found}"), did_you_mean(variant, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing"), None)
    }
}

/// What serde calls a type, in words.
fn plain(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that fits, not below zero".to_owned(),
        "i64" | "i32" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "keys and values".to_owned(),
        other if other.starts_with("struct ") => "keys and values".to_owned(),
        other => other.to_owned(),
    }
}
