//! Tasks whose results another replica waits for.
//!
//! One replica at most waits for a task: the one whose name for the waiting stands under the
//! task's handle, for as long as it shows signs of life. It writes the open questions down.
//! Each question has one place for its answer, which belongs to whoever fills it first; the
//! replica that waits finds it there and hands it to the server. If that replica is gone, so
//! is its name soon, and whoever looks next begins anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::Shared;
use doorward_model::json::push_hex;
use doorward_model::shared::Unshared;
use tokio::runtime::Handle;
use tokio::time::interval;

use super::asking::{self, Asking};
use super::asks::Asks;
use super::waiting::Waiting;
use crate::gateway::Gateway;

/// How often the replica that waits shows that it is alive, and looks for answers that it was
/// not told of; how long it is believed without that.
const BEAT: Duration = Duration::from_secs(2);
const SILENT: Duration = Duration::from_secs(8);
/// How long an answer is kept that the replica that waits does not take.
const UNTAKEN: Duration = Duration::from_secs(60);

/// Stands where an answer was, or is not needed.
const TAKEN: Bytes = Bytes::from_static(b"taken");

fn place(handle: &str) -> String {
    format!("waits/{handle}")
}

fn questions_place(name: &str) -> String {
    format!("asks/{name}")
}

fn answer_place(name: &str, number: u64) -> String {
    format!("answer/{name}/{number}")
}

fn shown_place(name: &str, number: u64) -> String {
    format!("shown/{name}/{number}")
}

/// What a task wants to know, if another replica waits for its result.
pub(super) async fn look(gateway: &Gateway, handle: &str) -> Result<Option<Asks>, Unshared> {
    let Some(name) = gateway.shared.get(&place(handle)).await? else { return Ok(None) };
    let Ok(name) = String::from_utf8(name.into()) else { return Ok(None) };
    let open = gateway.shared.get(&questions_place(&name)).await?;
    let open: Vec<Asking> = open.and_then(|text| asking::read(&text)).unwrap_or_default();
    Ok(Some(Asks::elsewhere(name, open)))
}

/// Leaves an answer for the replica that waits; whether it is the first.
pub(super) async fn answer(
    gateway: &Gateway,
    name: &str,
    number: u64,
    response: &str,
) -> Result<bool, Unshared> {
    let response = Bytes::copy_from_slice(response.as_bytes());
    fill(gateway, answer_place(name, number), response, UNTAKEN).await
}

/// Notes that a question is answered; whether it was not.
pub(super) async fn taken(gateway: &Gateway, name: &str, number: u64) -> Result<bool, Unshared> {
    fill(gateway, answer_place(name, number), TAKEN, gateway.settings.asks.longest).await
}

/// Whether somebody has answered a question.
pub(super) async fn is_answered(gateway: &Gateway, name: &str, number: u64) -> bool {
    gateway.shared.get(&answer_place(name, number)).await.is_ok_and(|answer| answer.is_some())
}

/// Notes that somebody was shown a question; whether nobody had been.
pub(super) async fn is_new(gateway: &Gateway, name: &str, number: u64) -> bool {
    // Recorded twice is better than never.
    let keep = gateway.settings.asks.longest;
    fill(gateway, shown_place(name, number), TAKEN, keep).await.unwrap_or(true)
}

async fn fill(gateway: &Gateway, place: String, value: Bytes, keep: Duration) -> Result<bool, Unshared> {
    Ok(gateway.shared.claim(&place, value, keep).await?.is_none())
}

/// This replica's right to wait for a task, given back when it is dropped.
pub(super) struct Claim {
    shared: Arc<dyn Shared>,
    handle: String,
    pub(super) name: String,
    longest: Duration,
}

impl Claim {
    /// Takes the right, unless another replica has it.
    pub(super) async fn take(gateway: &Gateway, handle: &str) -> Result<Option<Self>, Unshared> {
        let mut bytes = [0; 16];
        gateway.random.fill(&mut bytes);
        let mut name = String::new();
        push_hex(&mut name, &bytes);
        let claim = Self {
            shared: Arc::clone(&gateway.shared),
            handle: handle.to_owned(),
            name,
            longest: gateway.settings.asks.longest,
        };
        Ok(if claim.renew().await? == Right::Others { None } else { Some(claim) })
    }

    /// Speaks for a waiting to the other replicas until another has the right.
    pub(super) async fn hold(&self, waiting: &Waiting) {
        let (mut beat, mut written) = (interval(BEAT), Vec::new());
        loop {
            // Whatever cannot be read or written now can be at the next beat.
            self.collect(waiting).await;
            let open = waiting.open();
            if open != written {
                let place = questions_place(&self.name);
                if self.shared.set(&place, Some(asking::write(&open)), self.longest).await.is_ok() {
                    written = open;
                }
            }
            tokio::select! {
                () = waiting.word.notified() => {}
                _ = beat.tick() => match self.renew().await {
                    Ok(Right::Others) => return,
                    // It was lost, and the questions with it.
                    Ok(Right::New) => written.clear(),
                    Ok(Right::Kept) | Err(_) => {}
                }
            }
        }
    }

    /// Takes the answers that others left, and hands them to the server.
    async fn collect(&self, waiting: &Waiting) {
        for Asking { number, .. } in waiting.open() {
            let place = answer_place(&self.name, number);
            let Ok(Some(answer)) = self.shared.get(&place).await else { continue };
            if answer == TAKEN {
                continue;
            }
            // It is not needed any more, but nobody may bring another.
            let _ = self.shared.set(&place, Some(TAKEN), self.longest).await;
            if let Ok(answer) = std::str::from_utf8(&answer) {
                waiting.answer(number, answer);
            }
        }
    }

    /// Takes the right if nobody has it; if this waiting has, it is good for a while from now on.
    async fn renew(&self) -> Result<Right, Unshared> {
        let (place, name) = (place(&self.handle), Bytes::copy_from_slice(self.name.as_bytes()));
        match self.shared.claim(&place, name.clone(), SILENT).await? {
            None => Ok(Right::New),
            Some(other) if other == name => {
                self.shared.set(&place, Some(name), SILENT).await?;
                Ok(Right::Kept)
            }
            Some(_) => Ok(Right::Others),
        }
    }
}

/// Whose the right to wait for a task is.
#[derive(Debug, PartialEq, Eq)]
enum Right {
    New,
    Kept,
    Others,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (shared, place) = (Arc::clone(&self.shared), place(&self.handle));
        let questions = questions_place(&self.name);
        let name = std::mem::take(&mut self.name);
        runtime.spawn(async move {
            if shared.get(&place).await.is_ok_and(|there| there.is_some_and(|there| there == name)) {
                let _ = shared.set(&place, None, SILENT).await;
            }
            let _ = shared.set(&questions, None, SILENT).await;
        });
    }
}
