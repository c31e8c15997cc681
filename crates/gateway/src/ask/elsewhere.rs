//! A client that comes back to another replica than the one where its call is suspended.
//!
//! The replica it came to has judged the call, and records it. It leaves what the client
//! brought in the shared state, once: whoever comes second finds that something was there.
//! The replica with the call takes that, goes on, and writes what comes of it to a log, which
//! the first reads. Neither waits for the other longer than it shows signs of life, and a call
//! that nobody waits for any more is ended. It is never made anew.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::LogBounds;
use doorward_model::json::{Document, Value};
use doorward_upstream::UpstreamError;
use tokio::sync::{Notify, oneshot};
use tokio::time::{interval, sleep};

use super::course::{self, Course, Step};
use super::letters::{Brought, Word};
use super::suspended::{self, Call};
use super::{Failure, Sent, evidence};
use crate::gateway::Gateway;
use crate::session::replicas::Tidings;
use crate::stage::resolve::Resolved;

/// How long the other replica may take to take what a client brought.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// How often it shows that it is alive, and how long it is believed without that.
const BEAT: Duration = Duration::from_secs(3);
const SILENT: Duration = Duration::from_secs(10);
/// How long to wait before looking by oneself: what tells of a word may get lost.
const LOOK: Duration = Duration::from_secs(1);
/// How much of what was said is kept, and how long.
const WORDS: LogBounds = LogBounds { entries: 256, bytes: 256 << 20, keep: Duration::from_secs(60) };

/// Stands where something was brought that nobody can take any more.
const TAKEN: Bytes = Bytes::from_static(b"taken");

fn place(name: &str) -> String {
    format!("brought/{name}")
}

fn log(name: &str) -> String {
    format!("words/{name}")
}

/// Has a call of another replica go on, until it is answered or asks.
pub(super) async fn relay(resolved: &Resolved<'_>, name: &str) -> Result<Sent, UpstreamError> {
    let asked = resolved.asked();
    let (gateway, keep) = (asked.gateway, asked.gateway.settings.asks.patience);
    let responses = resolved.round().and_then(|round| round.responses).map_or("", Value::raw);
    let brought = Brought::write(&asked.abilities, responses);
    match gateway.shared.claim(&place(name), brought, keep).await {
        Ok(None) => {}
        Ok(Some(_)) => return Ok(Sent::Gone),
        Err(_) => return Ok(Sent::Elsewhere),
    }
    let mut waiting = Waiting { gateway, name, word: gateway.suspended.await_word(name), is_over: false };
    if gateway.tell_others(name, Tidings::Brought).await.is_err() {
        // What was brought counts as taken, so that a second attempt would end like this.
        return Ok(Sent::Gone);
    }
    let mut from = 0;
    let mut silent = pin!(sleep(TAKEN_WITHIN));
    loop {
        let word = Arc::clone(&waiting.word);
        let mut woken = pin!(word.notified());
        woken.as_mut().enable();
        for (at, entry) in gateway.shared.read(&log(name), from).await.unwrap_or_default() {
            from = at + 1;
            silent.set(sleep(SILENT));
            let sent = match Word::read(&entry) {
                Some(Word::Taken(given)) => {
                    for (method, how) in given {
                        evidence::note(resolved, &method, &how);
                    }
                    continue;
                }
                Some(Word::Said(note)) => {
                    suspended::pass_on(asked, note, true).await;
                    continue;
                }
                Some(Word::Alive) | None => continue,
                Some(Word::Answered(answer)) => Ok(Sent::Answer(answer)),
                Some(Word::Failed(failure)) => Ok(Sent::Failed(failure)),
                Some(Word::Gone) => Ok(Sent::Gone),
                Some(Word::Asks(next, requests)) => suspended::put(resolved, &next, &requests)
                    .inspect_err(|_| gateway.let_others_know(&next, Tidings::Dropped)),
            };
            waiting.is_over = true;
            return sent;
        }
        tokio::select! {
            () = woken => {}
            () = sleep(LOOK) => {}
            () = &mut silent => return Ok(Sent::Gone),
        }
    }
}

/// A client that waits. Dropped before its call is over, it ends it.
struct Waiting<'a> {
    gateway: &'a Arc<Gateway>,
    name: &'a str,
    word: Arc<Notify>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gateway.suspended.await_no_more(self.name);
        let (false, Ok(runtime)) = (self.is_over, tokio::runtime::Handle::try_current()) else { return };
        let (gateway, name) = (Arc::clone(self.gateway), self.name.to_owned());
        runtime.spawn(async move {
            // First, so that it is not begun after it was ended.
            let _ = gateway.shared.set(&place(&name), Some(TAKEN), gateway.settings.asks.patience).await;
            gateway.let_others_know(&name, Tidings::Dropped);
        });
    }
}

/// Goes on with a call of this replica, whose client has come back to another.
pub(crate) async fn go_on(gateway: Arc<Gateway>, name: String) {
    if !name.starts_with(&*gateway.replica) {
        return;
    }
    let patience = gateway.settings.asks.patience;
    let Ok(Some(brought)) = gateway.shared.set(&place(&name), Some(TAKEN), patience).await else { return };
    if brought == TAKEN {
        return;
    }
    let lent = gateway.suspended.lend(&name, gateway.clock.elapsed());
    match (lent, Brought::read(&brought)) {
        (Some((call, unwanted)), Some(brought)) => {
            lend(&gateway, &name, call, brought, unwanted).await;
            gateway.suspended.given_back(&name);
        }
        _ => say(&gateway, &name, Word::Gone).await,
    }
}

async fn lend(
    gateway: &Arc<Gateway>,
    name: &str,
    call: Call,
    brought: Brought,
    mut unwanted: oneshot::Receiver<()>,
) {
    let Call { owner, open, flight, .. } = call;
    let (left, given) = course::answer(open, brought.responses.as_ref().map(Document::root));
    let given = given.into_iter().map(|(method, how)| (method, how.to_owned())).collect();
    let mut course = Course::new(gateway, flight, left);
    say(gateway, name, Word::Taken(given)).await;
    let mut beat = interval(BEAT);
    let last = loop {
        tokio::select! {
            biased;
            _ = &mut unwanted => return,
            _ = beat.tick() => say(gateway, name, Word::Alive).await,
            step = course.step(&brought.abilities) => match step {
                Step::Said(note) => say(gateway, name, Word::Said(note)).await,
                Step::Ended(Ok(answer)) => break Word::Answered(answer),
                Step::Ended(Err(error)) => break Word::Failed(Failure::from(&error)),
                Step::Asks => break match suspended::suspend(gateway, owner, course) {
                    Ok((next, requests)) => Word::Asks(next, requests),
                    Err(full) => Word::Failed(full),
                },
            }
        }
    };
    say(gateway, name, last).await;
}

async fn say(gateway: &Arc<Gateway>, name: &str, word: Word) {
    match gateway.shared.append(&log(name), word.write(), WORDS).await {
        // Whoever does not hear it looks by itself.
        Ok(_) => drop(gateway.tell_others(name, Tidings::Worded).await),
        Err(error) => {
            tracing::warn!(target: "doorward::session", %error, "another replica waits for a call in vain");
        }
    }
}
