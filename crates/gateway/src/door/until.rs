//! An input that ends when it is told to, so that what was asked is still answered.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

/// An input that is at its end as soon as something completes.
pub struct Until<I, F> {
    input: I,
    closed: Option<Pin<Box<F>>>,
}

impl<I, F> Until<I, F> {
    /// Reads `input` until it, or `closed`, is over.
    pub fn new(input: I, closed: F) -> Self {
        Self { input, closed: Some(Box::pin(closed)) }
    }
}

impl<I: AsyncRead + Unpin, F: Future<Output = ()>> AsyncRead for Until<I, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(closed) = &mut self.closed else { return Poll::Ready(Ok(())) };
        if closed.as_mut().poll(context).is_ready() {
            self.closed = None;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.input).poll_read(context, buffer)
    }
}
