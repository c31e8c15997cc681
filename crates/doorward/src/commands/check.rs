//! `doorward check`: is this configuration valid, and what is odd about it?

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::unmatched::unmatched;
use super::{Exit, Surroundings, locate, located};
use crate::config::Lint;
use crate::runtime::examine::Examined;

const EXAMPLES: &str = "\
Examples:
  doorward check
  doorward check production.yaml --json

Policies are compiled and the certificate is loaded, as at a start. Where a gateway runs on this
configuration, names in rules and limits are held against what its servers offer. Warnings leave the exit status at 0; errors make it 1.";

/// Arguments of `doorward check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The file to check, in place of the usual one
    file: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    file: String,
    valid: bool,
    errors: usize,
    warnings: usize,
    digest: Option<&'a str>,
    findings: &'a [Lint],
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let path = locate(arguments.file.as_deref().or(named), world)?;
    let mut examined = Examined::of(&path, world.variables);
    if let Some(found) = examined.loaded.as_ref().map(|loaded| unmatched(&loaded.config)) {
        examined.add(found);
    }
    let errors = examined.errors().count();
    let (lints, digest) = (examined.lints, examined.loaded.map(|loaded| loaded.digest));
    let warnings = lints.len() - errors;
    if arguments.json {
        let answer = Answer {
            file: path.display().to_string(),
            valid: errors == 0,
            errors,
            warnings,
            digest: digest.as_deref(),
            findings: &lints,
        };
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else {
        for lint in &lints {
            writeln!(world.out, "{}", located(&path, lint))?;
        }
        let verdict = if errors == 0 { "valid" } else { "not valid" };
        let counted = format!("{}, {}", count(errors, "error"), count(warnings, "warning"));
        writeln!(world.out, "{}: {verdict} ({counted})", path.display())?;
    }
    Ok(if errors == 0 { Exit::Done } else { Exit::No })
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
