//! Noticing that the configuration changed.
//!
//! The files are looked at, not watched: a look every half second costs next to
//! nothing, and works on every file system and through every kind of replacement
//! (editors that rename, symbolic links that are swapped).
//!
//! Half a file can be a whole configuration: one that says who may do what, and not yet
//! who must show a key. So a change counts when two looks have found the same, and only if
//! a third finds it again after everything was read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use doorward_gateway::Gateway;

use super::rulebook::Builder;
use super::{Surroundings, reload};
use crate::config::Loaded;

const PACE: Duration = Duration::from_millis(500);

type Seen = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

/// Looks for changes until it is aborted.
pub(super) async fn watch(
    gateway: Arc<Gateway>,
    loaded: Loaded,
    builder: Arc<Mutex<Builder>>,
    surroundings: Surroundings,
) {
    let mut files = loaded.files;
    files.push(loaded.path.clone());
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
        let looked = files.clone();
        let (gateway, builder) = (Arc::clone(&gateway), Arc::clone(&builder));
        let (path, surroundings) = (loaded.path.clone(), surroundings.clone());
        // Compiling policies takes a while and starts children.
        let done = tokio::task::spawn_blocking(move || {
            let is_whole = || look(&looked) == now;
            reload(&gateway, &path, &builder, &surroundings, &is_whole)
        })
        .await;
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
