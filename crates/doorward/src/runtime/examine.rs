//! Would a gateway put this file in force?
//!
//! Reading it is the smaller part: its policies have to compile, and its certificate has to fit its
//! key. Nothing is opened, bound or written.

use std::path::Path;

use super::rulebook::Unusable;
use super::{Surroundings, compile, tls};
use crate::config::lint::Findings;
use crate::config::tree::Positions;
use crate::config::{Config, Lint, Loaded, Variables, parse};

/// What there is to say about a file.
pub struct Examined {
    /// All findings, in the order of the file.
    pub lints: Vec<Lint>,
    /// What it says, where nothing is wrong with it.
    pub loaded: Option<Loaded>,
}

impl Examined {
    /// Looks at the file as a gateway does that starts or is running.
    pub fn of(path: &Path, variables: &Variables<'_>) -> Self {
        let mut loaded = match Config::load(path, variables) {
            Ok(loaded) => loaded,
            Err(lints) => return Self { lints, loaded: None },
        };
        let flaws = flaws(&loaded.config);
        let is_sound = !flaws.has_errors();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let positions = parse(path, &text).map(|root| Positions::of(&root)).unwrap_or_default();
        let mut lints = std::mem::take(&mut loaded.lints);
        lints.extend(flaws.located(&positions));
        lints.sort_by_key(|lint| (lint.line, lint.column));
        Self { lints, loaded: is_sound.then_some(loaded) }
    }

    /// What keeps a gateway from putting it in force.
    pub fn errors(&self) -> impl Iterator<Item = &Lint> {
        self.lints.iter().filter(|lint| lint.is_error())
    }
}

/// What shows only when a configuration is put to use.
fn flaws(config: &Config) -> Findings {
    let mut findings = Findings::default();
    if let Err(error) = compile(config, &Surroundings::system()) {
        match error.downcast::<Unusable>() {
            Ok(Unusable(errors)) => {
                for error in errors {
                    let is_rule = error.place.starts_with("policies");
                    let (code, place) = if is_rule { ("policy", error.place) } else { ("rego", error.place) };
                    findings.error(code, place, error.message);
                }
            }
            Err(error) => {
                findings.error("unusable", "", format!("{error:#}"));
            }
        }
    }
    if let Some(files) = &config.listen.tls
        && let Err(error) = tls::check(files)
    {
        findings.error("tls", "tls", format!("{error:#}"));
    }
    findings
}
