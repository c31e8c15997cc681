//! Messages that belong to no request, on their way to the sessions they are for.
//!
//! Whoever has news does not wait for it to be kept: one task sees to that, in order.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Session;
use crate::gateway::Gateway;

/// How long to wait when the shared state cannot be reached.
const AGAIN: Duration = Duration::from_millis(200);

/// A message and the session it is for.
pub(crate) type News = (Arc<Session>, Bytes);

impl Gateway {
    /// Sends a message that belongs to no request.
    pub(crate) fn tell_session(&self, session: &Arc<Session>, message: Bytes) {
        // The task that hears it lives as long as this.
        let _ = self.news.send((Arc::clone(session), message));
    }
}

/// Delivers news for as long as the gateway lives.
pub(crate) async fn deliver(gateway: Weak<Gateway>, mut news: mpsc::UnboundedReceiver<News>) {
    while let Some((session, message)) = news.recv().await {
        loop {
            let Some(gateway) = gateway.upgrade() else { return };
            if session.is_over() || gateway.deliver_news(&session, message.clone()).await {
                break;
            }
            drop(gateway);
            tokio::time::sleep(AGAIN).await;
        }
    }
}
