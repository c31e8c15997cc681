//! The way in of HTTP+SSE: messages are posted to the address that the server
//! named, answers come on its stream.

use std::sync::Arc;

use bytes::Bytes;
use doorward_egress::Replay;
use http::Method;
use http::uri::PathAndQuery;
use tokio::sync::Semaphore;

use crate::error::UpstreamError;
use crate::http::answer;
use crate::http::remote::{QUIETLY, Remote};

/// How many messages that nobody waits for may be on their way. Each has a connection.
const QUIET: usize = 64;

/// The address of one session.
pub(crate) struct Post {
    remote: Arc<Remote>,
    path: PathAndQuery,
    quiet: Arc<Semaphore>,
}

impl Post {
    pub(crate) fn new(remote: Arc<Remote>, path: PathAndQuery) -> Self {
        Self { remote, path, quiet: Arc::new(Semaphore::new(QUIET)) }
    }

    /// Posts a message. Any success will do; what the body says is of no meaning.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), UpstreamError> {
        let remote = &self.remote;
        let response =
            remote.send(Method::POST, self.path.clone(), remote.headers(), message, Replay::Harmful).await?;
        let refused = answer::unauthorized(remote, response.status, &response.headers);
        let status = response.status;
        response.body.release().await;
        match refused {
            Some(error) => Err(error),
            None if status.is_success() => Ok(()),
            None => Err(UpstreamError::Status { server: remote.hub.server.clone(), status: status.as_u16() }),
        }
    }

    /// Posts a message that nobody waits for, as long as that may take.
    pub(crate) async fn say(&self, message: Bytes) {
        let _ = tokio::time::timeout(QUIETLY, self.send(message)).await;
    }

    /// The same in the background. One too many is left out, as on a pipe that is full.
    pub(crate) fn send_quietly(self: &Arc<Self>, message: Bytes) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Ok(place) = Arc::clone(&self.quiet).try_acquire_owned() else { return };
        let post = Arc::clone(self);
        runtime.spawn(async move {
            post.say(message).await;
            drop(place);
        });
    }
}
