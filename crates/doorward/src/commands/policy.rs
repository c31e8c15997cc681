//! `doorward policy`: what would be decided, without a gateway.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use doorward_model::json::Document;
use doorward_policy::{Mode, PolicySet, RegoSource, asked, simulate};

use super::{Exit, Surroundings, load};
use crate::config::Config;
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
        /// Decide with this Rego source too, as if it were enforced; it replaces a policy of the
        /// same name (that of the file, without `.rego`)
        #[arg(long, value_name = "FILE")]
        rego: Vec<PathBuf>,
        /// Decide as if this policy were enforced, whatever its `mode`
        #[arg(long, value_name = "POLICY")]
        enforce: Vec<String>,
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

  doorward policy simulate --input call.json --rego new.rego
  doorward policy simulate --input call.json --enforce refunds

The input names one tool, prompt or resource (`resource: {uri: …}`). Other missing parts of the input document take their defaults; `roles` may stand at the top.
Exit status: 0 the call is allowed, 1 it is not.";

pub(super) fn run(
    command: &Command,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Command::Simulate { input, rego: unsaved, enforce, .. } = command;
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let text = read(input)?;
    let document = Document::parse(Bytes::from(text), &doorward_verify::LIMITS)
        .map_err(|error| anyhow!("{}: {error}", input.display()))?;
    let (operation, target) =
        asked(document.root()).map_err(|error| anyhow!("{}: {error}", input.display()))?;
    let roles = loaded.config.policies.iter().map(role_policy).collect();
    let rego = sources(&loaded.config, unsaved, enforce)?;
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
        "operation": operation.as_str(),
        "target": target,
        "verdict": decision.verdict,
        "reasons": decision.reasons,
        "layer": decision.layer,
        "rule": decision.rule,
    });
    writeln!(world.out, "{answer}")?;
    Ok(if decision.is_allowed() { Exit::Done } else { Exit::No })
}

/// The configured policies, with those that are to be tried.
fn sources(config: &Config, unsaved: &[PathBuf], enforce: &[String]) -> anyhow::Result<Vec<RegoSource>> {
    let mut sources: Vec<_> = config.rego_policies.iter().map(rego_source).collect();
    for name in enforce {
        let source = sources.iter_mut().find(|source| source.name == *name);
        source.with_context(|| format!("there is no policy `{name}` in `regoPolicies`"))?.mode =
            Mode::Enforce;
    }
    for file in unsaved {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let place = Some(file.display().to_string());
        match sources.iter_mut().find(|source| source.name == name) {
            Some(source) => {
                (source.source, source.file, source.mode) = (text, place, Mode::Enforce);
            }
            None => sources.push(RegoSource { name, source: text, file: place, ..RegoSource::default() }),
        }
    }
    Ok(sources)
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
