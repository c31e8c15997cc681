//! Responses: nothing, one JSON, or a stream of events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::rpc::{Fault, answer};

pub type Reply = Response<Either<Full<Bytes>, Events>>;

pub fn empty(status: u16) -> Reply {
    with_status(Response::new(Either::Left(Full::default())), status)
}

pub fn json(status: u16, message: &Value) -> Reply {
    let mut reply = Response::new(Either::Left(Full::from(message.to_string())));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    with_status(reply, status)
}

/// An error as the whole response.
pub fn refusal(id: &Value, fault: Fault) -> Reply {
    json(fault.status, &answer(id, Err(fault)))
}

/// A stream, and the end that feeds it.
pub fn events() -> (Feed, Reply) {
    let (sender, receiver) = unbounded_channel();
    let mut reply = Response::new(Either::Right(Events(receiver)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply.headers_mut().insert("cache-control", HeaderValue::from_static("no-cache"));
    reply.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    (Feed(sender), reply)
}

fn with_status(mut reply: Reply, status: u16) -> Reply {
    *reply.status_mut() = StatusCode::from_u16(status).expect("our statuses are statuses");
    reply
}

/// Writes a stream of events; dropping it ends the stream.
pub struct Feed(UnboundedSender<Bytes>);

impl Feed {
    pub fn message(&self, id: Option<&str>, message: &str) {
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        self.write(format!("{id}event: message\ndata: {message}\n\n"));
    }

    /// An event without data, from whose id on the stream can be resumed.
    pub fn prime(&self, id: &str) {
        self.write(format!("id: {id}\ndata: \n\n"));
    }

    /// How long the client is to wait before it comes back.
    pub fn retry(&self, millis: u32) {
        self.write(format!("retry: {millis}\n\n"));
    }

    pub fn comment(&self) {
        self.write(": keep-alive\n\n".to_owned());
    }

    // A reader that is gone is no error: there is nobody left to tell.
    fn write(&self, text: String) {
        self.0.send(text.into()).ok();
    }

    /// Returns when nobody reads any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// The body of a stream.
pub struct Events(UnboundedReceiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
