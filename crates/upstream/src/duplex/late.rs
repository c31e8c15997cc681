//! Notifications that come faster than their listener takes them. So many wait for it; of more,
//! the newest are kept, and of progress only the last, which says all that the others have said.
//! The answer comes after them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

/// How many wait beside those in the listener's channel.
const MOST: usize = 64;

/// How long an answer waits for a listener that takes nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// What waits for one listener.
pub(super) struct Late {
    listener: mpsc::Sender<Bytes>,
    state: Mutex<State>,
    told: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Message>,
    is_telling: bool,
}

struct Message {
    message: Bytes,
    is_progress: bool,
}

impl Late {
    /// Passes a message on, at once if that is possible; `Some` if it has to wait from now on.
    pub(super) fn pass_on(
        listener: &mpsc::Sender<Bytes>,
        message: Bytes,
        is_progress: bool,
    ) -> Option<Arc<Self>> {
        let Err(TrySendError::Full(message)) = listener.try_send(message) else { return None };
        let late =
            Arc::new(Self { listener: listener.clone(), state: Mutex::default(), told: Notify::new() });
        late.add(message, is_progress);
        Some(late)
    }

    /// Adds a message behind those that wait.
    pub(super) fn add(self: &Arc<Self>, message: Bytes, is_progress: bool) {
        let mut state = self.state();
        if is_progress {
            state.waiting.retain(|waiting| !waiting.is_progress);
        }
        if state.waiting.len() >= MOST {
            state.waiting.pop_front();
        }
        state.waiting.push_back(Message { message, is_progress });
        if !state.is_telling {
            state.is_telling = true;
            drop(state);
            let late = Arc::clone(self);
            tokio::spawn(async move { late.tell().await });
        }
    }

    async fn tell(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.pop_front();
                state.is_telling = next.is_some();
                next
            };
            let Some(Message { message, .. }) = next else { return self.told.notify_waiters() };
            // Whoever has left is told nothing, however much it is.
            let _ = self.listener.send(message).await;
        }
    }

    /// Waits until all have been told, or the listener takes nothing.
    pub(super) async fn over(&self) {
        let over = async {
            loop {
                let told = self.told.notified();
                if !self.state().is_telling {
                    return;
                }
                told.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, over).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_a_burst_the_newest_logs_and_the_last_progress_arrive_before_the_answer() {
        let (listener, mut heard) = mpsc::channel(2);
        let mut late: Option<Arc<Late>> = None;
        for number in 0..500 {
            for is_progress in [true, false] {
                let message =
                    Bytes::from(format!("{} {number}", if is_progress { "progress" } else { "log" }));
                match &late {
                    Some(late) => late.add(message, is_progress),
                    None => late = Late::pass_on(&listener, message, is_progress),
                }
            }
        }
        let late = late.expect("too many for the channel");
        drop(listener);
        let reading = async {
            let mut all = Vec::new();
            while let Ok(Some(next)) = tokio::time::timeout(Duration::from_millis(100), heard.recv()).await {
                all.push(String::from_utf8_lossy(&next).into_owned());
            }
            all
        };
        let (all, ()) = tokio::join!(reading, late.over());
        assert!(all.len() <= MOST + 3, "{}", all.len());
        assert_eq!(
            all.iter().filter(|it| it.starts_with("progress")).collect::<Vec<_>>(),
            ["progress 0", "progress 499"]
        );
        let logs: Vec<_> = all.iter().filter(|it| it.starts_with("log")).skip(1).cloned().collect();
        let newest: Vec<_> = (500 - logs.len()..500).map(|number| format!("log {number}")).collect();
        assert_eq!(logs, newest);
    }
}
