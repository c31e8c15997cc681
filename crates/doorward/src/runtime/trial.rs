//! Trial compilation: a Rego module is compiled in a child process before it may
//! enter the gateway, because a hostile one can exhaust the stack or the clock of
//! whoever compiles it, and neither can be caught from within.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest as hash};
use doorward_policy::{PolicyError, RegoSource};

/// The hidden command that the child runs.
pub const COMMAND: &str = "trial-compile";
/// How long a compilation may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Identifies a source that has been tried.
pub(super) fn digest(source: &RegoSource) -> [u8; 32] {
    let text = serde_json::to_vec(source).unwrap_or_default();
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash(&SHA256, &text).as_ref());
    bytes
}

/// Compiles `source` in a child process.
///
/// # Errors
/// What the compiler said, or how the child ended.
pub fn in_a_child(program: &Path, source: &RegoSource) -> Result<(), Vec<PolicyError>> {
    run(program, source).map_err(|message| vec![source.error(message)])?
}

/// What the child says is wrong, or why it says nothing.
#[allow(clippy::disallowed_methods, reason = "the child is this very program")]
fn run(program: &Path, source: &RegoSource) -> Result<Result<(), Vec<PolicyError>>, String> {
    let text = serde_json::to_vec(source).map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("the trial compilation could not be started: {error}"))?;
    let id = child.id();
    let guard = kill_after(id);
    if let Some(mut input) = child.stdin.take() {
        // A child that died early says so by its status.
        let _ = input.write_all(&text);
    }
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        let _ = errors.take(64 << 10).read_to_string(&mut said);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    drop(guard);
    match status.code() {
        Some(0) => Ok(Ok(())),
        Some(1) => serde_json::from_str(&said).map(Err).map_err(|_| said.trim().to_owned()),
        _ => Err(format!("compiling `{}` crashes or takes longer than {} s", source.name, LIMIT.as_secs())),
    }
}

/// Kills the child unless the returned sender is dropped in time.
fn kill_after(id: u32) -> std::sync::mpsc::Sender<()> {
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        if waiting.recv_timeout(LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            && let Some(pid) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended this instant.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    done
}
