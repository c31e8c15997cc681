//! Clients of the modern era in front of a server of the legacy era: when the server
//! asks, its call is suspended, and goes on when the client makes the call again.
//!
//! A suspended call lives in the memory of this process, for a bounded time and in bounded
//! number. One that is gone is never made anew by itself: it may have acted already. Its
//! name begins with the replica that has it; where a client comes back to another, that one
//! passes the answers on ([`elsewhere`](super::elsewhere)). A name is good for one return.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::ServerId;
use doorward_model::json::{push_hex, push_string};
use doorward_upstream::UpstreamError;
use tokio::sync::{Notify, oneshot};

use super::course::{self, Course, Flight, Open, Step};
use super::state::{self, Resume};
use super::{AskLimits, Failure, Fault, Sent, broken, elsewhere, entries, evidence, reread};
use crate::codes;
use crate::gateway::Gateway;
use crate::pipeline::Asked;
use crate::session::principal;
use crate::stage::resolve::Resolved;
use crate::stage::send::Outgoing;

/// The calls that wait for their clients to come back, and those that go on although their
/// clients came back elsewhere.
#[derive(Default)]
pub(crate) struct Suspended {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    calls: HashMap<String, Call>,
    /// Calls of this replica that another waits for.
    lent: HashMap<String, oneshot::Sender<()>>,
    /// Calls of other replicas that this one waits for.
    awaited: HashMap<String, Arc<Notify>>,
}

/// A call without anybody who waits for it.
pub(super) struct Call {
    pub(super) owner: String,
    /// On the gateway's clock.
    until: Duration,
    /// Dropped first, as in [`Course`].
    pub(super) open: Open,
    pub(super) flight: Flight,
}

impl Suspended {
    /// Ends what nobody came back to.
    pub(crate) fn sweep(&self, now: Duration) {
        let mut ended = Vec::new();
        self.lock().calls.retain(|_, call| {
            let is_due = call.until <= now;
            if is_due {
                ended.push(std::mem::take(&mut call.open));
            }
            !is_due
        });
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().calls.len()
    }

    /// Ends one that nobody waits for any more.
    pub(crate) fn end(&self, name: &str) {
        let mut table = self.lock();
        let ended = (table.calls.remove(name), table.lent.remove(name));
        drop(table);
        // Apart, so that nothing is held while the server is told.
        drop(ended);
    }

    fn take(&self, name: &str, now: Duration) -> Option<Call> {
        self.lock().calls.remove(name).filter(|call| call.until > now)
    }

    /// Takes a call for a client that came back elsewhere, and a mark that falls when it ends
    /// before [`given_back`](Self::given_back).
    pub(super) fn lend(&self, name: &str, now: Duration) -> Option<(Call, oneshot::Receiver<()>)> {
        let mut table = self.lock();
        let call = table.calls.remove(name).filter(|call| call.until > now)?;
        let (wanted, unwanted) = oneshot::channel();
        table.lent.insert(name.to_owned(), wanted);
        Some((call, unwanted))
    }

    /// It goes on no more.
    pub(super) fn given_back(&self, name: &str) {
        self.lock().lent.remove(name);
    }

    /// From now on, something said about a call of another replica is heard of.
    pub(super) fn await_word(&self, name: &str) -> Arc<Notify> {
        Arc::clone(self.lock().awaited.entry(name.to_owned()).or_default())
    }

    /// Nobody waits for it here any more.
    pub(super) fn await_no_more(&self, name: &str) {
        self.lock().awaited.remove(name);
    }

    /// Another replica said something about a call that it was asked to go on with.
    pub(crate) fn heard_of(&self, name: &str) {
        if let Some(awaited) = self.lock().awaited.get(name) {
            awaited.notify_waiters();
        }
    }

    /// Keeps a call; gives it back when there are too many.
    fn keep(&self, name: String, call: Call, limits: &AskLimits) -> bool {
        let mut table = self.lock();
        let calls = &mut table.calls;
        let mine = calls.values().filter(|other| other.owner == call.owner).count();
        if calls.len() >= limits.suspended || mine >= limits.suspended_each {
            return false;
        }
        calls.insert(name, call);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a call, or goes on with a suspended one, until it is answered or asks.
pub(super) async fn relay(resolved: &Resolved<'_>, outgoing: Outgoing) -> Result<Sent, UpstreamError> {
    let asked = resolved.asked();
    let gateway = asked.gateway;
    let resumed = match resolved.round().map(|round| &round.resume) {
        Some(Resume::Suspended(name)) => match gateway.suspended.take(name, gateway.clock.elapsed()) {
            Some(call) => Some(call),
            None if gateway.has_others && !name.starts_with(&*gateway.replica) => {
                // Larger than all the rest, and rare.
                return Box::pin(elsewhere::relay(resolved, name)).await;
            }
            None => return Ok(Sent::Gone),
        },
        _ => None,
    };
    let is_resumed = resumed.is_some();
    let (open, flight) = match resumed {
        Some(Call { flight, open, .. }) => {
            let (left, given) = course::answer(open, resolved.round().and_then(|round| round.responses));
            for (method, how) in given {
                evidence::note(resolved, &method, how);
            }
            (left, flight)
        }
        None => (Vec::new(), Flight::begin(resolved, outgoing)),
    };
    let mut course = Course::new(gateway, flight, open);
    loop {
        match course.step(&asked.abilities).await {
            Step::Said(note) => pass_on(asked, note, is_resumed).await,
            Step::Ended(answer) => return answer.map(Sent::Answer),
            Step::Asks => {
                return match suspend(gateway, principal(asked.caller), course) {
                    Ok((name, requests)) => put(resolved, &name, &requests),
                    Err(full) => Ok(Sent::Failed(full)),
                };
            }
        }
    }
}

/// Keeps a call until its client comes back with the answers: its name, and what it asks.
pub(super) fn suspend(gateway: &Gateway, owner: String, course: Course) -> Result<(String, String), Failure> {
    let mut bytes = [0; 16];
    gateway.random.fill(&mut bytes);
    let mut name = format!("{}-", gateway.replica);
    push_hex(&mut name, &bytes);
    let limits = &gateway.settings.asks;
    let until = gateway.clock.elapsed() + limits.patience;
    let (requests, server) = (course.requests(), course.server().clone());
    let (open, flight) = course.into_parts();
    if !gateway.suspended.keep(name.clone(), Call { owner, until, open, flight }, limits) {
        return Err(full(&server));
    }
    Ok((name, requests))
}

/// What becomes of a call that finds no place to wait in. It is no `UpstreamError::Busy`, which
/// says that a call never began.
fn full(server: &ServerId) -> Failure {
    let text = format!(
        "server `{server}` has a question, but too many calls wait for answers already: this one was ended, \
         and may have acted; answer those that wait, or let them expire, before the next"
    );
    Failure { text, fault: Fault::Server, code: codes::FULL.into() }
}

/// Puts to the client what a suspended call asks; `requests` is JSON text.
pub(super) fn put(resolved: &Resolved<'_>, name: &str, requests: &str) -> Result<Sent, UpstreamError> {
    let gateway = resolved.asked().gateway;
    let mut result = format!(r#"{{"resultType":"input_required","inputRequests":{requests}"#);
    let sealed = state::seal(resolved, &Resume::Suspended(name.to_owned()));
    let (Some(state), Some(read)) = (sealed, reread(&format!("{result}}}"))) else {
        gateway.suspended.end(name);
        return Err(broken(resolved, "its call cannot be suspended"));
    };
    for (_, entry) in entries(read.root()) {
        evidence::note(resolved, &entry.method(), "asked");
    }
    result.push_str(r#","requestState":"#);
    push_string(&mut result, &state);
    result.push('}');
    Ok(Sent::Suspended(result))
}

/// Passes a notification of the call on. After a suspension, progress belongs to the
/// request that is waiting now.
pub(super) async fn pass_on(asked: &Asked<'_>, note: Bytes, is_resumed: bool) {
    let Some(notify) = &asked.notify else { return };
    let note = if is_resumed { retold(asked, &note) } else { Some(note) };
    if let Some(note) = note {
        // A client that has gone does not need to be told.
        let _ = notify.send(note).await;
    }
}

/// The notification under the progress token of the request that is waiting now.
fn retold(asked: &Asked<'_>, note: &Bytes) -> Option<Bytes> {
    let document = reread(std::str::from_utf8(note).ok()?)?;
    let token = document.root().get("params").and_then(|params| params.get("progressToken"));
    let Some(old) = token else { return Some(note.clone()) };
    let own = asked.meta.progress_token?;
    let (text, span) = (std::str::from_utf8(note).ok()?, old.span());
    Some(Bytes::from(format!("{}{}{}", &text[..span.start], own.raw(), &text[span.end..])))
}
