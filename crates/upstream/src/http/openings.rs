//! How many sessions are opened with one server at once.
//!
//! A server that was started again has forgotten all sessions, and every caller finds out with
//! its next call. So many openings at once would bring down a server that has only just come up:
//! a few go ahead, the others wait for their turn, and those that lost a session begin at
//! different moments. A caller that is alone waits for nothing.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::hub::Hub;

/// Openings under way at once.
const AT_ONCE: usize = 8;

/// Around this long whoever had to wait goes on waiting, so that turns do not begin together.
const APART: Duration = Duration::from_millis(40);

/// The turns of one link.
pub(crate) struct Openings(Semaphore);

impl Default for Openings {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl Openings {
    /// Comes back when it is this opening's turn; `again` where a session was lost before.
    pub(crate) async fn turn(&self, hub: &Hub, again: bool) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.0.try_acquire() {
            return Some(turn);
        }
        // It is never closed.
        let turn = self.0.acquire().await.ok();
        if again {
            tokio::time::sleep(hub.jittered(APART)).await;
        }
        turn
    }
}
