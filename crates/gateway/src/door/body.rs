//! Bodies of answers: whole, or a stream of server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::Space;
use doorward_wire::sse;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::method::Listening;
use crate::reply::Reply;
use crate::session::stream::Event;

/// How long nothing may be said to a client that takes a stream. Balancers cut connections that are
/// silent for a minute, some for less.
pub(super) const QUIET: Duration = Duration::from_secs(10);
/// A comment: something is said, and means nothing.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");

/// An answer on its way out.
pub enum Body {
    /// All there is to say.
    Whole(Option<Bytes>),
    /// Notifications of one call, then its answer, then the end.
    Call(Box<CallStream>),
    /// Notifications until either side has enough.
    Listen(Box<ListenStream>),
    /// Events of a session's stream, until it ends.
    Events(Box<EventStream>),
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Call(stream) => ready!(stream.poll_next(cx)),
            Self::Listen(stream) => ready!(stream.poll_next(cx)),
            Self::Events(stream) => ready!(stream.poll_next(cx)),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Call(_) | Self::Listen(_) | Self::Events(_) => SizeHint::default(),
        }
    }
}

/// A call being worked on.
pub type Work = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// What is left of a call when its client is gone.
pub struct Pending {
    work: Option<Work>,
    /// In the legacy era a lost connection does not cancel a request: the work
    /// goes on without a reader.
    outlives_client: bool,
    /// What its request holds of the room for messages.
    space: Space,
}

impl Pending {
    /// Wraps a call that has not been answered yet.
    pub fn new(work: Work, outlives_client: bool, space: Space) -> Self {
        Self { work: Some(work), outlives_client, space }
    }

    /// Polls the call.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let reply = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(reply)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(work) = self.work.take().filter(|_| self.outlives_client)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let space = std::mem::take(&mut self.space);
            runtime.spawn(async move {
                work.await;
                drop(space);
            });
        }
    }
}

/// Server-sent events of one call.
pub struct CallStream {
    pending: Pending,
    notifications: mpsc::Receiver<Bytes>,
    /// What is sent first.
    first: Option<Bytes>,
    answer: Option<Bytes>,
    done: bool,
    /// What is left of an event that has begun.
    rest: VecDeque<Bytes>,
    alive: Interval,
}

impl CallStream {
    /// Starts with a notification that already came, or with a comment.
    pub fn new(pending: Pending, notifications: mpsc::Receiver<Bytes>, first: Option<Bytes>) -> Self {
        Self {
            pending,
            notifications,
            first: Some(first.map_or(COMMENT, |first| sse::event(&first))),
            answer: None,
            done: false,
            rest: VecDeque::new(),
            alive: keep_alive(),
        }
    }

    /// A stream on which nothing but the answer will be said.
    pub fn quiet(pending: Pending) -> Self {
        Self::new(pending, mpsc::channel(1).1, None)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = next_piece(&mut self.rest) {
            return Poll::Ready(Some(piece));
        }
        if self.done {
            return Poll::Ready(None);
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if self.answer.is_none()
            && let Poll::Ready(reply) = self.pending.poll(cx)
        {
            self.answer = Some(reply.body);
        }
        // What came before the answer goes out before it.
        if let Poll::Ready(Some(notification)) = self.notifications.poll_recv(cx) {
            return Poll::Ready(Some(sse::event(&notification)));
        }
        if let Some(answer) = self.answer.take() {
            self.done = true;
            self.rest.extend(sse::pieces("", answer));
            return Poll::Ready(next_piece(&mut self.rest));
        }
        self.alive.poll_tick(cx).map(|_| Some(COMMENT))
    }
}

/// Server-sent events that belong to no call.
pub struct ListenStream {
    listening: Listening,
    alive: Interval,
}

impl ListenStream {
    /// Relays what is to be said until it ends.
    pub(crate) fn new(listening: Listening) -> Self {
        Self { listening, alive: keep_alive() }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Poll::Ready(next) = self.listening.poll_next(cx) {
            return Poll::Ready(next.map(|notification| sse::event(&notification)));
        }
        self.alive.poll_tick(cx).map(|_| Some(COMMENT))
    }
}

/// Events of a session's stream, which know their places.
pub struct EventStream {
    /// What is sent first.
    first: Option<Bytes>,
    events: mpsc::Receiver<Event>,
    /// What is left of an event that has begun.
    rest: VecDeque<Bytes>,
    alive: Interval,
}

impl EventStream {
    /// Relays `events` until they end.
    pub(crate) fn new(events: mpsc::Receiver<Event>) -> Self {
        Self { first: None, events, rest: VecDeque::new(), alive: keep_alive() }
    }

    /// The same, where nothing may come for long: beginning with a comment.
    pub(crate) fn quiet(events: mpsc::Receiver<Event>) -> Self {
        Self { first: Some(COMMENT), ..Self::new(events) }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Some(piece) = next_piece(&mut self.rest) {
            return Poll::Ready(Some(piece));
        }
        if let Poll::Ready(next) = self.events.poll_recv(cx) {
            return Poll::Ready(next.and_then(|event| match event.retry {
                Some(after) => Some(sse::retry(after)),
                None => {
                    self.rest.extend(sse::pieces(&event.id, event.data));
                    next_piece(&mut self.rest)
                }
            }));
        }
        self.alive.poll_tick(cx).map(|_| Some(COMMENT))
    }
}

/// The next piece that says anything.
fn next_piece(rest: &mut VecDeque<Bytes>) -> Option<Bytes> {
    std::iter::from_fn(|| rest.pop_front()).find(|piece| !piece.is_empty())
}

fn keep_alive() -> Interval {
    let mut alive = interval(QUIET);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    alive.reset();
    alive
}
