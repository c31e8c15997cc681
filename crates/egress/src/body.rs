//! The body of an answer, and what becomes of its connection.
//!
//! Read to its end, it gives the connection back; dropped before, it closes it,
//! which is how HTTP/1.1 tells the other side that nobody listens any more.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use doorward_model::room::{NoRoom, SMALL, Space};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;

use crate::door::Shared;
use crate::error::EgressError;
use crate::link::Link;

/// How long, and for how many bytes, the rest of an unwanted body is awaited so
/// that its connection can be used again.
const REST: (Duration, usize) = (Duration::from_secs(2), 64 << 10);

/// The body of an answer, read as it comes.
pub struct Body {
    incoming: Incoming,
    door: Arc<Shared>,
    /// The connection; taken when it goes back to the door.
    link: Option<Link>,
    keep_for: Duration,
}

impl Body {
    pub(crate) fn new(incoming: Incoming, link: Link, door: Arc<Shared>, keep_for: Duration) -> Self {
        Self { incoming, door, link: Some(link), keep_for }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`EgressError::Cut`]
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        loop {
            let frame = std::future::poll_fn(|cx| self.poll_frame(cx)).await;
            match self.accept(frame)? {
                Piece::Data(data) => return Ok(Some(data)),
                Piece::Nothing => {}
                Piece::End => return Ok(None),
            }
        }
    }

    /// The whole body, of at most `limit` bytes. A body that arrives in one piece
    /// is not copied.
    ///
    /// # Errors
    /// [`EgressError::TooLarge`] as soon as it is known, [`EgressError::NoRoom`],
    /// [`EgressError::Cut`].
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, EgressError> {
        let announced = usize::try_from(self.incoming.size_hint().lower()).unwrap_or(usize::MAX);
        let too_large = |door: &Shared| EgressError::TooLarge { host: door.host(), limit };
        if announced > limit {
            return Err(too_large(&self.door));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(too_large(&self.door));
        }
        let mut space = Space::default();
        self.fit(&mut space, first.len())?;
        let Some(second) = self.chunk().await? else { return Ok(space.keep(first)) };
        // The announcement is the other side's word: memory is given on arrival,
        // not on promise.
        let mut whole = BytesMut::with_capacity(announced.min(1 << 20).max(first.len() + second.len()));
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(chunk) = next {
            if whole.len() + chunk.len() > limit {
                return Err(too_large(&self.door));
            }
            self.fit(&mut space, whole.len() + chunk.len())?;
            whole.extend_from_slice(&chunk);
            next = self.chunk().await?;
        }
        Ok(space.keep(whole.freeze()))
    }

    /// Makes room for an answer that is this long by now.
    fn fit(&self, space: &mut Space, length: usize) -> Result<(), EgressError> {
        let Some(room) = self.door.room.as_ref().filter(|_| length > SMALL) else { return Ok(()) };
        if space.is_nowhere() {
            *space = room.space();
        }
        space.hold(length).map_err(|NoRoom| EgressError::NoRoom { host: self.door.host() })
    }

    /// Lets go of a body whose rest nobody needs. The connection is kept if the
    /// rest turns out to be short, else closed.
    pub async fn release(mut self) {
        let frame = std::future::poll_fn(|cx| Poll::Ready(self.poll_frame(cx))).await;
        if let Poll::Ready(frame) = frame
            && !matches!(self.accept(frame), Ok(Piece::Data(_) | Piece::Nothing))
        {
            return;
        }
        tokio::spawn(async move {
            let (within, mut budget) = REST;
            let rest = async {
                while let Ok(Some(chunk)) = self.chunk().await {
                    match budget.checked_sub(chunk.len()) {
                        Some(left) => budget = left,
                        None => return,
                    }
                }
            };
            let _ = tokio::time::timeout(within, rest).await;
        });
    }

    /// What has arrived, or, once the connection has moved, what arrives with that.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(link) = &mut self.link {
            link.advance(cx);
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn accept(&mut self, frame: Option<Result<Frame<Bytes>, hyper::Error>>) -> Result<Piece, EgressError> {
        match frame {
            Some(Ok(frame)) => Ok(match frame.into_data() {
                Ok(data) if !data.is_empty() => Piece::Data(data),
                _ => Piece::Nothing,
            }),
            Some(Err(cause)) => {
                self.link = None;
                Err(EgressError::Cut { host: self.door.host(), cause: Arc::new(cause) })
            }
            None => {
                if let Some(link) = self.link.take() {
                    self.door.keep(link, self.keep_for);
                }
                Ok(Piece::End)
            }
        }
    }
}

/// What a frame of the body was.
enum Piece {
    Data(Bytes),
    /// Trailers, or an empty piece.
    Nothing,
    End,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Body")
    }
}
