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

const PACE: Duration = Duration::from_millis(500);

type Seen = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Takes up what files say now, unless the argument says that they were written to meanwhile;
/// an error leaves in force what was.
pub(super) type TakeUp = dyn Fn(&dyn Fn() -> bool) -> anyhow::Result<bool> + Send + Sync;

/// Looks for changes of these files until it is aborted.
pub(super) async fn watch(files: Vec<PathBuf>, take_up: Arc<TakeUp>) {
    let mut in_force = look(&files);
    let mut before = in_force.clone();
    loop {
        tokio::time::sleep(PACE).await;
        let now = look(&files);
        let is_written = std::mem::replace(&mut before, now.clone()) == now;
        if now == in_force || !is_written {
            continue;
        }
        in_force = now.clone();
        let (looked, take_up) = (files.clone(), Arc::clone(&take_up));
        // Compiling policies takes a while and starts children.
        let done = tokio::task::spawn_blocking(move || take_up(&|| look(&looked) == now)).await;
        if let Ok(Err(error)) = done {
            tracing::error!(target: "doorward::config", "the old configuration stays in force: {error:#}");
        }
    }
}

fn look(files: &[PathBuf]) -> Seen {
    let state = |file: &Path| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(|file| (file.clone(), state(file))).collect()
}
