//! HTTP+SSE of 2024-11-05: one stream for everything the server says, and one
//! address for everything it is told.

use std::collections::VecDeque;
use std::sync::Arc;

use doorward_egress::Body;
use doorward_wire::sse::{Decoder, Event};
use http::StatusCode;

use crate::duplex::{Duplex, Outlet};
use crate::error::UpstreamError;
use crate::http::answer;
use crate::http::post::Post;
use crate::http::remote::{Content, Remote, content};
use crate::task::AbortOnDrop;

/// An open stream. Its end is the end of the session.
pub(crate) struct Stream {
    pub(crate) duplex: Arc<Duplex>,
    /// Lives as long as the stream is wanted.
    pub(crate) reader: AbortOnDrop,
}

/// Opens the stream and waits for the address to post to. `on_end` is called when
/// the stream ends by itself.
pub(crate) async fn open(
    remote: Arc<Remote>,
    on_end: impl FnOnce() + Send + 'static,
) -> Result<Stream, UpstreamError> {
    let server = remote.hub.server.clone();
    let response = remote.get(remote.headers()).await?;
    if let Some(refused) = answer::unauthorized(&remote, response.status, &response.headers) {
        response.body.release().await;
        return Err(refused);
    }
    if response.status != StatusCode::OK || content(&response.headers) != Content::EventStream {
        let status = response.status.as_u16();
        response.body.release().await;
        return Err(UpstreamError::Status { server, status });
    }
    let mut events = Events::new(response.body, remote.hub.decoder());
    let endpoint = loop {
        match events.next().await {
            Some(event) if event.name == "endpoint" => break event.data,
            Some(_) => {}
            None => {
                return Err(UpstreamError::protocol(&server, "its stream ended before it named an endpoint"));
            }
        }
    };
    let target = std::str::from_utf8(&endpoint)
        .ok()
        .and_then(|reference| remote.door.target().join(reference.trim()).ok())
        .ok_or_else(|| UpstreamError::protocol(&server, "the endpoint it named is no URL"))?;
    // Elsewhere it would receive the credential that is meant for this server.
    if !target.same_origin(remote.door.target()) {
        return Err(UpstreamError::protocol(&server, "the endpoint it named belongs to another origin"));
    }
    let post = Post::new(Arc::clone(&remote), target.path().clone());
    let duplex = Arc::new(Duplex::new(Arc::clone(&remote.hub), Outlet::Post(Arc::new(post))));
    let inlet = Arc::clone(&duplex);
    let reader = AbortOnDrop::spawn(async move {
        while let Some(event) = events.next().await {
            if event.is_message() && !event.data.is_empty() {
                inlet.receive(event.data);
            }
        }
        inlet.close();
        on_end();
    });
    Ok(Stream { duplex, reader })
}

/// The events of a stream, one by one.
struct Events {
    body: Body,
    decoder: Decoder,
    ready: VecDeque<Event>,
}

impl Events {
    fn new(body: Body, decoder: Decoder) -> Self {
        Self { body, decoder, ready: VecDeque::new() }
    }

    /// The next event; `None` at the end, whatever brought it about.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let chunk = self.body.chunk().await.ok()??;
            self.decoder.push(&chunk, &mut self.ready).ok()?;
        }
    }
}
