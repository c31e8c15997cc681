//! Core tasks whose servers ask: for as long as one waits for answers, its result is waited for
//! here, because that is when such a server asks; and the questions are kept until a client has
//! looked and answered.
//!
//! They live in the memory of this process, for a bounded time and in bounded number. What is
//! withdrawn is only the waiting: the task goes on, and whoever looks again makes its server
//! ask again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_model::json::{Document, Limits, Value, push_string};
use doorward_upstream::{Call, Question, UpstreamError, Upstreams};
use doorward_wire::error::INTERNAL;
use doorward_wire::{Abilities, RpcError};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::handle::Task;
use crate::ask::{evidence, for_modern, key, offered, reread};
use crate::pipeline::Asked;
use crate::session::principal;
use crate::stage::send::identity;

/// How many questions of one task may wait to be answered.
const QUESTIONS: usize = 16;
/// How long a client that looks waits for the first of them.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The tasks whose results are waited for, by their handles.
#[derive(Default)]
pub(crate) struct Awaited {
    tasks: Mutex<HashMap<String, Held>>,
}

struct Held {
    owner: String,
    /// On the gateway's clock.
    until: Duration,
    waiting: Arc<Waiting>,
    work: JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        // First, so that the server hears that nobody answered before it hears that nobody
        // waits.
        self.waiting.end();
        self.work.abort();
    }
}

/// What a task wants to know.
#[derive(Default)]
pub(super) struct Waiting {
    state: Mutex<State>,
    /// Rung when there is more, or will be no more.
    news: Notify,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    is_over: bool,
}

struct Open {
    key: String,
    question: Question,
    was_shown: bool,
}

impl Awaited {
    /// Waits for the result of a task from now on, if that is not done already.
    pub(super) async fn of(&self, asked: &Asked<'_>, task: &Task) -> Result<Arc<Waiting>, RpcError> {
        let (waiting, is_new) = self.begin(asked, task)?;
        if is_new {
            // One that has nothing to ask after all is looked at again by its client.
            let _ = timeout(FIRST_WITHIN, waiting.news.notified()).await;
            sleep(asked.gateway.settings.asks.gather).await;
        }
        Ok(waiting)
    }

    fn begin(&self, asked: &Asked<'_>, task: &Task) -> Result<(Arc<Waiting>, bool), RpcError> {
        let limits = &asked.gateway.settings.asks;
        let owner = principal(asked.caller);
        let mut tasks = self.lock();
        if let Some(held) = tasks.get(&task.handle).filter(|held| !held.waiting.is_over()) {
            return Ok((Arc::clone(&held.waiting), false));
        }
        let mine = tasks.values().filter(|held| held.owner == owner).count();
        if tasks.len() >= limits.suspended || mine >= limits.suspended_each {
            let busy = UpstreamError::Busy { server: task.server.clone() };
            return Err(RpcError::answer(INTERNAL, busy.to_string()));
        }
        let waiting = Arc::<Waiting>::default();
        let known = identity(asked);
        let work = tokio::spawn(wait(
            asked.gateway.upstreams.clone(),
            task.clone(),
            known.client_info,
            limits.longest,
            Arc::clone(&waiting),
        ));
        let until = asked.gateway.clock.elapsed() + limits.patience;
        tasks.insert(task.handle.clone(), Held { owner, until, waiting: Arc::clone(&waiting), work });
        Ok((waiting, true))
    }

    /// What a task wants to know, if its result is waited for.
    pub(super) fn find(&self, handle: &str) -> Option<Arc<Waiting>> {
        let tasks = self.lock();
        tasks.get(handle).map(|held| Arc::clone(&held.waiting)).filter(|waiting| !waiting.is_over())
    }

    /// Somebody has been asked, or has answered: there is time again.
    pub(super) fn renew(&self, asked: &Asked<'_>, task: &Task) {
        let until = asked.gateway.clock.elapsed() + asked.gateway.settings.asks.patience;
        if let Some(held) = self.lock().get_mut(&task.handle) {
            held.until = until;
        }
    }

    /// Stops waiting for a task.
    pub(super) fn end(&self, handle: &str) {
        let ended = self.lock().remove(handle);
        // Apart, so that nothing is held while the server is told.
        drop(ended);
    }

    /// Stops waiting for those that have ended, and those that nobody looks after.
    pub(crate) fn sweep(&self, now: Duration) {
        let mut tasks = self.lock();
        let ended: Vec<_> = tasks.extract_if(|_, held| held.until <= now || held.waiting.is_over()).collect();
        drop(tasks);
        drop(ended);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the result of a task, and keeps what its server asks meanwhile.
async fn wait(
    upstreams: Upstreams,
    task: Task,
    client_info: String,
    longest: Duration,
    waiting: Arc<Waiting>,
) {
    let capabilities = Document::parse(task.capabilities.clone().into(), &Limits::default());
    let abilities = capabilities.map(|it| Abilities::read(it.root())).unwrap_or_default();
    let mut members = String::from(r#""taskId":"#);
    push_string(&mut members, &task.id);
    let (ask, mut asked) = mpsc::channel(QUESTIONS);
    let call = Call {
        members: members.into(),
        questions: Some(ask),
        deadline: Some(longest),
        ..task.request("tasks/result", &client_info, "")
    };
    let mut answer = std::pin::pin!(upstreams.call(&task.server, call));
    loop {
        tokio::select! {
            // The result is asked for again by whoever looks next: it stands at the server.
            _ = &mut answer => break,
            Some(question) = asked.recv() => {
                if let Some(question) = offered(&abilities, question) {
                    waiting.add(question);
                }
            }
        }
    }
    waiting.end();
}

impl Waiting {
    fn add(&self, question: Question) {
        let mut state = self.lock();
        // A question too many is dropped, and so answered.
        if state.is_over || state.open.len() >= QUESTIONS {
            return;
        }
        let key = key(&question, state.open.iter().map(|open| open.key.as_str()));
        state.open.push(Open { key, question, was_shown: false });
        drop(state);
        self.news.notify_one();
    }

    /// Nothing can be answered any more.
    fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let open = std::mem::take(&mut state.open);
        drop(state);
        drop(open);
        self.news.notify_one();
    }

    fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// The questions that a client with these abilities can answer, as the members of
    /// `inputRequests`, and the methods of those that nobody was shown before.
    pub(super) fn shown(&self, abilities: &Abilities) -> (String, Vec<String>) {
        let (mut out, mut new) = (String::new(), Vec::new());
        for open in &mut self.lock().open {
            let question = &open.question;
            let text = std::str::from_utf8(&question.params).unwrap_or_default();
            let params = reread(if text.is_empty() { "{}" } else { text });
            if !abilities.allow(&question.method, params.as_ref().map(Document::root)) {
                continue;
            }
            if !out.is_empty() {
                out.push(',');
            }
            push_string(&mut out, &open.key);
            out.push_str(r#":{"method":"#);
            push_string(&mut out, &question.method);
            if !text.is_empty() {
                out.push_str(r#","params":"#);
                out.push_str(&for_modern(text));
            }
            out.push('}');
            if !std::mem::replace(&mut open.was_shown, true) {
                new.push(question.method.clone());
            }
        }
        (out, new)
    }

    /// Hands a client's answers to the server; what it left out stays open. Yields what was
    /// answered, and how.
    pub(super) fn answered(&self, responses: Value<'_>) -> Vec<(String, &'static str)> {
        let mut answered = Vec::new();
        let mut state = self.lock();
        for open in std::mem::take(&mut state.open) {
            match responses.get(&open.key).filter(|response| response.is_object()) {
                Some(response) => {
                    answered.push((open.question.method.clone(), evidence::gist(response.raw())));
                    open.question.answer(response.raw());
                }
                None => state.open.push(open),
            }
        }
        answered
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
