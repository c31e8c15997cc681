//! Answering a request of a session by a stream that can be resumed.
//!
//! The call goes on whether or not its client is there to read (in this era a lost
//! connection cancels nothing), and everything it says is kept for when the client is back.
//! When the server hangs up on the gateway and offers the rest later, so does the gateway on
//! the client.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Pending;
use crate::gateway::Gateway;
use crate::session::Session;
use crate::session::stream::{Event, Told};

/// Why the stream of a call is opened before its answer.
pub(super) enum Cause {
    /// This has been said.
    Said(Bytes),
    /// The server has hung up, to be asked again after so long.
    HungUp(Duration),
    /// It takes its time.
    Slow,
}

/// How long a server that hung up wants to be left alone; `None` if it never will.
pub(super) async fn hung_up(hang_ups: &mut Option<mpsc::Receiver<Duration>>) -> Option<Duration> {
    hang_ups.as_mut()?.recv().await
}

/// Opens the stream of a call that is under way.
pub(super) fn tell(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    pending: Pending,
    notifications: mpsc::Receiver<Bytes>,
    hang_ups: Option<mpsc::Receiver<Duration>>,
    cause: Cause,
) -> mpsc::Receiver<Event> {
    let (told, client) = Told::open(gateway, session);
    let primes = session.primes();
    tokio::spawn(async move {
        let mut told = told;
        if primes {
            told.say(Bytes::new(), false).await;
        }
        match cause {
            Cause::Said(first) => told.say(first, false).await,
            Cause::HungUp(retry) => told.hang_up(retry).await,
            Cause::Slow => {}
        }
        work(told, pending, notifications, hang_ups).await;
    });
    client
}

async fn work(
    mut told: Told,
    mut pending: Pending,
    mut notifications: mpsc::Receiver<Bytes>,
    mut hang_ups: Option<mpsc::Receiver<Duration>>,
) {
    loop {
        let reply = tokio::select! {
            biased;
            Some(notification) = notifications.recv() => {
                told.say(notification, false).await;
                continue;
            }
            Some(retry) = hung_up(&mut hang_ups) => {
                told.hang_up(retry).await;
                continue;
            }
            reply = poll_fn(|cx| pending.poll(cx)) => reply,
        };
        // What came before the answer goes out before it.
        while let Ok(notification) = notifications.try_recv() {
            told.say(notification, false).await;
        }
        return told.say(reply.body, true).await;
    }
}
