//! Would a gateway put this file in force?
//!
//! Reading it is the smaller part: its policies have to compile, and its certificate has to fit its
//! key. Nothing is opened, bound or written.

use std::path::Path;

use doorward_policy::{At, PolicyError, Warning};

use super::rulebook::Unusable;
use super::{Surroundings, compile, rego_source, tls};
use crate::config::lint::{Findings, Severity};
use crate::config::tree::{Mark, Positions};
use crate::config::{Config, Lint, Loaded, Variables, parse};

/// What there is to say about a file.
pub struct Examined {
    /// All findings, in the order of the file.
    pub lints: Vec<Lint>,
    /// What it says, where nothing is wrong with it.
    pub loaded: Option<Loaded>,
    positions: Positions,
}

impl Examined {
    /// Looks at the file as a gateway does that starts or is running.
    pub fn of(path: &Path, variables: &Variables<'_>) -> Self {
        let mut loaded = match Config::load(path, variables) {
            Ok(loaded) => loaded,
            Err(lints) => return Self { lints, loaded: None, positions: Positions::default() },
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let positions = parse(path, &text).map(|root| Positions::of(&root)).unwrap_or_default();
        let flaws = flaws(&loaded.config, &Written { text: &text, positions: &positions });
        let is_sound = !flaws.has_errors();
        let mut lints = std::mem::take(&mut loaded.lints);
        lints.extend(flaws.located(&positions));
        lints.sort_by_key(|lint| (lint.line, lint.column));
        Self { lints, loaded: is_sound.then_some(loaded), positions }
    }

    /// Adds what was found elsewhere, each at its place in the file.
    pub(crate) fn add(&mut self, found: Findings) {
        self.lints.extend(found.located(&self.positions));
        self.lints.sort_by_key(|lint| (lint.line, lint.column));
    }

    /// What keeps a gateway from putting it in force.
    pub fn errors(&self) -> impl Iterator<Item = &Lint> {
        self.lints.iter().filter(|lint| lint.is_error())
    }
}

/// The configuration as it is written.
struct Written<'a> {
    text: &'a str,
    positions: &'a Positions,
}

/// What shows only when a configuration is put to use.
fn flaws(config: &Config, written: &Written<'_>) -> Findings {
    let mut findings = Findings::default();
    match compile(config, &Surroundings::system()) {
        Ok(warnings) => {
            for Warning { place, at, message } in warnings {
                let severity = Severity::Warning;
                note(&mut findings, severity, config, written, PolicyError { place, at, message });
            }
        }
        Err(error) => match error.downcast::<Unusable>() {
            Ok(Unusable(errors)) => {
                for error in errors {
                    note(&mut findings, Severity::Error, config, written, error);
                }
            }
            Err(error) => {
                findings.error("unusable", "", format!("{error:#}"));
            }
        },
    }
    if let Some(files) = &config.listen.tls
        && let Err(error) = tls::check(files)
    {
        findings.error("tls", "tls", format!("{error:#}"));
    }
    findings
}

/// Adds what is wrong with a policy: of a Rego source in a file at its place there, of one in the
/// configuration at its place in that.
fn note(
    findings: &mut Findings,
    severity: Severity,
    config: &Config,
    written: &Written<'_>,
    found: PolicyError,
) {
    let PolicyError { place, at, message } = found;
    let sources = config.rego_policies.iter().map(rego_source);
    let Some((index, source)) = sources.enumerate().find(|(_, source)| source.place() == place) else {
        findings.add(severity, "policy", place, message);
        return;
    };
    let At { line, column } = at.unwrap_or(At { line: 1, column: 1 });
    let (line, column) = (line as usize, column as usize);
    if source.file.is_some() {
        let lint = findings.add(severity, "rego", format!("regoPolicies[{index}].file"), message);
        lint.file = Some(place);
        lint.at(Mark { line, column, offset: 0 });
        return;
    }
    let path = format!("regoPolicies[{index}].source");
    match written.positions.nearest(&path).and_then(|mark| inside(&source.source, mark, written.text)) {
        Some((first, indent)) => {
            let mark = Mark { line: first + line - 1, column: indent + column, offset: 0 };
            findings.add(severity, "rego", path, message).at(mark);
        }
        None => {
            findings.add(severity, "rego", path, format!("{place}:{line}:{column}: {message}"));
        }
    }
}

/// The line of the configuration where a source that is written in it begins, and how far it is
/// indented; `None` where its lines do not stand there as they are.
fn inside(source: &str, mark: Mark, text: &str) -> Option<(usize, usize)> {
    let lines: Vec<_> = text.lines().collect();
    // Behind `source: |`, after its key.
    let first = mark.line;
    let start = source.lines().next()?;
    let indent = lines.get(first)?.strip_suffix(start)?.len();
    let is_there = |(at, line): (usize, &str)| {
        let there = lines.get(first + at).copied().unwrap_or_default();
        line.is_empty() || there.len() == indent + line.len() && there.ends_with(line)
    };
    source.lines().enumerate().all(is_there).then_some((first + 1, indent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_found_where_it_stands_and_nowhere_else() {
        let mark = Mark { line: 2, column: 5, offset: 0 };
        let literal = "a:\n  - source: |\n      package p\n\n      allow if x\n";
        assert_eq!(inside("package p\n\nallow if x\n", mark, literal), Some((3, 6)));
        let folded = "a:\n  - source: \"package p\\nallow if x\"\n";
        assert_eq!(inside("package p\nallow if x", mark, folded), None);
    }
}
