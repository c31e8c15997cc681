//! Whose question is it? On a stream that all calls share, a server's request does not
//! say which call it belongs to.
//!
//! A question goes to the only call under way. With several it is held back, and new
//! calls with it, until one is left: whoever asked cannot end before it is answered, so
//! that one is the asker. Two that ask at once wait for each other, which the patience
//! ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_wire::RpcError;
use doorward_wire::error::METHOD_NOT_FOUND;
use tokio::sync::{Notify, mpsc};

use crate::question::Question;

/// How long a question is held back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many questions are held back; a server that asks more is asking for trouble.
const HELD: usize = 16;

/// The calls under way in one session with a server.
#[derive(Default)]
pub(crate) struct Askers {
    state: Mutex<State>,
    /// Rung when nothing is held back any more.
    released: Notify,
    /// How many questions nobody has answered yet.
    open: AtomicUsize,
}

#[derive(Default)]
struct State {
    calls: HashMap<u64, Option<mpsc::Sender<Question>>>,
    held: Vec<(u64, Question)>,
    serial: u64,
}

/// A call under way, for as long as this lives.
pub(crate) struct Present<'a> {
    askers: &'a Askers,
    id: u64,
}

impl Askers {
    /// Counts a call in, once nothing is held back.
    pub(crate) async fn enter(&self, id: u64, questions: Option<mpsc::Sender<Question>>) -> Present<'_> {
        loop {
            let released = self.released.notified();
            if self.lock().enter(id, &questions) {
                return Present { askers: self, id };
            }
            released.await;
        }
    }

    /// Whether a call waits for an answer here: what else were asked could not be told from
    /// what it asks.
    pub(crate) fn is_asking(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Counts a question until it is answered.
    pub(crate) fn asked(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// As [`asked`](Self::asked).
    pub(crate) fn answered(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Passes a question on to the call it belongs to, now or when that is known.
    pub(crate) fn ask(self: &Arc<Self>, question: Question) {
        let mut state = self.lock();
        if state.calls.len() == 1 {
            return state.pass_on(question);
        }
        if state.calls.values().all(Option::is_none) || state.held.len() >= HELD {
            drop(state);
            return refuse(question);
        }
        state.serial += 1;
        let serial = state.serial;
        state.held.push((serial, question));
        drop(state);
        let askers = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            askers.give_up(serial);
        });
    }

    fn give_up(&self, serial: u64) {
        let mut state = self.lock();
        let Some(at) = state.held.iter().position(|(held, _)| *held == serial) else { return };
        let (_, question) = state.held.swap_remove(at);
        let is_free = state.held.is_empty();
        drop(state);
        refuse(question);
        if is_free {
            self.released.notify_waiters();
        }
    }

    fn leave(&self, id: u64) {
        let mut state = self.lock();
        state.calls.remove(&id);
        if state.held.is_empty() || state.calls.len() > 1 {
            return;
        }
        for (_, question) in std::mem::take(&mut state.held) {
            state.pass_on(question);
        }
        drop(state);
        self.released.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, id: u64, questions: &Option<mpsc::Sender<Question>>) -> bool {
        let is_open = self.held.is_empty();
        if is_open {
            self.calls.insert(id, questions.clone());
        }
        is_open
    }

    fn pass_on(&self, question: Question) {
        match self.calls.values().next().and_then(Option::as_ref) {
            // A call that is asked more than it can take up is asked no more: the
            // question is dropped, and so answered.
            Some(questions) => drop(questions.try_send(question)),
            None => refuse(question),
        }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.askers.leave(self.id);
    }
}

/// The answer of a client that has never said it could be asked this.
fn refuse(question: Question) {
    let message = "no call is under way whose client could answer this";
    question.refuse(&RpcError::answer(METHOD_NOT_FOUND, message));
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use bytes::Bytes;
    use doorward_wire::message::Message;

    use super::*;
    use crate::inbound::parse;
    use crate::question::Reply;

    fn question() -> (Question, Reply) {
        let text = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#);
        let document = parse(text).expect("valid");
        let Ok(Message::Request(request)) = Message::read(&document) else { panic!("a request") };
        Question::read(&document, &request).expect("a question")
    }

    #[tokio::test]
    async fn a_question_waits_until_it_is_clear_whose_it_is() {
        let askers = Arc::<Askers>::default();
        let (ours, mut asked) = mpsc::channel(4);
        let first = askers.enter(1, Some(ours.clone())).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "the only call under way");
        let second = askers.enter(2, Some(ours.clone())).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_err(), "either of two");
        let mut third = std::pin::pin!(askers.enter(3, None));
        let waits = third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(waits, "no new call meanwhile");
        drop(first);
        assert!(asked.try_recv().is_ok(), "the one that is left");
        let third = third.await;
        drop((second, third));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_what_it_never_offered_and_nothing_is_held_for_good() {
        let askers = Arc::<Askers>::default();
        let (unasked, reply) = question();
        askers.ask(unasked);
        let text = reply.message().await.expect("answered");
        assert!(text.windows(6).any(|window| window == b"-32601"));
        let silent = (askers.enter(1, None).await, askers.enter(2, None).await);
        let (unasked, reply) = question();
        askers.ask(unasked);
        assert!(reply.message().await.is_some(), "at once, since neither could answer");
        drop(silent);
        let (ours, mut asked) = mpsc::channel(4);
        let both = (askers.enter(1, Some(ours.clone())).await, askers.enter(2, Some(ours)).await);
        let (held, reply) = question();
        askers.ask(held);
        assert!(reply.message().await.is_some(), "after a while");
        assert!(asked.try_recv().is_err());
        drop(both);
        askers.enter(3, None).await;
    }
}
