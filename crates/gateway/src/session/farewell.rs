//! Waiting until the other replicas have heard that a session ended: what its client hears
//! first is then true wherever it goes next.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

/// How long is waited for a replica that says nothing. It hears of the end all the same, or
/// is not there.
const WITHIN: Duration = Duration::from_millis(250);

/// The sessions whose end is being told.
#[derive(Default)]
pub(crate) struct Farewells {
    told: Mutex<HashMap<Box<str>, mpsc::UnboundedSender<()>>>,
}

/// One of them, for as long as this lives.
pub(super) struct Farewell<'a> {
    all: &'a Farewells,
    id: &'a str,
    heard: mpsc::UnboundedReceiver<()>,
}

impl Farewells {
    /// Begins to listen, before anybody is told.
    pub(super) fn begin<'a>(&'a self, id: &'a str) -> Farewell<'a> {
        let (sender, heard) = mpsc::unbounded_channel();
        self.lock().insert(id.into(), sender);
        Farewell { all: self, id, heard }
    }

    /// Another replica has heard of it.
    pub(super) fn heard(&self, id: &str) {
        if let Some(told) = self.lock().get(id) {
            // Whoever told may have stopped waiting.
            let _ = told.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, mpsc::UnboundedSender<()>>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Farewell<'_> {
    /// Waits until so many others have heard, within bounds.
    pub(super) async fn heard_by(mut self, others: usize) {
        let all = async {
            for _ in 0..others {
                self.heard.recv().await;
            }
        };
        if tokio::time::timeout(WITHIN, all).await.is_err() {
            tracing::debug!(target: "doorward::session", session = %self.id, "a replica has not said that it heard of the end");
        }
    }
}

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(self.id);
    }
}
