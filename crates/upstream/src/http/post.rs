//! The way in of HTTP+SSE: messages are posted to the address that the server
//! named, answers come on its stream.

use std::sync::Arc;

use bytes::Bytes;
use doorward_egress::Replay;
use http::Method;
use http::uri::PathAndQuery;

use crate::error::UpstreamError;
use crate::http::answer;
use crate::http::remote::Remote;

/// The address of one session.
pub(crate) struct Post {
    pub(crate) remote: Arc<Remote>,
    pub(crate) path: PathAndQuery,
}

impl Post {
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

    /// Posts a message in the background.
    pub(crate) fn send_quietly(self: &Arc<Self>, message: Bytes) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let post = Arc::clone(self);
        runtime.spawn(async move {
            let _ = post.send(message).await;
        });
    }
}
