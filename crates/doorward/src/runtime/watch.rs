//! Noticing that the configuration changed.
//!
//! The files are looked at, not watched: a look every half second costs next to
//! nothing, and works on every file system and through every kind of replacement
//! (editors that rename, symbolic links that are swapped).

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
    let mut seen = look(&files);
    loop {
        tokio::time::sleep(PACE).await;
        let now = look(&files);
        if now == seen {
            continue;
        }
        seen = now;
        let (gateway, builder) = (Arc::clone(&gateway), Arc::clone(&builder));
        let (path, surroundings) = (loaded.path.clone(), surroundings.clone());
        // Compiling policies takes a while and starts children.
        let done =
            tokio::task::spawn_blocking(move || reload(&gateway, &path, &builder, &surroundings)).await;
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
