//! What one task wants to know: its server's questions, until they are answered.

use std::sync::{Mutex, MutexGuard, PoisonError};

use doorward_upstream::Question;
use tokio::sync::Notify;

use super::asking::Asking;
use crate::ask::{MOST, key};

/// How many questions of one task may wait to be answered.
pub(super) const QUESTIONS: usize = 16;

/// What a task wants to know.
#[derive(Default)]
pub(super) struct Waiting {
    /// What replicas know this waiting by; the next one for the same task has another.
    pub(super) name: String,
    state: Mutex<State>,
    /// Rung when there is more, or will be no more.
    news: Notify,
    /// Rung when other replicas may have to be told, or may have something to tell.
    pub(super) word: Notify,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    /// How many there have been.
    count: u64,
    is_over: bool,
}

struct Open {
    asking: Asking,
    question: Question,
    was_shown: bool,
}

impl Waiting {
    pub(super) fn named(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn add(&self, question: Question) {
        let mut state = self.lock();
        // A question too many is dropped, and so answered.
        if state.is_over || state.open.len() >= QUESTIONS || state.count >= MOST as u64 {
            return;
        }
        let key = key(&question, state.open.iter().map(|open| open.asking.key.as_str()));
        let asking = Asking::new(state.count, &key, &question);
        state.count += 1;
        state.open.push(Open { asking, question, was_shown: false });
        drop(state);
        self.news.notify_one();
        self.word.notify_one();
    }

    /// Nothing can be answered any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let open = std::mem::take(&mut state.open);
        drop(state);
        drop(open);
        self.news.notify_one();
    }

    /// Another replica asks the same: nothing is answered here any more.
    pub(super) fn give_up(&self) {
        let mut state = self.lock();
        state.is_over = true;
        for open in std::mem::take(&mut state.open) {
            open.question.abandon();
        }
        drop(state);
        self.news.notify_one();
    }

    /// Waits until there is a question, or will be none.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// The questions that are open.
    pub(super) fn open(&self) -> Vec<Asking> {
        let mut state = self.lock();
        // What the server has taken back is nobody's to answer.
        state.open.retain(|open| !open.question.is_withdrawn());
        state.open.iter().map(|open| open.asking.clone()).collect()
    }

    /// Notes that a question was shown; whether it had not been.
    pub(super) fn is_new(&self, number: u64) -> bool {
        let mut state = self.lock();
        let open = state.open.iter_mut().find(|open| open.asking.number == number);
        open.is_some_and(|open| !std::mem::replace(&mut open.was_shown, true))
    }

    /// Hands an answer, JSON text, to the server; whether the question was open.
    pub(super) fn answer(&self, number: u64, response: &str) -> bool {
        let mut state = self.lock();
        let Some(at) = state.open.iter().position(|open| open.asking.number == number) else { return false };
        let open = state.open.remove(at);
        drop(state);
        let was_open = !open.question.is_withdrawn();
        open.question.answer(response);
        self.word.notify_one();
        was_open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
