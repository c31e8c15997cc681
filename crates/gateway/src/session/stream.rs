//! The streams of a session: what was said on them is kept for a while, so that a client
//! whose connection broke can have the rest.
//!
//! Each request that is answered by a stream has one of its own; what belongs to no
//! request goes to another, [`NEWS`]. An event's id names its stream and its place there:
//! `<stream>_<place>`. What is kept is shared by all replicas, so it does not matter which
//! of them a client comes back to, nor which of them works for it.
//!
//! A stream has one reader: whoever comes later takes over.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use doorward_model::LogBounds;
use doorward_wire::Revision;
use tokio::sync::mpsc;

use super::Session;
use super::replicas::Tidings;
use crate::gateway::Gateway;

/// The stream of what belongs to no request.
const NEWS: &str = "0";

/// Events that may wait for a client that reads slowly.
const WAITING: usize = 32;

/// How long a reader waits before it looks by itself: what tells it may get lost.
const LOOK: Duration = Duration::from_secs(5);

/// One event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where to go on after it; empty where streams cannot be resumed.
    pub id: String,
    /// The message; empty for an event that only says where the stream is.
    pub data: Bytes,
    /// In place of a message: the stream ends, and its client is to come back after so long.
    pub retry: Option<Duration>,
}

/// Where a client left off.
pub(crate) struct Left {
    stream: String,
    place: u64,
}

impl Left {
    /// Reads `Last-Event-ID`.
    pub(crate) fn read(id: &str) -> Option<Self> {
        let (stream, place) = id.split_once('_')?;
        let named = !stream.is_empty() && stream.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let place = u64::from_str_radix(place, 16).ok()?;
        named.then(|| Self { stream: stream.to_owned(), place })
    }
}

/// The id of an event.
fn id(stream: &str, place: u64) -> String {
    format!("{stream}_{place:x}")
}

/// An event as it is kept: its stream, whether it is the last, and the message.
fn entry(stream: &str, is_last: bool, data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(stream.len() + 2 + data.len());
    out.put_slice(stream.as_bytes());
    out.put_u8(if is_last { b'.' } else { b',' });
    out.put_slice(data);
    out.freeze()
}

/// What [`entry`] made: whether it is the last, and the message; `None` for another stream's.
fn of_stream(entry: &Bytes, stream: &str) -> Option<(bool, Bytes)> {
    let rest = entry.strip_prefix(stream.as_bytes())?;
    let (&mark, _) = rest.split_first()?;
    matches!(mark, b'.' | b',').then(|| (mark == b'.', entry.slice(stream.len() + 1..)))
}

/// Who reads a stream, until somebody else does.
pub(crate) struct Reader {
    session: Arc<Session>,
    stream: String,
    turn: u64,
}

impl Reader {
    /// Takes a stream over.
    pub(super) fn of(session: &Arc<Session>, stream: &str) -> Self {
        let turn = session.turns.fetch_add(1, Ordering::Relaxed) + 1;
        session.readers.lock().unwrap_or_else(PoisonError::into_inner).insert(stream.to_owned(), turn);
        session.wake.notify_waiters();
        Self { session: Arc::clone(session), stream: stream.to_owned(), turn }
    }

    /// Whether nobody has taken over, and the session goes on.
    fn is_current(&self) -> bool {
        let readers = self.session.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.get(&self.stream) == Some(&self.turn) && !self.session.is_over()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = self.session.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.get(&self.stream) == Some(&self.turn) {
            readers.remove(&self.stream);
        }
    }
}

impl Session {
    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Ends the stream of what belongs to no request; whoever reads it comes back elsewhere.
    pub(crate) fn hang_up(&self) {
        self.taken_over(NEWS);
    }

    /// Notes that a stream is read elsewhere now.
    pub(super) fn taken_over(&self, stream: &str) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).remove(stream);
        self.wake.notify_waiters();
    }

    /// Whether its revision knows how to resume a stream.
    pub(crate) fn resumes(&self) -> bool {
        self.opening.revision >= Revision::V2025_03_26
    }

    /// Whether its streams open with an event that says where they are.
    pub(crate) fn primes(&self) -> bool {
        self.opening.revision >= Revision::V2025_11_25
    }

    fn log(&self, stream: &str) -> String {
        format!("{}/{}", if stream == NEWS { "news" } else { "said" }, self.id)
    }
}

/// The stream of one request, as whoever answers it sees it.
pub(crate) struct Told {
    gateway: Arc<Gateway>,
    session: Arc<Session>,
    stream: String,
    reader: Reader,
    client: Option<mpsc::Sender<Event>>,
    /// Whether what was said last was kept.
    has_place: bool,
}

impl Told {
    /// Opens a stream; the client reads what the receiver yields.
    pub(crate) fn open(gateway: &Arc<Gateway>, session: &Arc<Session>) -> (Self, mpsc::Receiver<Event>) {
        let mut bytes = [0; 8];
        gateway.random.fill(&mut bytes);
        let stream = format!("{:016x}", u64::from_be_bytes(bytes));
        let (sender, receiver) = mpsc::channel(WAITING);
        let told = Self {
            gateway: Arc::clone(gateway),
            session: Arc::clone(session),
            reader: Reader::of(session, &stream),
            stream,
            client: Some(sender),
            has_place: false,
        };
        (told, receiver)
    }

    /// Says something: keeps it, and sends it if somebody still reads here.
    pub(crate) async fn say(&mut self, data: Bytes, is_last: bool) {
        let place = self.gateway.keep_event(&self.session, &self.stream, &data, is_last).await;
        self.has_place = place.is_some();
        if !self.reader.is_current() {
            self.client = None;
        }
        if let Some(client) = &self.client
            && !(is_last && data.is_empty())
        {
            // What could not be kept has no place to come back to.
            let id = place.map(|place| id(&self.stream, place)).unwrap_or_default();
            if client.send(Event { id, data, retry: None }).await.is_err() {
                self.client = None;
            }
        }
    }

    /// Hangs up on a client that can come back for the rest, and is to do so after so long.
    pub(crate) async fn hang_up(&mut self, retry: Duration) {
        if self.has_place
            && let Some(client) = self.client.take()
        {
            // A client that has gone will come back, or not, without being told.
            let _ = client.send(Event { id: String::new(), data: Bytes::new(), retry: Some(retry) }).await;
        }
    }
}

impl Gateway {
    /// Keeps an event and wakes whoever reads its stream. `None` when it could not be kept.
    async fn keep_event(&self, session: &Session, stream: &str, data: &[u8], is_last: bool) -> Option<u64> {
        if !session.resumes() && stream != NEWS {
            return None;
        }
        let limits = &self.settings.sessions;
        // What nobody reads waits as long as the session does.
        let keep = if stream == NEWS { limits.idle } else { limits.events.keep };
        let bounds = LogBounds { keep, ..limits.events };
        let kept = self.shared.append(&session.log(stream), entry(stream, is_last, data), bounds).await;
        session.wake.notify_waiters();
        match kept {
            Ok(place) => {
                // Whoever does not hear it looks by itself.
                let _ = self.tell_others(&session.id, Tidings::Said).await;
                Some(place)
            }
            Err(error) => {
                tracing::warn!(target: "doorward::session", %error, "an event could not be kept");
                None
            }
        }
    }

    /// Sends a message that belongs to no request, once somebody reads; unless the very
    /// same is waiting already. `false` when it could not be kept until then.
    pub(crate) async fn deliver_news(&self, session: &Session, message: Bytes) -> bool {
        let from = self.read_to(session).await + 1;
        let Ok(waiting) = self.shared.read(&session.log(NEWS), from).await else { return false };
        let is_waiting =
            |(_, entry): &(u64, Bytes)| of_stream(entry, NEWS).is_some_and(|(_, data)| data == message);
        waiting.iter().any(is_waiting) || self.keep_event(session, NEWS, &message, false).await.is_some()
    }

    /// Ends every stream that has no end of its own.
    pub(crate) fn end_news(&self) {
        for session in self.sessions.all() {
            session.hang_up();
        }
    }

    /// Opens the stream of what belongs to no request. It begins with what nobody has
    /// read, and ends the one that was open before.
    pub(crate) async fn news(self: &Arc<Self>, session: &Arc<Session>) -> mpsc::Receiver<Event> {
        let place = self.read_to(session).await;
        self.read_on(session, Left { stream: NEWS.to_owned(), place })
    }

    /// Goes on with a stream where its client left off: what came since, then what comes.
    /// `None` when that is not known any more.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        session: &Arc<Session>,
        left: Left,
    ) -> Option<mpsc::Receiver<Event>> {
        if left.stream != NEWS {
            let kept = self.shared.read(&session.log(&left.stream), left.place).await.ok()?;
            let (place, entry) = kept.first()?;
            if *place != left.place || of_stream(entry, &left.stream).is_none() {
                return None;
            }
        }
        Some(self.read_on(session, left))
    }

    fn read_on(self: &Arc<Self>, session: &Arc<Session>, left: Left) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let reader = Reader::of(session, &left.stream);
        self.let_others_know(&session.id, Tidings::Read(&left.stream));
        tokio::spawn(follow(Arc::clone(self), reader, left.place, sender));
        receiver
    }
}

/// Passes on what is said on a stream, from a place on.
async fn follow(gateway: Arc<Gateway>, reader: Reader, mut place: u64, client: mpsc::Sender<Event>) {
    let Reader { session, stream, .. } = &reader;
    let log = session.log(stream);
    let named = |place| if session.resumes() { id(stream, place) } else { String::new() };
    if session.primes()
        && client.send(Event { id: named(place), data: Bytes::new(), retry: None }).await.is_err()
    {
        return;
    }
    loop {
        let mut woken = pin!(session.wake.notified());
        woken.as_mut().enable();
        if !reader.is_current() {
            return;
        }
        for (at, entry) in gateway.shared.read(&log, place.saturating_add(1)).await.unwrap_or_default() {
            place = at;
            let Some((is_last, data)) = of_stream(&entry, stream) else { continue };
            if !reader.is_current() {
                return;
            }
            if !data.is_empty() && client.send(Event { id: named(at), data, retry: None }).await.is_err() {
                return;
            }
            if stream == NEWS {
                gateway.note_read(session, at).await;
            }
            if is_last {
                return;
            }
        }
        tokio::select! {
            () = woken => {}
            () = client.closed() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_id_leads_back_to_its_stream_and_place() {
        let left = Left::read(&id("00ff", 0xabc)).expect("its own");
        assert_eq!((&*left.stream, left.place), ("00ff", 0xabc));
        for nonsense in ["", "_", "0", "0_", "_1", "0_x", "a-b_1", "0_1_2", "0_10000000000000000"] {
            assert!(Left::read(nonsense).is_none(), "{nonsense}");
        }
    }

    #[test]
    fn what_is_kept_is_found_under_its_own_stream_only() {
        let kept = entry("ab", false, b"hello");
        assert_eq!(of_stream(&kept, "ab"), Some((false, Bytes::from_static(b"hello"))));
        assert_eq!(of_stream(&kept, "a"), None);
        assert_eq!(of_stream(&kept, "abc"), None);
        assert_eq!(of_stream(&entry("0", true, b""), "0"), Some((true, Bytes::new())));
    }
}
