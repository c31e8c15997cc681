//! Noticing that files changed: the configuration, the certificate.
//!
//! The files are looked at, not watched: a look every half second costs next to
//! nothing, and works on every file system and through every kind of replacement
//! (editors that rename, symbolic links that are swapped).
//!
//! Half a file can be a whole configuration: one that says who may do what, and not yet
//! who must show a key. So a change counts when two looks have found the same, and only if
//! a third finds it again after everything was read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::Instant;

const PACE: Duration = Duration::from_millis(500);

type Seen = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// How long after a failure the same files are tried again: what has failed may have been the
/// reading, and nothing about a file shows that its permissions changed, or that there are
/// descriptors again.
const AGAIN: Duration = Duration::from_secs(5);

/// What was taken up.
pub(super) struct Taken {
    /// Whether it says something else than what was in force.
    pub(super) is_new: bool,
    /// The files that are to be looked at from now on.
    pub(super) files: Vec<PathBuf>,
}

/// Takes up what files say now; `None` when the argument says that they were written to meanwhile.
/// An error leaves in force what was.
pub(super) type TakeUp = dyn Fn(&dyn Fn() -> bool) -> anyhow::Result<Option<Taken>> + Send + Sync;

/// Looks for changes of these files, and of whichever they lead to, until it is aborted. Whoever
/// notifies `asked` has them read whether or not they have changed, and told what came of it.
pub(super) async fn watch(mut files: Vec<PathBuf>, take_up: Arc<TakeUp>, asked: Arc<Notify>) {
    // They may have been written to since they were read for the first time.
    let mut taken = None;
    let mut before = look(&files);
    let mut failed: Option<(String, Instant)> = None;
    let mut is_asked = false;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            () = asked.notified() => is_asked = true,
        }
        let now = look(&files);
        let is_written = std::mem::replace(&mut before, now.clone()) == now;
        let is_due = failed.as_ref().is_none_or(|(_, when)| when.elapsed() >= AGAIN);
        let is_new = taken.as_ref() != Some(&now);
        if !is_written || !(is_new || is_asked || failed.is_some() && is_due) {
            continue;
        }
        taken = Some(now.clone());
        let (looked, take_up) = (files.clone(), Arc::clone(&take_up));
        match apart(move || take_up(&|| look(&looked) == now)).await {
            Ok(Ok(None)) => taken = None,
            Ok(Ok(Some(Taken { is_new, files: next }))) => {
                let was_bad = failed.take().is_some();
                match (is_new, was_bad, std::mem::take(&mut is_asked)) {
                    (true, ..) | (false, false, false) => {}
                    (false, true, _) => {
                        tracing::info!(target: "doorward::config", "the files are valid again, and what they say is in force");
                    }
                    (false, false, true) => {
                        tracing::info!(target: "doorward::config", "asked to reload: the files say what is in force already");
                    }
                }
                if next != files {
                    // What they say was read before they were looked at for the first time.
                    (files, taken) = (next, None);
                    before = look(&files);
                }
            }
            Ok(Err(error)) => {
                let text = format!("{error:#}");
                if std::mem::take(&mut is_asked) || failed.as_ref().is_none_or(|(said, _)| *said != text) {
                    tracing::error!(target: "doorward::config", "the old configuration stays in force: {text}");
                }
                failed = Some((text, Instant::now()));
            }
            // A panic was reported already; the same files would lead to the next.
            Err(RecvError { .. }) => {}
        }
    }
}

/// Does this on a thread of its own: it takes a while and starts children, and must not wait for
/// whatever else the runtime's threads are busy with. Who may do what depends on it.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<anyhow::Result<T>, RecvError> {
    let (done, outcome) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new().name("reload".to_owned());
    let started = thread.spawn(move || {
        let _entered = runtime.enter();
        // Whoever waited has left with the gateway.
        let _ = done.send(work());
    });
    match started {
        Ok(_) => outcome.await,
        Err(error) => Ok(Err(error).context("no thread could be started to read the files anew")),
    }
}

fn look(files: &[PathBuf]) -> Seen {
    let state = |file: &Path| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(|file| (file.clone(), state(file))).collect()
}
