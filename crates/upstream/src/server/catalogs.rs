//! What one server offers, to whom: asked for when somebody wants to know, and kept until it
//! may have changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use doorward_model::{Audience, Catalog};

use super::{Busy, Known, Server};
use crate::error::UpstreamError;
use crate::listing::Reading;
use crate::lists::List;

/// How often a list is asked for anew when it changes while being read.
const LISTINGS: usize = 3;

/// Whether somebody waits who can make do with a part.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hurry {
    Some,
    None,
}

impl Server {
    /// What the server offers to clients that declare these capabilities, and who else is
    /// offered the same. In a hurry that may be a part of it.
    pub(crate) async fn catalog(
        self: &Arc<Self>,
        declared: &str,
        hurry: Hurry,
    ) -> Result<(Audience, Arc<Catalog>), UpstreamError> {
        let known = match self.known() {
            Some(known) => known,
            None => Known::of(&*self.link(declared).await?),
        };
        if !known.tells_clients_apart {
            return Ok((Audience::Everybody, self.listed("", hurry).await?));
        }
        let catalog = if !known.is_one_session || declared == self.hub.capabilities() {
            self.listed(declared, hurry).await?
        } else {
            let twin = self.twins.of(self, declared, None)?;
            // What changed for some may have changed for others, whose link has slept.
            let changes = self.hub.changes();
            if twin.followed.swap(changes, Ordering::AcqRel) != changes {
                twin.hub.invalidate();
            }
            // On the heap, because a list of a list has no size.
            Box::pin(async move { twin.listed(declared, hurry).await }).await?
        };
        Ok((Audience::Declaring(declared.into()), catalog))
    }

    /// What the server offers may have changed.
    pub(crate) fn invalidate(&self) {
        self.hub.invalidate();
        self.twins.invalidate();
    }

    /// What the link offers with these capabilities: from memory, unless it may have changed.
    async fn listed(self: &Arc<Self>, declared: &str, hurry: Hurry) -> Result<Arc<Catalog>, UpstreamError> {
        let list = self.lists.of(declared);
        if let Some(catalog) = list.after(self.hub.changes()) {
            return Ok(catalog);
        }
        let (server, learned, declared) = (Arc::clone(self), Arc::clone(&list), Box::<str>::from(declared));
        let asking = list.asking.join(|| async move { server.list(&learned, &declared).await });
        let mut asking = std::pin::pin!(asking);
        if hurry == Hurry::Some {
            let patience = self.hub.settings.listing.patience;
            if let Ok(answer) = tokio::time::timeout(patience, asking.as_mut()).await {
                return answer.unwrap_or_else(|| Err(self.unavailable()));
            }
            if let Some(part) = list.so_far() {
                return Ok(Arc::new(part));
            }
        }
        asking.await.unwrap_or_else(|| Err(self.unavailable()))
    }

    async fn list(self: &Arc<Self>, list: &List, declared: &str) -> Result<Arc<Catalog>, UpstreamError> {
        let _busy = Busy::enter(self);
        let mut rounds = 0;
        loop {
            let link = self.link(declared).await?;
            let changes = self.hub.changes_seen();
            let reading = Arc::new(Reading::new(Arc::clone(&link), declared, self.spec.timeout));
            list.reads(Some(Arc::clone(&reading)));
            let read = reading.all().await;
            list.reads(None);
            let catalog = match read {
                Ok(catalog) => Arc::new(catalog),
                Err(error) => {
                    self.note(&link, &error).await;
                    return Err(error);
                }
            };
            self.hub.succeeded();
            list.learn(changes, &catalog);
            rounds += 1;
            if changes == self.hub.changes() || rounds == LISTINGS {
                return Ok(catalog);
            }
        }
    }
}
