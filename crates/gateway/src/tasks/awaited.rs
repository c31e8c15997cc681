//! Core tasks whose servers ask: for as long as one waits for answers, its result is waited for
//! here, because that is when such a server asks; and the questions are kept until a client has
//! looked and answered.
//!
//! They live in the memory of this process, for a bounded time and in bounded number. What is
//! withdrawn is only the waiting: the task goes on, and whoever looks again makes its server
//! ask again. Of several replicas one waits, and the others ask it ([`elsewhere`]).

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

use super::asks::Asks;
use super::elsewhere::{self, Claim};
use super::handle::Task;
use super::waiting::{QUESTIONS, Waiting};
use crate::ask::{AskLimits, offered};
use crate::gateway::Gateway;
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
    /// Waits for the result of a task from now on, if nobody does; `None` if another replica
    /// does.
    pub(super) async fn begin(&self, asked: &Asked<'_>, task: &Task) -> Result<Option<Asks>, RpcError> {
        let (gateway, client_info) = (asked.gateway, identity(asked).client_info);
        let failed = |why: String| RpcError::answer(INTERNAL, why);
        let claim = if gateway.has_others {
            let claim = Claim::take(gateway, &task.handle).await;
            let Some(claim) = claim.map_err(|error| failed(error.to_string()))? else { return Ok(None) };
            Some(claim)
        } else {
            None
        };
        let limits = &gateway.settings.asks;
        let until = gateway.clock.elapsed() + limits.patience;
        let waiting = Waiting::named(claim.as_ref().map_or_else(String::new, |claim| claim.name.clone()));
        let kept = self.keep(&task.handle, principal(asked.caller), until, limits, waiting, |waiting| {
            let work = wait(
                gateway.upstreams.clone(),
                task.clone(),
                client_info,
                limits.longest,
                Arc::clone(&waiting),
            );
            match claim {
                Some(claim) => tokio::spawn(async move {
                    tokio::select! {
                        () = work => {}
                        () = claim.hold(&waiting) => waiting.give_up(),
                    }
                }),
                None => tokio::spawn(work),
            }
        });
        let busy = || UpstreamError::Busy { server: task.server.clone() };
        let (waiting, is_new) = kept.ok_or_else(|| failed(busy().to_string()))?;
        if is_new {
            // One that has nothing to ask after all is looked at again by its client.
            let _ = timeout(FIRST_WITHIN, waiting.news()).await;
            sleep(asked.gateway.settings.asks.gather).await;
        }
        Ok(Some(Asks::here(waiting)))
    }

    /// What a task wants to know, if its result is waited for, here or at another replica.
    ///
    /// # Errors
    /// When only another replica could say, and cannot be asked.
    pub(super) async fn look(&self, gateway: &Gateway, task: &Task) -> Result<Option<Asks>, RpcError> {
        if let Some(waiting) = self.find(&task.handle) {
            return Ok(Some(Asks::here(waiting)));
        }
        if !gateway.has_others {
            return Ok(None);
        }
        let asks = elsewhere::look(gateway, &task.handle).await;
        asks.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))
    }

    /// Keeps what a task wants to know under its handle, and begins to wait for it if nobody
    /// does yet; says whether that was so. `None` when there are too many.
    fn keep(
        &self,
        handle: &str,
        owner: String,
        until: Duration,
        limits: &AskLimits,
        waiting: Waiting,
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
        let waiting = Arc::new(waiting);
        let work = begin(Arc::clone(&waiting));
        tasks.insert(handle.to_owned(), Held { owner, until, waiting: Arc::clone(&waiting), work });
        Some((waiting, true))
    }

    /// What a task wants to know, if its result is waited for.
    fn find(&self, handle: &str) -> Option<Arc<Waiting>> {
        let tasks = self.lock();
        tasks.get(handle).map(|held| Arc::clone(&held.waiting)).filter(|waiting| !waiting.is_over())
    }

    /// Somebody has been asked, or has answered: there is time again.
    pub(super) fn renew(&self, gateway: &Gateway, handle: &str) {
        let until = gateway.clock.elapsed() + gateway.settings.asks.patience;
        if let Some(held) = self.lock().get_mut(handle) {
            held.until = until;
        }
    }

    /// The same at another replica.
    pub(crate) fn heard_of(&self, gateway: &Gateway, handle: &str) {
        self.renew(gateway, handle);
        if let Some(waiting) = self.find(handle) {
            waiting.word.notify_one();
        }
    }

    /// Stops waiting for a task.
    pub(crate) fn end(&self, handle: &str) {
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
            let kept = awaited.keep(handle, owner.to_owned(), until, &limits, Waiting::default(), |_| {
                endless(Arc::clone(&alive))
            });
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
