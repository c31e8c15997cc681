//! What is wrong, or doubtful, in a policy, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A line and a column of a Rego source, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// The line.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
}

impl At {
    /// Where a source begins: the place of what is wrong with all of it.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    pub(crate) fn new(line: u32, column: u32) -> Self {
        Self { line: line.max(1), column: column.max(1) }
    }
}

/// Why a policy cannot be used. Whoever wrote it can put it right.
///
/// `refunds.rego:12:3: error: there is no function …`, or `policies[2].rules[0].action: …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct PolicyError {
    /// `policies[2].rules[0].action`; of a Rego policy its file, else its name.
    pub place: String,
    /// Where in the source of a Rego policy.
    pub at: Option<At>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl PolicyError {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), at: None, message: message.into() }
    }

    /// Something that is wrong at this place of a Rego source.
    pub(crate) fn in_source(place: impl Into<String>, at: At, message: impl Into<String>) -> Self {
        Self { place: place.into(), at: Some(at), message: message.into() }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.place, self.at, "error: ", &self.message)
    }
}

/// Something that is accepted and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// As in [`PolicyError`].
    pub place: String,
    /// As in [`PolicyError`].
    pub at: Option<At>,
    /// What it does as written.
    pub message: String,
}

impl Warning {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), at: None, message: message.into() }
    }

    /// Something that is doubtful at this place of a Rego source.
    pub(crate) fn in_source(place: impl Into<String>, at: At, message: impl Into<String>) -> Self {
        Self { place: place.into(), at: Some(at), message: message.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.place, self.at, "warning: ", &self.message)
    }
}

fn write(f: &mut fmt::Formatter<'_>, place: &str, at: Option<At>, kind: &str, message: &str) -> fmt::Result {
    match at {
        Some(At { line, column }) => write!(f, "{place}:{line}:{column}: {kind}{message}"),
        None => write!(f, "{place}: {message}"),
    }
}

/// `; did you mean …?` with the most similar known word, or nothing.
pub(crate) fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let similar = known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match similar {
        Some((likeness, candidate)) if likeness > 0.6 => format!("; did you mean `{candidate}`?"),
        _ => String::new(),
    }
}
