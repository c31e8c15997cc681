//! Decisions that take more than a moment: off the threads that serve everybody, few at once, and
//! one at a time for each caller. Others' calls do not wait for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorward_policy::{PolicySet, Ruling};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many of one caller's may be under way or wait.
const MOST_OF_ONE: usize = 8;

/// The turns to decide what is costly.
pub(crate) struct Costly {
    turns: Arc<Semaphore>,
    callers: Arc<Mutex<HashMap<String, Line>>>,
}

/// Those of one caller.
struct Line {
    turn: Arc<Semaphore>,
    count: usize,
}

/// A place in a caller's line, left when it is dropped.
struct Place {
    callers: Arc<Mutex<HashMap<String, Line>>>,
    caller: String,
    turn: Arc<Semaphore>,
}

/// This caller has too many of them already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Default for Costly {
    fn default() -> Self {
        // Half of the processors stay free for everybody else.
        let at_once = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        Self { turns: Arc::new(Semaphore::new(at_once)), callers: Arc::default() }
    }
}

impl Costly {
    /// Decides on a written inquiry, when it is this caller's turn.
    ///
    /// # Errors
    /// [`TooMany`], and nothing is decided.
    pub(crate) async fn decide(
        &self,
        caller: &str,
        policy: Arc<PolicySet>,
        document: String,
    ) -> Result<Ruling, TooMany> {
        self.run(caller, move || policy.decide_written(document)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        caller: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TooMany> {
        let place = self.enter(caller).ok_or(TooMany)?;
        let own = Arc::clone(&place.turn).acquire_owned().await;
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        // The turns end with the work: that nobody waits for it any more does not end it.
        let held: (Place, [Option<OwnedSemaphorePermit>; 2]) = (place, [own.ok(), turn.ok()]);
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(held);
            done
        });
        match done.await {
            Ok(done) => Ok(done),
            // It panicked, or the gateway stops: what was not decided is not allowed.
            Err(_) => Err(TooMany),
        }
    }

    fn enter(&self, caller: &str) -> Option<Place> {
        let mut callers = locked(&self.callers);
        let line = callers
            .entry(caller.to_owned())
            .or_insert_with(|| Line { turn: Arc::new(Semaphore::new(1)), count: 0 });
        if line.count >= MOST_OF_ONE {
            return None;
        }
        line.count += 1;
        let turn = Arc::clone(&line.turn);
        Some(Place { callers: Arc::clone(&self.callers), caller: caller.to_owned(), turn })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut callers = locked(&self.callers);
        if let Some(line) = callers.get_mut(&self.caller) {
            line.count -= 1;
            if line.count == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

fn locked(callers: &Mutex<HashMap<String, Line>>) -> MutexGuard<'_, HashMap<String, Line>> {
    callers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    fn costly(at_once: usize) -> Costly {
        Costly { turns: Arc::new(Semaphore::new(at_once)), callers: Arc::default() }
    }

    #[tokio::test]
    async fn one_caller_has_one_under_way_a_few_that_wait_and_no_more() {
        let costly = costly(2);
        let (go, wait) = mpsc::channel::<()>();
        let mut first = Box::pin(costly.run("ana", move || wait.recv().is_ok()));
        assert!(first.as_mut().now_or_never().is_none(), "it is under way");
        let mut waiting: Vec<_> =
            (1..MOST_OF_ONE).map(|nth| Box::pin(costly.run("ana", move || nth))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().now_or_never().is_none(), "it waits for its caller's turn");
        }
        assert_eq!(costly.run("ana", || ()).await, Err(TooMany));
        assert_eq!(costly.run("ben", || "another caller").await, Ok("another caller"));
        go.send(()).expect("it listens");
        assert_eq!(first.await, Ok(true));
        for (at, one) in waiting.into_iter().enumerate() {
            assert_eq!(one.await, Ok(at + 1));
        }
        assert!(locked(&costly.callers).is_empty(), "nothing is kept of those who are done");
    }

    #[tokio::test]
    async fn the_work_is_done_on_a_thread_that_serves_nobody() {
        let serving = std::thread::current().id();
        let elsewhere = costly(1).run("ana", || std::thread::current().id()).await.expect("done");
        assert_ne!(elsewhere, serving);
    }

    #[tokio::test]
    async fn who_leaves_gives_back_its_place_when_the_work_is_done() {
        let costly = costly(1);
        let (go, wait) = mpsc::channel::<()>();
        let mut left = Box::pin(costly.run("ana", move || wait.recv().is_ok()));
        assert!(left.as_mut().now_or_never().is_none());
        drop(left);
        let mut next = Box::pin(costly.run("ben", || 2));
        assert!(next.as_mut().now_or_never().is_none(), "the work goes on, and nobody else's beside it");
        go.send(()).expect("it listens");
        assert_eq!(next.await, Ok(2));
    }
}
