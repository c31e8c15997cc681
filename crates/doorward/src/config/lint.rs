//! What is wrong, or only odd, about a configuration: where, why, and what to do.

use std::fmt;

use serde::Serialize;

use super::tree::{Mark, Positions};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The gateway starts, and does perhaps not what was meant.
    Warning,
    /// The gateway does not start.
    Error,
}

/// Letters that the start of a word must have to stand for the whole.
const SHORTEST_START: usize = 3;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for the kind of finding, such as `unknown-key`.
    pub code: &'static str,
    /// Where in the document: `servers[2].credential`; empty for the document itself.
    pub path: String,
    /// The file, where it is another than the configuration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1; absent when the finding is about something missing
    /// from a document without content, or about no line at all.
    pub line: Option<usize>,
    /// Column in the line, from 1.
    pub column: Option<usize>,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Lint {
    /// Whether it keeps the gateway from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// `12:3: error: servers[0].id: two servers have the id `x`; rename one`.
impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}: ")?;
        }
        f.write_str(match self.severity {
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
        })?;
        if !self.path.is_empty() && self.file.is_none() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// Collects findings while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    lints: Vec<Lint>,
}

impl Findings {
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Lint {
        self.add(Severity::Error, code, path.into(), message.into())
    }

    pub(crate) fn warn(
        &mut self,
        code: &'static str,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> &mut Lint {
        self.add(Severity::Warning, code, path.into(), message.into())
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: String,
        message: String,
    ) -> &mut Lint {
        let file = None;
        self.lints.push(Lint { severity, code, path, file, line: None, column: None, message, remedy: None });
        self.lints.last_mut().expect("one was just added")
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.lints.iter().any(Lint::is_error)
    }

    /// The findings in the order of the file, each with its line.
    pub(crate) fn located(mut self, positions: &Positions) -> Vec<Lint> {
        for lint in &mut self.lints {
            if let (None, Some(mark)) = (lint.line, positions.nearest(&lint.path)) {
                lint.at(mark);
            }
        }
        self.lints.sort_by_key(|lint| (lint.line, lint.column));
        self.lints
    }
}

impl Lint {
    pub(crate) fn remedy(&mut self, remedy: impl Into<String>) -> &mut Self {
        self.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn at(&mut self, mark: Mark) -> &mut Self {
        self.line = Some(mark.line);
        self.column = Some(mark.column);
        self
    }
}

/// The candidate nearest to `text`, if it is near enough to be what was meant: few letters
/// differ, or one of the two begins with the other.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let allowed = (text.chars().count() / 3).max(1);
    let distance = |candidate: &str| {
        let candidate = candidate.to_lowercase();
        let is_start = |long: &str, short: &str| short.len() >= SHORTEST_START && long.starts_with(short);
        let apart = strsim::damerau_levenshtein(&text, &candidate);
        let is_near = apart <= allowed || is_start(&candidate, &text) || is_start(&text, &candidate);
        is_near.then_some(apart)
    };
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(candidate)?, candidate)))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean …?` as a remedy, or nothing.
pub(crate) fn did_you_mean(text: &str, candidates: &[&str]) -> Option<String> {
    nearest(text, candidates.iter().copied()).map(|candidate| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["servers", "auth", "policies", "rateLimit", "port"];
        let cases = [
            ("server", Some("servers")),
            ("ratelimit", Some("rateLimit")),
            ("polices", Some("policies")),
            ("prot", Some("port")),
            ("rate", Some("rateLimit")),
            ("portNumber", Some("port")),
            ("au", None),
            ("telemetry", None),
            ("x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nearest(text, known), expected, "{text}");
        }
    }
}
