//! Where the messages of one exchange go: an HTTP response, or a line of stdout.

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::rpc::{self, Fault};

/// What an exchange may send.
#[derive(Debug)]
pub enum Item {
    /// Nothing yet, but make it a stream.
    Open,
    /// A notification, or a request of ours.
    Say(Value),
    /// The last word, and the HTTP status it has if it is also the first.
    Answer { message: Value, status: u16 },
    /// Hang up; the client will come back for the rest.
    HangUp,
}

/// The sending end. The exchange is over when the last clone is dropped.
#[derive(Clone)]
pub struct Out(UnboundedSender<Item>);

impl Out {
    pub fn channel() -> (Self, UnboundedReceiver<Item>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    // A reader that is gone is no error: there is nobody left to tell.
    pub fn send(&self, item: Item) {
        self.0.send(item).ok();
    }

    pub fn say(&self, message: Value) {
        self.send(Item::Say(message));
    }

    pub fn answer(&self, id: &Value, result: Result<Value, Fault>) {
        let status = result.as_ref().map_or_else(|fault| fault.status, |_| 200);
        self.send(Item::Answer { message: rpc::answer(id, result), status });
    }

    /// Returns when nobody reads any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}
