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
pub(crate) struct News {
    pub session: Arc<Session>,
    pub message: Bytes,
    /// What changed, and to what: where several replicas see it, one tells it.
    pub change: Option<Arc<Change>>,
}

/// A change that every replica sees by itself.
pub(crate) struct Change {
    /// What changed.
    pub topic: String,
    /// A digest of what it is now.
    pub state: String,
}

impl Gateway {
    /// Sends a message that belongs to no request.
    pub(crate) fn tell_session(&self, session: &Arc<Session>, message: Bytes, change: Option<&Arc<Change>>) {
        let news = News { session: Arc::clone(session), message, change: change.cloned() };
        // The task that hears it lives as long as this.
        let _ = self.news.send(news);
    }
}

/// Delivers news for as long as the gateway lives.
pub(crate) async fn deliver(gateway: Weak<Gateway>, mut news: mpsc::UnboundedReceiver<News>) {
    while let Some(News { session, message, change }) = news.recv().await {
        if let (Some(change), Some(gateway)) = (&change, gateway.upgrade())
            && gateway.is_known_already(&session, &change.topic, &change.state).await
        {
            continue;
        }
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
