//! What is to be written to a child, in order.
//!
//! A child may stop to read its input for as long as it likes. Whoever gives up in the meantime
//! takes the request out of the queue again: it holds no memory, and does not run when the child
//! wakes up. From the moment the writer has it, the child can only be asked to leave it be.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use doorward_model::Departure;
use tokio::sync::mpsc;

/// How many messages may wait to be written.
const LENGTH: usize = 256;

/// The end at which messages are put in.
#[derive(Clone)]
pub(crate) struct Queue {
    messages: mpsc::Sender<Queued>,
    /// Never full, as a child that reads nothing is just the one to be told; and never long, as
    /// each is about a request in flight that the writer has had.
    withdrawals: mpsc::UnboundedSender<Bytes>,
}

/// The end at which the writer takes them out.
pub(crate) struct Outgoing {
    messages: mpsc::Receiver<Queued>,
    withdrawals: mpsc::UnboundedReceiver<Bytes>,
}

/// What the writer has got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// To be written.
    Message(Bytes),
    /// The request with this id was called off, and must not be written.
    CalledOff(u64),
}

/// The child's input is closed.
#[derive(Debug)]
pub(crate) struct Closed;

enum Queued {
    Message(Bytes),
    Request(Arc<Request>),
}

/// A request that can be taken back until the writer has it.
pub(crate) struct Request {
    id: u64,
    departure: Option<Arc<Departure>>,
    message: Mutex<Option<Bytes>>,
}

/// A queue, and what comes out of it.
pub(crate) fn queue() -> (Queue, Outgoing) {
    let (messages, outgoing) = mpsc::channel(LENGTH);
    let (withdrawals, withdrawn) = mpsc::unbounded_channel();
    (Queue { messages, withdrawals }, Outgoing { messages: outgoing, withdrawals: withdrawn })
}

impl Queue {
    /// Puts a message in as soon as there is a place for it.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), Closed> {
        self.messages.send(Queued::Message(message)).await.map_err(|_| Closed)
    }

    /// The same with a request, which need not get there.
    pub(crate) async fn request(&self, request: Arc<Request>) -> Result<(), Closed> {
        self.messages.send(Queued::Request(request)).await.map_err(|_| Closed)
    }

    /// Puts a message in, or leaves it: a child that does not read its input is not waited for.
    pub(crate) fn send_quietly(&self, message: Bytes) {
        drop(self.messages.try_send(Queued::Message(message)));
    }

    /// Says that nobody waits any more for a request that the writer has had.
    pub(crate) fn withdraw(&self, message: Bytes) {
        drop(self.withdrawals.send(message));
    }
}

impl Outgoing {
    /// What comes next; `None` when nothing does any more.
    pub(crate) async fn next(&mut self) -> Option<Taken> {
        loop {
            let queued = tokio::select! {
                biased;
                // What it is about was written before, or nobody would withdraw it this way.
                Some(withdrawal) = self.withdrawals.recv() => return Some(Taken::Message(withdrawal)),
                queued = self.messages.recv() => queued?,
            };
            match queued {
                Queued::Message(message) => return Some(Taken::Message(message)),
                Queued::Request(request) => {
                    if let Some(taken) = request.take() {
                        return Some(taken);
                    }
                }
            }
        }
    }
}

impl Request {
    pub(crate) fn new(id: u64, message: Bytes, departure: Option<&Arc<Departure>>) -> Arc<Self> {
        Arc::new(Self { id, departure: departure.cloned(), message: Mutex::new(Some(message)) })
    }

    /// Takes it out of the queue, wherever in it or before it it is. Says whether that was in
    /// time.
    pub(crate) fn take_back(&self) -> bool {
        self.empty().is_some()
    }

    fn take(&self) -> Option<Taken> {
        let message = self.empty()?;
        let leaves = self.departure.as_deref().is_none_or(Departure::leave);
        Some(if leaves { Taken::Message(message) } else { Taken::CalledOff(self.id) })
    }

    fn empty(&self) -> Option<Bytes> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn taken(text: &'static str) -> Option<Taken> {
        Some(Taken::Message(message(text)))
    }

    #[tokio::test]
    async fn a_request_leaves_when_it_is_taken_or_never() {
        let (queue, mut outgoing) = queue();
        let departures: [Arc<Departure>; 3] = Default::default();
        let [sent, given_up, called_off] = [0, 1, 2].map(|at| {
            let id = u64::try_from(at).expect("small");
            Request::new(id, message("request"), departures.get(at))
        });
        for request in [&sent, &given_up, &called_off] {
            queue.request(Arc::clone(request)).await.expect("open");
        }
        assert!(given_up.take_back() && departures[1].call_off(), "nothing of it has left");
        assert!(departures[2].call_off());
        assert_eq!(outgoing.next().await, taken("request"));
        assert!(!sent.take_back() && !departures[0].call_off());
        assert_eq!(outgoing.next().await, Some(Taken::CalledOff(2)));
        drop(queue);
        assert_eq!(outgoing.next().await, None);
    }

    #[tokio::test]
    async fn a_withdrawal_finds_its_way_past_a_queue_that_is_full() {
        let (queue, mut outgoing) = queue();
        for _ in 0..LENGTH {
            queue.send(message("one of many")).await.expect("open");
        }
        queue.send_quietly(message("one too many"));
        queue.withdraw(message("a withdrawal"));
        drop(queue);
        assert_eq!(outgoing.next().await, taken("a withdrawal"));
        for _ in 0..LENGTH {
            assert_eq!(outgoing.next().await, taken("one of many"));
        }
        assert_eq!(outgoing.next().await, None);
    }
}
