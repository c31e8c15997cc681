//! What changes at a server, and who hears of it.

use tokio::sync::broadcast;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The list of tools gained or lost one.
    Tools,
    /// The list of prompts gained or lost one.
    Prompts,
    /// The resource has new content.
    Resource(&'static str),
    /// The task has a new status.
    Task(String),
}

/// Tells everybody who listens.
pub struct Changes(broadcast::Sender<Change>);

impl Changes {
    pub fn new() -> Self {
        Self(broadcast::Sender::new(256))
    }

    // Without listeners there is nobody to tell.
    pub fn announce(&self, change: Change) {
        self.0.send(change).ok();
    }

    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.0.subscribe()
    }
}
