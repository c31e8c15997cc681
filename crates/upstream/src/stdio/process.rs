//! One child: its start, its streams, its end.
//!
//! A child leads a process group of its own, so that what it starts can be ended
//! with it: wrappers such as `npx` pass no signal on. It gets the argument list as
//! configured, never a shell, and an environment of a few inherited variables and
//! the configured ones.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use std::time::Duration;

use doorward_wire::lines::{Line, MAX_LINE};
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::duplex::{Duplex, Outlet};
use crate::error::UpstreamError;
use crate::hub::Hub;
use crate::spec::Transport;
use crate::stdio::queue::{Outgoing, Taken, queue};
use crate::stdio::stderr::{self, Ring};

/// How long the output of a child that has ended is still read: something that
/// left its process group may hold it open for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A running child.
pub(crate) struct Process {
    pub(crate) duplex: Arc<Duplex>,
    pub(crate) pid: u32,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

/// How a child came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to stop.
    Stopped,
    /// By itself, in this way.
    Crashed(String),
}

/// The error with the program that it is about.
fn of_command(transport: &Transport, cause: io::Error) -> io::Error {
    match transport {
        Transport::Stdio { command, .. } => io::Error::new(cause.kind(), format!("`{command}`: {cause}")),
        Transport::Http { .. } | Transport::Sse { .. } => cause,
    }
}

/// Starts a child. `on_end` is called once, when it and its group are gone.
pub(crate) fn start(
    hub: &Arc<Hub>,
    transport: &Transport,
    ring: &Arc<Ring>,
    on_end: impl FnOnce(End) + Send + 'static,
) -> Result<Process, UpstreamError> {
    let failed =
        |cause: io::Error| UpstreamError::Start { server: hub.server.clone(), cause: Arc::new(cause) };
    let (mut child, group) = spawn(hub, transport).map_err(|cause| failed(of_command(transport, cause)))?;
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let (queue, outgoing) = queue();
    let (stop, stopping) = watch::channel(false);
    let (finished, ended) = watch::channel(false);
    let duplex = Arc::new(Duplex::new(Arc::clone(hub), Outlet::Pipe(queue)));
    tokio::spawn(write(stdin, outgoing, Arc::downgrade(&duplex), stopping.clone()));
    tokio::spawn(stderr::drain(stderr, Arc::clone(ring), Arc::clone(hub)));
    let reader = tokio::spawn(read(stdout, Arc::clone(&duplex), Arc::clone(hub)));
    let pid = group.0.as_raw_nonzero().get().unsigned_abs();
    tracing::info!(server = %hub.server, pid, "started");
    let memory = match transport {
        Transport::Stdio { max_memory, .. } => *max_memory,
        Transport::Http { .. } | Transport::Sse { .. } => None,
    };
    let supervised = Supervised { child, group, reader, duplex: Arc::clone(&duplex), memory };
    let grace = hub.settings.stop_grace;
    tokio::spawn(async move {
        let end = supervised.supervise(stopping, grace).await;
        on_end(end);
        let _ = finished.send(true);
    });
    Ok(Process { duplex, pid, stop, ended })
}

impl Process {
    /// Stops the child: closes its input, waits, asks its group to end, waits, and
    /// ends the group. Returns when all are gone.
    pub(crate) async fn stop(&self) {
        let _ = self.stop.send(true);
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// Ends the group when dropped, on whatever way.
struct Group(Pid);

impl Group {
    fn signal(&self, signal: Signal) {
        // Mostly there is nobody left to receive it. The number could by then name
        // another group only if the system had handed out all others in between.
        let _ = rustix::process::kill_process_group(self.0, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

struct Supervised {
    child: Child,
    group: Group,
    reader: JoinHandle<()>,
    duplex: Arc<Duplex>,
    /// How much memory it may have.
    memory: Option<u64>,
}

impl Supervised {
    async fn supervise(mut self, mut stopping: watch::Receiver<bool>, grace: Duration) -> End {
        let told = async {
            // A dropped sender means that nobody holds the link any more.
            let _ = stopping.wait_for(|stop| *stop).await;
        };
        let end = tokio::select! {
            status = self.child.wait() => End::Crashed(describe(status, self.memory)),
            () = told => {
                self.stop(grace).await;
                End::Stopped
            }
            _ = &mut self.reader => {
                // No answer can come any more, whatever the process still does.
                self.duplex.close();
                match tokio::time::timeout(grace, self.child.wait()).await {
                    Ok(status) => End::Crashed(describe(status, self.memory)),
                    Err(_) => {
                        self.stop(grace).await;
                        End::Crashed("it closed its output".to_owned())
                    }
                }
            }
        };
        // Whatever the child has left behind ends now, and lets go of the output.
        drop(self.group);
        if !self.reader.is_finished() && tokio::time::timeout(LAST_WORDS, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        self.duplex.close();
        end
    }

    async fn stop(&mut self, grace: Duration) {
        // The writer has closed the child's input by now.
        if tokio::time::timeout(grace, self.child.wait()).await.is_ok() {
            return;
        }
        self.group.signal(Signal::TERM);
        if tokio::time::timeout(grace, self.child.wait()).await.is_ok() {
            return;
        }
        self.group.signal(Signal::KILL);
        let _ = self.child.wait().await;
    }
}

fn spawn(hub: &Hub, transport: &Transport) -> io::Result<(Child, Group)> {
    let Transport::Stdio { command, args, env, cwd, max_memory } = transport else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut prepared = Command::new(command);
    prepared
        .args(args)
        .env_clear()
        .envs(hub.settings.environment.iter().map(|(name, value)| (name, value)))
        .envs(env.iter().map(|(name, value)| (name, value.expose())))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(cwd) = cwd {
        prepared.current_dir(cwd);
    }
    let child = prepared.spawn()?;
    let raw = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let group = Group(raw.ok_or(io::ErrorKind::NotFound)?);
    if let Some(bytes) = max_memory {
        limit_memory(group.0, *bytes)?;
    }
    Ok((child, group))
}

/// Bounds the memory of a child that has just been started: its heaps and stacks, and not what it
/// merely reserves. Node.js and others reserve many gigabytes of address space that they never
/// use. What it starts itself inherits the bound.
#[cfg(target_os = "linux")]
fn limit_memory(pid: Pid, bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, prlimit};
    prlimit(Some(pid), Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) })?;
    Ok(())
}

/// Elsewhere another process's limits cannot be set. A limit that would not hold
/// is refused rather than ignored.
#[cfg(not(target_os = "linux"))]
fn limit_memory(_: Pid, _: u64) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "a memory limit needs Linux"))
}

async fn write(
    mut stdin: ChildStdin,
    mut outgoing: Outgoing,
    duplex: Weak<Duplex>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let taken = tokio::select! {
            // What was queued before the stop is still said.
            biased;
            taken = outgoing.next() => taken,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let message = match taken {
            Some(Taken::Message(message)) => message,
            Some(Taken::CalledOff(id)) => {
                if let Some(duplex) = duplex.upgrade() {
                    duplex.called_off(id);
                }
                continue;
            }
            None => return,
        };
        let written = async {
            stdin.write_all(&message).await?;
            stdin.write_all(b"\n").await?;
            stdin.flush().await
        };
        tokio::select! {
            outcome = written => if outcome.is_err() { return },
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

async fn read(mut stdout: ChildStdout, duplex: Arc<Duplex>, hub: Arc<Hub>) {
    let limit = MAX_LINE.min(hub.settings.max_answer);
    let mut framer = hub.framer();
    let mut lines = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut is_open = true;
    while is_open {
        match stdout.read(&mut buffer).await {
            Ok(read @ 1..) => framer.push(&buffer[..read], &mut lines),
            // Its last line may be an answer, though it lacks its end.
            Ok(0) | Err(_) => {
                lines.extend(framer.finish());
                is_open = false;
            }
        }
        for line in lines.drain(..) {
            match line {
                Line::Text(bytes) => duplex.receive(bytes),
                Line::TooLong => {
                    duplex.receive_unread(UpstreamError::TooLarge { server: hub.server.clone(), limit });
                }
                Line::NoRoom => duplex.receive_unread(UpstreamError::NoRoom { server: hub.server.clone() }),
            }
        }
    }
}

/// How it ended. Out of memory, programs end in many ways, and say so at best in their log.
fn describe(status: io::Result<ExitStatus>, memory: Option<u64>) -> String {
    use std::os::unix::process::ExitStatusExt;
    let failed = status.as_ref().is_ok_and(|status| !status.success());
    let limit = memory.filter(|_| failed).map(|bytes| {
        format!(" (its `maxMemory` is {} MiB; if that is too little, its own log says so)", bytes >> 20)
    });
    let how = match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("it exited with status {code}"),
            (None, Some(signal)) => format!("it was ended by signal {signal}"),
            (None, None) => "it ended".to_owned(),
        },
        Err(error) => format!("it ended: {error}"),
    };
    how + &limit.unwrap_or_default()
}
