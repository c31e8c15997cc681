//! A connection whose requests begin swiftly or not at all: it may be idle for long, since balancers
//! and clients keep connections open to use them again, but once the head of a request has begun to
//! arrive, the rest of it has to follow soon.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Whether a request of the connection is being worked on.
#[derive(Clone, Default)]
pub(super) struct Working(Arc<AtomicBool>);

impl Working {
    /// The head of a request is there.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The body of its answer, whose end is the end of the request.
    pub(super) fn until_sent<B>(&self, body: B) -> Answering<B> {
        Answering { body, working: self.clone() }
    }

    fn is_true(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream that gives up when a head takes too long.
pub(super) struct Paced<S> {
    stream: S,
    head_within: Duration,
    working: Working,
    /// Runs while a head arrives.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, head_within: Duration) -> (Self, Working) {
        let working = Working::default();
        (Self { stream, head_within, working: working.clone(), deadline: None }, working)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.working.is_true() {
            this.deadline = None;
        } else if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let has_begun = buffer.filled().len() > before && !this.working.is_true();
        if has_begun && this.deadline.is_none() {
            this.deadline = Some(Box::pin(sleep(this.head_within)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// The body of an answer; when it is dropped, the connection waits for its next request.
pub(super) struct Answering<B> {
    body: B,
    working: Working,
}

impl<B> Drop for Answering<B> {
    fn drop(&mut self) {
        self.working.0.store(false, Ordering::Release);
    }
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::timeout;

    use super::*;

    const HEAD: Duration = Duration::from_millis(20);
    const LONGER: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn who_begins_a_request_goes_on_with_it_and_who_is_idle_may_be() {
        let (mut client, server) = tokio::io::duplex(64);
        let (mut paced, working) = Paced::new(server, HEAD);
        let mut buffer = [0; 16];
        assert!(timeout(LONGER, paced.read(&mut buffer)).await.is_err(), "nothing has begun");
        client.write_all(b"POST").await.expect("written");
        assert_eq!(paced.read(&mut buffer).await.expect("read"), 4);
        // The head is whole, and its body takes its time.
        working.begin();
        assert!(timeout(LONGER, paced.read(&mut buffer)).await.is_err(), "a request is worked on");
        let answer = working.until_sent(crate::door::Body::Whole(None));
        drop(answer);
        assert!(timeout(LONGER, paced.read(&mut buffer)).await.is_err(), "idle again");
        client.write_all(b"PO").await.expect("written");
        assert_eq!(paced.read(&mut buffer).await.expect("read"), 2);
        let late = paced.read(&mut buffer).await.expect_err("too late");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
    }
}
