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

use doorward_model::json::{Document, Limits, push_string};
use doorward_upstream::{Call, UpstreamError, Upstreams};
use doorward_wire::error::INTERNAL;
use doorward_wire::{Abilities, RpcError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::handle::Task;
use super::waiting::{QUESTIONS, Waiting};
use crate::ask::{AskLimits, offered};
use crate::pipeline::Asked;
use crate::session::principal;
use crate::stage::send::identity;

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

impl Awaited {
    /// Waits for the result of a task from now on, if that is not done already.
    pub(super) async fn of(&self, asked: &Asked<'_>, task: &Task) -> Result<Arc<Waiting>, RpcError> {
        let (gateway, client_info) = (asked.gateway, identity(asked).client_info);
        let limits = &gateway.settings.asks;
        let until = gateway.clock.elapsed() + limits.patience;
        let kept = self.keep(&task.handle, principal(asked.caller), until, limits, |waiting| {
            tokio::spawn(wait(gateway.upstreams.clone(), task.clone(), client_info, limits.longest, waiting))
        });
        let busy = || UpstreamError::Busy { server: task.server.clone() };
        let (waiting, is_new) = kept.ok_or_else(|| RpcError::answer(INTERNAL, busy().to_string()))?;
        if is_new {
            // One that has nothing to ask after all is looked at again by its client.
            let _ = timeout(FIRST_WITHIN, waiting.news()).await;
            sleep(asked.gateway.settings.asks.gather).await;
        }
        Ok(waiting)
    }

    /// Keeps what a task wants to know under its handle, and begins to wait for it if nobody
    /// does yet; says whether that was so. `None` when there are too many.
    fn keep(
        &self,
        handle: &str,
        owner: String,
        until: Duration,
        limits: &AskLimits,
        begin: impl FnOnce(Arc<Waiting>) -> JoinHandle<()>,
    ) -> Option<(Arc<Waiting>, bool)> {
        let mut tasks = self.lock();
        if let Some(held) = tasks.get(handle).filter(|held| !held.waiting.is_over()) {
            return Some((Arc::clone(&held.waiting), false));
        }
        let mine = tasks.values().filter(|held| held.owner == owner).count();
        if tasks.len() >= limits.suspended || mine >= limits.suspended_each {
            return None;
        }
        let waiting = Arc::<Waiting>::default();
        let work = begin(Arc::clone(&waiting));
        tasks.insert(handle.to_owned(), Held { owner, until, waiting: Arc::clone(&waiting), work });
        Some((waiting, true))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for ever, and is heard of when it is ended.
    fn endless(alive: Arc<()>) -> JoinHandle<()> {
        tokio::spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        })
    }

    #[tokio::test]
    async fn what_is_waited_for_is_bounded_and_ends() {
        let limits = AskLimits { suspended: 3, suspended_each: 2, ..AskLimits::default() };
        let (awaited, alive) = (Awaited::default(), Arc::new(()));
        let keep = |handle: &str, owner: &str, until: u64| {
            let until = Duration::from_secs(until);
            let kept =
                awaited.keep(handle, owner.to_owned(), until, &limits, |_| endless(Arc::clone(&alive)));
            kept.map(|(_, is_new)| is_new)
        };
        let cases = [
            ("a", "ana", Some(true)),
            ("a", "ana", Some(false)),
            ("b", "ana", Some(true)),
            ("c", "ana", None),
            ("c", "bob", Some(true)),
            ("d", "eve", None),
        ];
        for (at, (handle, owner, expected)) in cases.into_iter().enumerate() {
            assert_eq!(keep(handle, owner, 10 + at as u64), expected, "{handle} of {owner}");
        }
        let waiting = awaited.find("a").expect("it is waited for");
        awaited.sweep(Duration::from_secs(10));
        assert!(awaited.find("a").is_none() && waiting.is_over(), "its time is over");
        awaited.end("b");
        awaited.find("c").expect("its time is not over").end();
        assert!(awaited.find("c").is_none(), "there is nothing more to come");
        awaited.sweep(Duration::ZERO);
        assert_eq!(awaited.count(), 0);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
