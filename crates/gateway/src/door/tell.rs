//! Answering a request of a session by a stream that can be resumed.
//!
//! The call goes on whether or not its client is there to read (in this era a lost
//! connection cancels nothing), and everything it says is kept for when the client is back.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Pending;
use crate::gateway::Gateway;
use crate::session::Session;
use crate::session::stream::{Event, Told};

/// Opens the stream of a call that is under way. `first` has been said already.
pub(super) fn tell(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    pending: Pending,
    notifications: mpsc::Receiver<Bytes>,
    first: Option<Bytes>,
) -> mpsc::Receiver<Event> {
    let (told, client) = Told::open(gateway, session);
    let primes = session.primes();
    tokio::spawn(async move {
        let mut told = told;
        if primes {
            told.say(Bytes::new(), false).await;
        }
        if let Some(first) = first {
            told.say(first, false).await;
        }
        work(told, pending, notifications).await;
    });
    client
}

async fn work(mut told: Told, mut pending: Pending, mut notifications: mpsc::Receiver<Bytes>) {
    loop {
        let reply = tokio::select! {
            biased;
            Some(notification) = notifications.recv() => {
                told.say(notification, false).await;
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
