//! Whose question is it? On a stream that all calls share, a server's request does not
//! say which call it belongs to.
//!
//! A question goes to the only call under way. With several it is held back, and new
//! calls with it, until one is left: whoever asked cannot end before it is answered, so
//! that one is the asker. Two that ask at once wait for each other, which the patience
//! ends. What a task asks names the task, so that it is known at once who waits for it, and
//! a call that waits for a task is not taken to have asked anything else.
//!
//! A call that was given up is not over for its server, which may go on and ask. Until it has
//! answered, or its time is up, what that call may have asked is put to nobody but its owner.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_wire::RpcError;
use doorward_wire::error::METHOD_NOT_FOUND;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::question::{Open, Question};

/// How long a question is held back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many questions are held back; a server that asks more is asking for trouble.
const HELD: usize = 16;
/// How many calls that were given up are told apart.
const GONE: usize = 1024;
/// The owner of what is nobody's in particular: the gateway's own requests.
const NOBODY: &str = "";

/// The calls under way in one session with a server.
pub(crate) struct Askers {
    state: Mutex<State>,
    /// How long the server may go on with a call that was given up.
    lingers: Duration,
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
    /// The calls that were given up, the oldest first.
    gone: VecDeque<Gone>,
    held: Vec<(u64, Question)>,
    serial: u64,
}

/// Who may have asked.
struct Caller {
    owner: Box<str>,
    questions: Option<mpsc::Sender<Question>>,
    /// The task that it waits for.
    task: Option<String>,
    is_sent: bool,
}

/// A call that was given up while its server worked on it.
struct Gone {
    id: u64,
    owner: Box<str>,
    task: Option<String>,
    until: Instant,
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

/// What a call says of itself as it is counted in.
#[derive(Clone, Copy, Default)]
pub(crate) struct Entrant<'a> {
    /// Whom it is made for; empty for the gateway itself.
    pub(crate) owner: &'a str,
    pub(crate) questions: Option<&'a mpsc::Sender<Question>>,
    pub(crate) task: Option<&'a str>,
}

impl Askers {
    /// Of a server that may go on for so long with what was given up.
    pub(crate) fn new(lingers: Duration) -> Self {
        Self {
            state: Mutex::default(),
            lingers,
            released: Notify::new(),
            open: AtomicUsize::new(0),
            questions: Open::default(),
        }
    }

    /// Counts a call in, once nothing is held back.
    pub(crate) async fn enter(&self, id: u64, entrant: Entrant<'_>) -> Present<'_> {
        loop {
            let released = self.released.notified();
            if self.lock().enter(id, entrant) {
                return Present { askers: self, id };
            }
            released.await;
        }
    }

    /// The server has answered this call, in time or not: it asks nothing any more.
    pub(crate) fn ended(&self, id: u64) {
        let mut state = self.lock();
        state.calls.remove(&id);
        state.gone.retain(|gone| gone.id != id);
        self.sort_out(state);
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
        state.forget();
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
        let taken_back = question.taken_back();
        state.held.push((serial, question));
        drop(state);
        let askers = Arc::clone(self);
        tokio::spawn(async move {
            // A server that takes back what it asks, again and again, leaves nothing here.
            if tokio::time::timeout(PATIENCE, taken_back).await.is_err() {
                askers.give_up(serial);
            }
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

    fn leaves(&self, id: u64) {
        if let Some(caller) = self.lock().calls.get_mut(&id) {
            caller.is_sent = true;
        }
    }

    fn leave(&self, id: u64) {
        let mut state = self.lock();
        let Some(caller) = state.calls.remove(&id) else { return };
        // What the gateway asks on its own account, it asks for nobody.
        if caller.is_sent && *caller.owner != *NOBODY {
            state.give_up(id, caller, Instant::now() + self.lingers);
        }
        self.sort_out(state);
    }

    /// Looks again at what is held back, now that there are fewer who may have asked it.
    fn sort_out(&self, mut state: MutexGuard<'_, State>) {
        if state.held.is_empty() {
            return;
        }
        state.forget();
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
    fn enter(&mut self, id: u64, entrant: Entrant<'_>) -> bool {
        let is_open = self.held.is_empty();
        if is_open {
            let Entrant { owner, questions, task } = entrant;
            let (questions, task) = (questions.cloned(), task.map(str::to_owned));
            self.calls.insert(id, Caller { owner: owner.into(), questions, task, is_sent: false });
        }
        is_open
    }

    fn give_up(&mut self, id: u64, caller: Caller, until: Instant) {
        self.forget();
        let Caller { owner, task, .. } = caller;
        if self.gone.len() < GONE {
            return self.gone.push_back(Gone { id, owner, task, until });
        }
        // One that stands for all of them: like nobody's, so that nobody is asked for it.
        self.gone.clear();
        self.gone.push_back(Gone { id, owner: NOBODY.into(), task: None, until });
    }

    /// Forgets the calls whose server has had its time.
    fn forget(&mut self) {
        let now = Instant::now();
        while self.gone.front().is_some_and(|gone| gone.until <= now) {
            self.gone.pop_front();
        }
    }

    /// Who can have asked this.
    fn asker(&self, question: &Question) -> Asker<'_> {
        let task = question.task.as_deref();
        let callers = || self.calls.values();
        let mut may_have_asked: Vec<_> = callers().filter(|it| it.task.as_deref() == task).collect();
        let mut gone: Vec<_> = self.gone.iter().filter(|it| it.task.as_deref() == task).collect();
        if may_have_asked.is_empty() {
            // Not every server says what it should.
            may_have_asked = callers().collect();
            gone = self.gone.iter().collect();
        } else if task.is_some() {
            // Whoever waits for a task may answer for it, whoever else did.
            gone.clear();
        }
        let is_its_own = |caller: &&Caller| gone.iter().all(|gone| gone.owner == caller.owner);
        if !may_have_asked.iter().any(is_its_own) {
            return Asker::Nobody;
        }
        match may_have_asked[..] {
            [caller] => Asker::One(caller),
            _ => Asker::AnyOf(may_have_asked),
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

impl Present<'_> {
    /// The call leaves for its server now, which may ask from here on.
    pub(crate) fn leaves(&self) {
        self.askers.leaves(self.id);
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

    fn askers() -> Arc<Askers> {
        Arc::new(Askers::new(Duration::from_secs(30)))
    }

    /// A call of one of several users, on its way.
    async fn of<'a>(
        askers: &'a Askers,
        id: u64,
        owner: &str,
        questions: &mpsc::Sender<Question>,
    ) -> Present<'a> {
        let present = askers.enter(id, Entrant { owner, questions: Some(questions), task: None }).await;
        present.leaves();
        present
    }

    async fn enter<'a>(
        askers: &'a Askers,
        id: u64,
        questions: Option<&mpsc::Sender<Question>>,
        task: Option<&str>,
    ) -> Present<'a> {
        askers.enter(id, Entrant { owner: "us", questions, task }).await
    }

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
        let askers = askers();
        let (ours, mut asked) = mpsc::channel(4);
        let first = enter(&askers, 1, Some(&ours), None).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "the only call under way");
        let second = enter(&askers, 2, Some(&ours), None).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_err(), "either of two");
        let mut third = std::pin::pin!(enter(&askers, 3, None, None));
        let waits = third.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending();
        assert!(waits, "no new call meanwhile");
        drop(first);
        assert!(asked.try_recv().is_ok(), "the one that is left");
        let third = third.await;
        drop((second, third));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_what_it_never_offered_and_nothing_is_held_for_good() {
        let askers = askers();
        let (unasked, mut reply) = question();
        askers.ask(unasked);
        let text = reply.message().await.expect("answered");
        assert!(text.windows(6).any(|window| window == b"-32601"));
        let silent = (enter(&askers, 1, None, None).await, enter(&askers, 2, None, None).await);
        let (unasked, mut reply) = question();
        askers.ask(unasked);
        assert!(reply.message().await.is_some(), "at once, since neither could answer");
        drop(silent);
        let (ours, mut asked) = mpsc::channel(4);
        let both = (enter(&askers, 1, Some(&ours), None).await, enter(&askers, 2, Some(&ours), None).await);
        let (held, mut reply) = question();
        askers.ask(held);
        assert!(reply.message().await.is_some(), "after a while");
        assert!(asked.try_recv().is_err());
        drop(both);
        enter(&askers, 3, None, None).await;
    }

    #[tokio::test]
    async fn what_a_task_asks_is_told_from_what_calls_ask() {
        let askers = askers();
        let of_task = |task: &str| {
            let related = format!(r#"{{"io.modelcontextprotocol/related-task":{{"taskId":"{task}"}}}}"#);
            let params = format!(r#"{{"_meta":{related}}}"#);
            question_of(Bytes::from(format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{params}}}"#
            )))
        };
        let [(first, mut of_first), (second, mut of_second), (plain, mut of_plain)] =
            [(); 3].map(|()| mpsc::channel(4));
        let first = enter(&askers, 1, Some(&first), Some("a")).await;
        let second = enter(&askers, 2, Some(&second), Some("b")).await;
        let plain = enter(&askers, 3, Some(&plain), None).await;
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

    #[tokio::test(start_paused = true)]
    async fn what_a_call_may_have_asked_that_was_given_up_is_put_to_its_owner_alone() {
        let askers = askers();
        let (ours, mut asked) = mpsc::channel(4);
        let (alice, bob) = (of(&askers, 1, "alice", &ours).await, of(&askers, 2, "bob", &ours).await);
        let (held, mut reply) = question();
        askers.ask(held);
        drop(alice);
        assert!(asked.try_recv().is_err(), "it may be hers");
        assert!(reply.message().await.is_some());
        let (late, mut reply) = question();
        askers.ask(late);
        assert!(reply.message().await.is_some(), "and so may what comes later");
        assert!(asked.try_recv().is_err());
        drop(bob);
        askers.ended(2);
        let alice = of(&askers, 3, "alice", &ours).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "she may be asked herself");
        askers.ended(3);
        drop(alice);
        let bob = of(&askers, 4, "bob", &ours).await;
        tokio::time::advance(Duration::from_secs(31)).await;
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "nobody's patience is endless");
        drop(bob);
    }

    #[tokio::test]
    async fn what_was_answered_late_or_never_left_asks_nothing_any_more() {
        let askers = askers();
        let (ours, mut asked) = mpsc::channel(4);
        let bob = of(&askers, 1, "bob", &ours).await;
        drop(of(&askers, 2, "alice", &ours).await);
        askers.ended(2);
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "an answer that nobody waited for");
        drop(askers.enter(3, Entrant { owner: "alice", ..Entrant::default() }).await);
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "a call that was not sent");
        drop(of(&askers, 4, NOBODY, &ours).await);
        askers.ask(question().0);
        assert!(asked.try_recv().is_ok(), "one of the gateway's own");
        drop(bob);
    }

    #[tokio::test]
    async fn nobody_hides_what_was_given_up_behind_calls_of_its_own() {
        let askers = askers();
        let (ours, mut asked) = mpsc::channel(4);
        let bob = of(&askers, 0, "bob", &ours).await;
        drop(of(&askers, 1, "alice", &ours).await);
        for id in 2..3 * GONE as u64 {
            drop(of(&askers, id, "bob", &ours).await);
        }
        assert!(askers.lock().gone.len() <= GONE);
        let (hers, mut reply) = question();
        askers.ask(hers);
        assert!(asked.try_recv().is_err() && reply.message().await.is_some());
        drop(bob);
    }
}
