//! `doorward audit prove`: one decision, for somebody without the log.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use doorward_ledger::{Index, Recorded, holder};
use tempfile::NamedTempFile;

use crate::commands::which::Named;
use crate::commands::{Exit, Surroundings};
use crate::config::Config;
use crate::prove::{Disclosed, Log, Proven, prove};

const EXAMPLES: &str = "\
Examples:
  doorward audit prove 019a2b3c-4d5e-7f60-8123-456789abcdef --output proof.json
  doorward audit prove --last > proof.json
  doorward audit prove 019a2b3c --without-input > proof.json
  doorward verify proof.json --key ledger.pub

The call is named by its id, which a denied call carries as `record`, by the first 8 or more digits of it, or by its
entry's number. The proof has the decision and the outcome as the log has them, their paths to a signed checkpoint,
the policies that were in force, and what they were asked, where that was kept (`audit.capture: full`): the arguments
among it, in the clear.
Exit status: 0 the proof was written, 1 there is no such call, or no checkpoint covers it yet.";

/// Arguments of `audit prove`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    call: Named,
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
        writeln!(world.err, "{}", arguments.call)?;
        return Ok(Exit::No);
    };
    let log = Log { folder: &audit.dir, keys: &audit.key_dir };
    let disclosed = Disclosed { policies: !arguments.without_policies, input: !arguments.without_input };
    let (text, has_input) = match proven(&found, &log, disclosed, audit.checkpoint_interval, world)? {
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

/// Proves it, and waits for the next checkpoint if none covers it yet and somebody is there to sign
/// one: a call that was made a moment ago is the one that people want to prove.
fn proven(
    found: &Recorded,
    log: &Log<'_>,
    disclosed: Disclosed,
    interval: Duration,
    world: &Surroundings<'_>,
) -> anyhow::Result<Proven> {
    let patience = interval.min(MOST_PATIENCE) + PACE;
    let began = world.clock.elapsed();
    loop {
        let proven = prove(found, log, disclosed, world.random)?;
        let is_late = world.clock.elapsed().saturating_sub(began) > patience;
        if matches!(proven, Proven::Proof { .. }) || is_late || holder(log.folder).is_none() {
            return Ok(proven);
        }
        std::thread::sleep(PACE);
    }
}

/// How often it is looked for a checkpoint, and for how long at most.
const PACE: Duration = Duration::from_millis(200);
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// Whoever may read the file that is there, or has it open, reads nothing of the proof: it is
/// another file with the same name.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if fs::metadata(path).is_ok_and(|present| !present.is_file()) {
        // A pipe or a device is whose it is.
        return OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes());
    }
    // Links are followed, so that they are not replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Made for its owner alone, and gone again unless all of it is on disk.
    let mut fresh = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    fresh.write_all(text.as_bytes())?;
    fresh.as_file().sync_all()?;
    fresh.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_proof_is_for_its_owner_alone_whatever_was_there_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("before"), "older and longer than the proof").expect("written");
        fs::set_permissions(at("before"), Permissions::from_mode(0o644)).expect("opened up");
        fs::write(at("behind"), "").expect("written");
        fs::set_permissions(at("behind"), Permissions::from_mode(0o666)).expect("opened up");
        symlink(at("behind"), at("link")).expect("a link");
        // Whoever has the old file open reads nothing of the new one.
        let reader = fs::File::open(at("before")).expect("open");
        for name in ["fresh", "before", "link"] {
            write(&at(name), "proof").expect(name);
            assert_eq!(fs::read_to_string(at(name)).expect(name), "proof");
            assert_eq!(fs::metadata(at(name)).expect(name).permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(std::io::read_to_string(reader).expect("read"), "older and longer than the proof");
        assert!(fs::symlink_metadata(at("link")).expect("a link").is_symlink());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 4, "nothing is left beside them");
        write(Path::new("/dev/null"), "proof").expect("what is no file is written to as it is");
    }
}
