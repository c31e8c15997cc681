//! One HTTP/1.1 connection, moved forward by whoever uses it.
//!
//! The library splits a connection into a half that sends requests and a half that
//! moves bytes. The second half is usually given a task of its own, which costs every
//! request two changes of task, and often of thread. Here the caller that waits for
//! an answer moves the bytes itself; a connection that nobody uses rests.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;

/// A connection.
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; `None` once the connection has ended.
    mover: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Link {
    pub(crate) fn new(
        sender: SendRequest<Full<Bytes>>,
        mover: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { sender, mover: Some(Box::pin(mover)) }
    }

    /// Moves what can be moved now.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) {
        if let Some(mover) = &mut self.mover
            && mover.as_mut().poll(cx).is_ready()
        {
            self.mover = None;
        }
    }

    /// Whether the connection has ended, as far as can be told without waiting.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.advance(&mut Context::from_waker(Waker::noop()));
        self.mover.is_none() || self.sender.is_closed()
    }

    /// Waits until a request can be sent; `false` when that will never be.
    pub(crate) async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            if let Poll::Ready(ready) = self.sender.poll_ready(cx) {
                return Poll::Ready(ready.is_ok());
            }
            self.advance(cx);
            self.sender.poll_ready(cx).map(|ready| ready.is_ok())
        })
        .await
    }

    /// The half that sends.
    pub(crate) fn sender(&mut self) -> &mut SendRequest<Full<Bytes>> {
        &mut self.sender
    }

    /// Waits for something that the connection brings about.
    pub(crate) async fn wait<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = std::pin::pin!(wanted);
        std::future::poll_fn(|cx| {
            self.advance(cx);
            wanted.as_mut().poll(cx)
        })
        .await
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}
