//! Work that many may wait for and that is done once at a time.
//!
//! It runs as a task of its own: a caller who gives up waiting takes nothing away
//! from the others.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// A place for one piece of work under way.
pub(crate) struct Flight<T> {
    under_way: Mutex<Option<watch::Receiver<Option<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(crate) fn new() -> Self {
        Self { under_way: Mutex::new(None) }
    }

    /// Joins the work under way, or starts it. `None` if it came to no end.
    pub(crate) async fn join<F>(&self, start: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut outcome = self.begin(start);
        outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone())
    }

    /// Starts the work unless it is under way, and waits for nothing.
    pub(crate) fn begin<F>(&self, start: impl FnOnce() -> F) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = under_way.as_ref().filter(|outcome| is_open(outcome)) {
            return outcome.clone();
        }
        let (done, outcome) = watch::channel(None);
        *under_way = Some(outcome.clone());
        let work = start();
        tokio::spawn(async move {
            let _ = done.send(Some(work.await));
        });
        outcome
    }
}

fn is_open<T>(outcome: &watch::Receiver<Option<T>>) -> bool {
    outcome.borrow().is_none() && outcome.has_changed().is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn those_who_come_while_it_runs_share_it_and_the_next_starts_anew() {
        let flight = Arc::new(Flight::new());
        let started = Arc::new(AtomicU32::new(0));
        let join = || {
            let (flight, started) = (Arc::clone(&flight), Arc::clone(&started));
            async move {
                flight
                    .join(|| async move {
                        tokio::task::yield_now().await;
                        started.fetch_add(1, Ordering::SeqCst)
                    })
                    .await
            }
        };
        let (a, b, c) = tokio::join!(join(), join(), join());
        assert_eq!((a, b, c), (Some(0), Some(0), Some(0)));
        assert_eq!(join().await, Some(1));
    }
}
