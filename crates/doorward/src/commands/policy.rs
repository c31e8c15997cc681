//! `doorward policy`: what would be decided, without a gateway.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use doorward_model::json::Document;
use doorward_policy::{PolicySet, simulate};

use super::{Exit, Surroundings, load};
use crate::runtime::{rego_source, role_policy, trial, usable};

/// What to do with policies.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Decide one recorded or invented call, and print the decision as JSON
    #[command(after_help = EXAMPLES)]
    Simulate {
        /// The input document, `-` for standard input
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// Accepted for scripts; the answer is JSON either way
        #[arg(long)]
        json: bool,
    },
}

const EXAMPLES: &str = "\
Examples:
  doorward policy simulate --input call.json
  echo '{\"backend\":\"stripe\",\"tool\":\"create_refund\",\"arguments\":{\"amount\":101},\"roles\":[\"writer\"]}' \\
    | doorward policy simulate --input -

Missing parts of the input document take their defaults; `roles` may stand at the top.
Exit status: 0 the call is allowed, 1 it is not.";

pub(super) fn run(
    command: &Command,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Command::Simulate { input, .. } = command;
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let text = read(input)?;
    let document = Document::parse(Bytes::from(text), &doorward_verify::LIMITS)
        .map_err(|error| anyhow!("{}: {error}", input.display()))?;
    let roles = loaded.config.policies.iter().map(role_policy).collect();
    let rego = loaded.config.rego_policies.iter().map(rego_source).collect();
    let program = std::env::current_exe()?;
    let options = loaded.config.policy_options();
    let compiled = PolicySet::compile(roles, rego, &options, &|source| trial::in_a_child(&program, source));
    let policy = match compiled.and_then(|(policy, _)| usable(policy).map_err(|error| vec![error])) {
        Ok(policy) => policy,
        Err(errors) => {
            for error in errors {
                writeln!(world.err, "{error}")?;
            }
            return Ok(Exit::No);
        }
    };
    let ruling =
        simulate(&policy, document.root()).map_err(|error| anyhow!("{}: {error}", input.display()))?;
    let decision = &ruling.decision;
    let answer = serde_json::json!({
        "verdict": decision.verdict,
        "reasons": decision.reasons,
        "layer": decision.layer,
        "rule": decision.rule,
    });
    writeln!(world.out, "{answer}")?;
    Ok(if decision.is_allowed() { Exit::Done } else { Exit::No })
}

fn read(input: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    if input == Path::new("-") {
        std::io::stdin().read_to_end(&mut text).context("standard input")?;
    } else {
        text = std::fs::read(input).with_context(|| input.display().to_string())?;
    }
    Ok(text)
}
