//! A background task that lives no longer than its owner.

use tokio::task::JoinHandle;

/// Ends the task when dropped.
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    /// Starts a task.
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Whether the task is still at work.
    pub(crate) fn is_running(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
