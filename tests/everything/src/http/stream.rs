//! A stream of a session, kept so that it can be resumed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::reply::Feed;
use crate::out::Item;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const RETRY_MILLIS: u32 = 100;

/// All that was and will be sent on a stream.
pub struct Stream {
    number: usize,
    log: watch::Sender<Log>,
}

#[derive(Default)]
struct Log {
    events: Vec<Event>,
    ended: bool,
    /// How many of the events were sent to somebody.
    sent: usize,
    /// Who reads; a new reader takes the stream from the last.
    reader: u64,
}

#[derive(Clone)]
enum Event {
    Say(String),
    Answer(String),
    HangUp,
}

/// How a reader reads.
pub struct Reading {
    /// How many events it has seen.
    pub seen: usize,
    /// Whether it opened the stream; only then does the server hang up on it.
    pub first: bool,
    /// Whether it knows events without data.
    pub primed: bool,
}

impl Stream {
    /// Keeps what comes, until nothing can come any more.
    pub fn record(number: usize, mut items: UnboundedReceiver<Item>) -> Arc<Self> {
        let stream = Arc::new(Self { number, log: watch::Sender::default() });
        let recorder = Arc::clone(&stream);
        tokio::spawn(async move {
            while let Some(item) = items.recv().await {
                let event = match item {
                    Item::Say(message) => Event::Say(message.to_string()),
                    Item::Answer { message, .. } => Event::Answer(message.to_string()),
                    Item::HangUp => Event::HangUp,
                    Item::Open => continue,
                };
                recorder.log.send_modify(|log| log.events.push(event));
            }
            recorder.log.send_modify(|log| log.ended = true);
        });
        stream
    }

    /// The answer, if it is the first thing that comes.
    pub async fn answer_at_once(&self) -> Option<String> {
        let mut watch = self.log.subscribe();
        let log = watch.wait_for(|log| log.ended || !log.events.is_empty()).await.ok()?;
        match log.events.first() {
            Some(Event::Answer(message)) => Some(message.clone()),
            _ => None,
        }
    }

    /// How many events somebody has seen.
    pub fn sent(&self) -> usize {
        self.log.borrow().sent
    }

    /// Sends what the reader has not seen, and all that comes, to the end.
    pub async fn send(&self, reading: Reading, feed: Feed) {
        let mut reader = 0;
        self.log.send_modify(|log| {
            log.reader += 1;
            reader = log.reader;
        });
        if reading.primed {
            feed.prime(&self.event_id(reading.seen));
        }
        let mut watch = self.log.subscribe();
        let mut seen = reading.seen;
        loop {
            let next = tokio::select! {
                next = next(&mut watch, seen, reader) => next,
                () = feed.closed() => return,
                () = tokio::time::sleep(KEEP_ALIVE) => { feed.comment(); continue }
            };
            let Some(event) = next else { return };
            seen += 1;
            match event {
                Event::Say(message) | Event::Answer(message) => {
                    feed.message(Some(&self.event_id(seen)), &message);
                }
                Event::HangUp if reading.first => return feed.retry(RETRY_MILLIS),
                Event::HangUp => {}
            }
            self.log.send_if_modified(|log| {
                log.sent = log.sent.max(seen);
                false
            });
        }
    }

    fn event_id(&self, seen: usize) -> String {
        format!("{}-{seen}", self.number)
    }
}

/// The event after `seen`, as long as this reader is the one who reads.
async fn next(watch: &mut watch::Receiver<Log>, seen: usize, reader: u64) -> Option<Event> {
    let ready = |log: &Log| log.events.len() > seen || log.ended || log.reader != reader;
    let log = watch.wait_for(ready).await.ok()?;
    if log.reader == reader { log.events.get(seen).cloned() } else { None }
}

/// The stream and the count in the id of an event.
pub fn read_event_id(id: &str) -> Option<(usize, usize)> {
    let (number, seen) = id.split_once('-')?;
    Some((number.parse().ok()?, seen.parse().ok()?))
}
