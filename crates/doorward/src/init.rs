//! Process 1 of a container.
//!
//! Process 1 inherits every process whose parent has ended, and must wait for it: nobody else
//! can, and what nobody waits for stays in the process table for ever. Managed servers often
//! leave such processes behind. So where this program is process 1, it starts itself once more to
//! do the work, passes signals on, waits for whatever ends, and ends as the worker ends. The two
//! are apart so that this waiting never takes the exit status of a server from the worker.

use std::io;
use std::process::{Child, Command, ExitCode};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// The number of the first process.
const FIRST: u32 = 1;

/// What whoever runs containers may want to tell the worker.
const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// Whether this is process 1, and has to look after what the others leave behind.
pub fn is_first() -> bool {
    std::process::id() == FIRST
}

/// Runs this program with the same arguments, and looks after everything that ends meanwhile.
///
/// # Errors
/// When it cannot be started.
#[allow(clippy::disallowed_methods, reason = "the worker is this program itself, told the same")]
pub fn run_worker() -> io::Result<ExitCode> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    look_after(command).map(ExitCode::from)
}

/// Starts a worker, passes signals on to it, waits for every child until the worker has ended,
/// and yields its exit status as a shell would.
///
/// # Errors
/// When it cannot be started, or signals cannot be heard.
#[allow(clippy::disallowed_methods, reason = "the worker is started here, before anything else")]
pub fn look_after(mut command: Command) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // First of all: what ends or is said from now on is not missed.
        let mut ended = signal(SignalKind::child())?;
        let mut heard = tokio::task::JoinSet::new();
        let (say, mut said) = tokio::sync::mpsc::unbounded_channel();
        for passed_on in PASSED_ON {
            let mut stream = signal(SignalKind::from_raw(passed_on.as_raw()))?;
            let say = say.clone();
            heard.spawn(async move { while stream.recv().await.is_some() && say.send(passed_on).is_ok() {} });
        }
        let worker = command.spawn()?;
        let pid = number(&worker)?;
        loop {
            if let Some(status) = collect(pid) {
                return Ok(u8::try_from(status).unwrap_or(1));
            }
            tokio::select! {
                _ = ended.recv() => {}
                Some(signal) = said.recv() => {
                    // It may be just about to end.
                    let _ = kill_process(pid, signal);
                }
            }
        }
    })
}

fn number(child: &Child) -> io::Result<Pid> {
    let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Waits for all that have ended; how the worker did, if it is among them.
fn collect(worker: Pid) -> Option<i32> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        // As a shell says it.
        let signal = || status.terminating_signal().map(|signal| 128 + signal);
        let code = status.exit_status().or_else(signal).unwrap_or(1);
        if pid == worker {
            ended = Some(code);
        }
    }
    ended
}
