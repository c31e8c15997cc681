//! Whose question is it? On a stream that all calls share, a server's request does not
//! say which call it belongs to.
//!
//! A question goes to the only call under way. With several it is held back, and new
//! calls with it, until one is left: whoever asked cannot end before it is answered, so
//! that one is the asker. Two that ask at once wait for each other, which the patience
//! ends. What a task asks names the task, so that it is known at once who waits for it, and
//! a call that waits for a task is not taken to have asked anything else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_wire::RpcError;
use doorward_wire::error::METHOD_NOT_FOUND;
use tokio::sync::{Notify, mpsc};

use crate::question::{Open, Question};

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
    /// The questions that the server may take back.
    pub(crate) questions: Open,
}

#[derive(Default)]
struct State {
    calls: HashMap<u64, Caller>,
    held: Vec<(u64, Question)>,
    serial: u64,
}

/// Who may have asked.
struct Caller {
    questions: Option<mpsc::Sender<Question>>,
    /// The task that it waits for.
    task: Option<String>,
}

/// Whose a question is, among the calls under way.
enum Asker<'a> {
    Nobody,
    One(&'a Caller),
    AnyOf(Vec<&'a Caller>),
}

/// A call under way, for as long as this lives.
pub(crate) struct Present<'a> {
    askers: &'a Askers,
    id: u64,
}

impl Askers {
    /// Counts a call in, once nothing is held back.
    pub(crate) async fn enter(
        &self,
        id: u64,
        questions: Option<mpsc::Sender<Question>>,
        task: Option<&str>,
    ) -> Present<'_> {
        loop {
            let released = self.released.notified();
            if self.lock().enter(id, &questions, task) {
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
        let is_held = match state.asker(&question) {
            Asker::One(caller) => return caller.pass_on(question),
            Asker::Nobody => false,
            Asker::AnyOf(callers) => callers.iter().any(|caller| caller.questions.is_some()),
        };
        if !is_held || state.held.len() >= HELD {
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

    /// The server takes a question back, whoever it was passed on to.
    pub(crate) fn withdraw(&self, id: &str) {
        self.questions.withdraw(id);
        let mut state = self.lock();
        let before = state.held.len();
        state.held.retain(|(_, question)| !question.is_withdrawn());
        let is_free = state.held.is_empty() && before > 0;
        drop(state);
        if is_free {
            self.released.notify_waiters();
        }
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
        if state.held.is_empty() {
            return;
        }
        for (serial, question) in std::mem::take(&mut state.held) {
            match state.asker(&question) {
                Asker::One(caller) => caller.pass_on(question),
                Asker::Nobody => refuse(question),
                Asker::AnyOf(_) => state.held.push((serial, question)),
            }
        }
        let is_free = state.held.is_empty();
        drop(state);
        if is_free {
            self.released.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, id: u64, questions: &Option<mpsc::Sender<Question>>, task: Option<&str>) -> bool {
        let is_open = self.held.is_empty();
        if is_open {
            let caller = Caller { questions: questions.clone(), task: task.map(str::to_owned) };
            self.calls.insert(id, caller);
        }
        is_open
    }

    /// Who can have asked this.
    fn asker(&self, question: &Question) -> Asker<'_> {
        let of = |task: Option<&str>| -> Vec<&Caller> {
            self.calls.values().filter(|caller| caller.task.as_deref() == task).collect()
        };
        let mut callers = of(question.task.as_deref());
        if callers.is_empty() {
            // Not every server says what it should.
            callers = self.calls.values().collect();
        }
        match callers[..] {
            [] => Asker::Nobody,
            [caller] => Asker::One(caller),
            _ => Asker::AnyOf(callers),
        }
    }
}

impl Caller {
    fn pass_on(&self, question: Question) {
        match &self.questions {
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
        question_of(Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#))
    }

    fn question_of(text: Bytes) -> (Question, Reply) {
        let document = parse(text).expect("valid");
        let Ok(Message::Request(request)) = Message::read(&document) else { panic!("a request") };
        Question::read(&document, &request, &Open::default()).expect("a question")
    }

    #[tokio::test]
    async fn a_question_waits_until_it_is_clear_whose_it_is() {
        let askers = Arc::<Askers>::default();
        let (ours, mut asked) = mpsc::channel(4);
        let first = askers.enter(1, Some(ours.clone()), None).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "the only call under way");
        let second = askers.enter(2, Some(ours.clone()), None).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_err(), "either of two");
        let mut third = std::pin::pin!(askers.enter(3, None, None));
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
        let silent = (askers.enter(1, None, None).await, askers.enter(2, None, None).await);
        let (unasked, reply) = question();
        askers.ask(unasked);
        assert!(reply.message().await.is_some(), "at once, since neither could answer");
        drop(silent);
        let (ours, mut asked) = mpsc::channel(4);
        let both = (askers.enter(1, Some(ours.clone()), None).await, askers.enter(2, Some(ours), None).await);
        let (held, reply) = question();
        askers.ask(held);
        assert!(reply.message().await.is_some(), "after a while");
        assert!(asked.try_recv().is_err());
        drop(both);
        askers.enter(3, None, None).await;
    }

    #[tokio::test]
    async fn what_a_task_asks_is_told_from_what_calls_ask() {
        let askers = Arc::<Askers>::default();
        let of_task = |task: &str| {
            let related = format!(r#"{{"io.modelcontextprotocol/related-task":{{"taskId":"{task}"}}}}"#);
            let params = format!(r#"{{"_meta":{related}}}"#);
            question_of(Bytes::from(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{params}}}"#
            )))
        };
        let [(first, mut of_first), (second, mut of_second), (plain, mut of_plain)] =
            [(); 3].map(|()| mpsc::channel(4));
        let first = askers.enter(1, Some(first), Some("a")).await;
        let second = askers.enter(2, Some(second), Some("b")).await;
        let plain = askers.enter(3, Some(plain), None).await;
        askers.ask(of_task("b").0);
        assert!(of_second.try_recv().is_ok(), "the one that waits for the task");
        askers.ask(question().0);
        assert!(of_plain.try_recv().is_ok(), "the only one that waits for no task");
        drop(plain);
        askers.ask(question().0);
        drop(second);
        assert!(of_first.try_recv().is_ok(), "some servers do not say what a question belongs to");
        drop(first);
    }
}
