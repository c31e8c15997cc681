//! `doorward audit prove`: one decision, for somebody without the log.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use doorward_ledger::Index;

use crate::commands::which::Which;
use crate::commands::{Exit, Surroundings};
use crate::config::Config;
use crate::prove::{Disclosed, Log, Proven, prove};

const EXAMPLES: &str = "\
Examples:
  doorward audit prove 019a2b3c-4d5e-7f60-8123-456789abcdef --output proof.json
  doorward audit prove 17 --without-input > proof.json
  doorward verify proof.json --key ledger.pub

The call is named by its id, which a denied call carries as `record`, or by its entry's number. The proof has the
decision and the outcome as the log has them, their paths to a signed checkpoint, the policies that were in force, and
what they were asked, where that was kept (`audit.capture: full`): the arguments among it, in the clear.
Exit status: 0 the proof was written, 1 there is no such call, or no checkpoint covers it yet.";

/// Arguments of `audit prove`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The call's id, or the number of its entry
    call: Which,
    /// Write it to this file, for its owner alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Withhold what the policies were asked: the proof shows what was decided, not that it follows
    #[arg(long)]
    without_input: bool,
    /// Withhold the policies
    #[arg(long)]
    without_policies: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    config: &Config,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let audit = &config.audit;
    let Some(found) = arguments.call.find(&Index::open_caught_up(&audit.dir)?)? else {
        writeln!(world.err, "the log has no call `{}`", arguments.call)?;
        return Ok(Exit::No);
    };
    let log = Log { folder: &audit.dir, keys: &audit.key_dir };
    let disclosed = Disclosed { policies: !arguments.without_policies, input: !arguments.without_input };
    let (text, has_input) = match prove(&found, &log, disclosed, world.random)? {
        Proven::Proof { text, has_input } => (text, has_input),
        Proven::Uncovered(entry) => {
            let within = audit.checkpoint_interval.as_millis();
            writeln!(
                world.err,
                "no checkpoint covers entry {entry} yet: a running gateway signs one within {within} ms, and one that was killed at its next start"
            )?;
            return Ok(Exit::No);
        }
    };
    match &arguments.output {
        Some(path) => write(path, &text).with_context(|| path.display().to_string())?,
        None => world.out.write_all(text.as_bytes())?,
    }
    if found.row.outcome.is_none() {
        writeln!(world.err, "the call has not ended: the proof is of its decision alone")?;
    }
    if disclosed.input && !has_input {
        writeln!(
            world.err,
            "what the policies were asked was not kept (`audit.capture: full` keeps it): the proof shows what was decided, not that it follows"
        )?;
    }
    Ok(Exit::Done)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
}
