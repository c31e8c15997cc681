//! One open `subscriptions/listen`, whatever carries it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::call::Call;
use crate::duplex::Duplex;
use crate::envelope;
use crate::error::UpstreamError;
use crate::task::AbortOnDrop;

/// How long a server may take to acknowledge. One that does not still is listened to.
pub(crate) const ACKNOWLEDGES_WITHIN: Duration = Duration::from_secs(5);

/// An open subscription. Dropping it tells the server, in the way of its transport.
pub(crate) struct Listening {
    asked: HashSet<Arc<str>>,
    honoured: HashSet<String>,
    ended: oneshot::Receiver<()>,
    _carrier: Carrier,
}

/// What a subscription travels on.
pub(crate) enum Carrier {
    /// A stream of its own, which closes.
    Stream(#[allow(dead_code, reason = "held for its end")] AbortOnDrop),
    /// The common stream of a child.
    Line(#[allow(dead_code, reason = "held for its end")] Line),
}

/// A subscription among others on one stream.
pub(crate) struct Line {
    pub(crate) duplex: Arc<Duplex>,
    pub(crate) id: u64,
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.duplex.listens.end(self.id) {
            self.duplex.send_quietly(envelope::cancelled(self.id));
        }
    }
}

impl Listening {
    /// A subscription for which `wanted` was asked and that `honoured` of it. What a server
    /// acknowledges beyond that nobody has asked for, and it is no reason to ask again.
    pub(crate) fn new(
        wanted: &[Arc<str>],
        honoured: Vec<String>,
        ended: oneshot::Receiver<()>,
        carrier: Carrier,
    ) -> Self {
        let asked: HashSet<_> = wanted.iter().cloned().collect();
        Self {
            honoured: honoured.into_iter().filter(|uri| asked.contains(uri.as_str())).collect(),
            asked,
            ended,
            _carrier: carrier,
        }
    }

    /// Whether no other is needed: everything wanted was asked for, and nothing else comes.
    pub(crate) fn fits(&self, wanted: &[Arc<str>]) -> bool {
        let all: HashSet<&str> = wanted.iter().map(|uri| &**uri).collect();
        wanted.iter().all(|uri| self.asked.contains(uri))
            && self.honoured.iter().all(|uri| all.contains(uri.as_str()))
    }

    /// Whether the server said that it tells of this resource.
    pub(crate) fn honours(&self, uri: &str) -> bool {
        self.honoured.contains(uri)
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        // Gone without a word is an end as well.
        let _ = (&mut self.ended).await;
    }
}

/// The subscriptions on one stream.
#[derive(Default)]
pub(crate) struct Listens {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    waiting: Vec<Waiting>,
    /// The one acknowledged last: it alone is listened to, as the one before is about
    /// to end and would say everything twice.
    current: Option<u64>,
}

struct Waiting {
    id: u64,
    acknowledged: Option<oneshot::Sender<Vec<String>>>,
    /// Held for its end.
    _ended: oneshot::Sender<()>,
}

impl Listens {
    /// Notes a subscription before it is asked for.
    pub(crate) fn begin(&self, id: u64) -> (oneshot::Receiver<Vec<String>>, oneshot::Receiver<()>) {
        let (acknowledged, honoured) = oneshot::channel();
        let (_ended, ended) = oneshot::channel();
        self.lock().waiting.push(Waiting { id, acknowledged: Some(acknowledged), _ended });
        (honoured, ended)
    }

    /// The server acknowledged one.
    pub(crate) fn acknowledged(&self, id: u64, uris: Vec<String>) {
        let mut open = self.lock();
        let Some(waiting) = open.waiting.iter_mut().find(|waiting| waiting.id == id) else { return };
        if let Some(acknowledged) = waiting.acknowledged.take() {
            // Whoever stopped waiting ends it.
            let _ = acknowledged.send(uris);
            open.current = Some(id);
        }
    }

    /// One ended; says whether it was open.
    pub(crate) fn end(&self, id: u64) -> bool {
        let mut open = self.lock();
        let before = open.waiting.len();
        open.waiting.retain(|waiting| waiting.id != id);
        if open.current == Some(id) {
            open.current = None;
        }
        open.waiting.len() != before
    }

    /// All ended, with the stream.
    pub(crate) fn end_all(&self) {
        *self.lock() = Open::default();
    }

    /// Whether news tagged with `id` are to be listened to.
    pub(crate) fn hears(&self, id: Option<u64>) -> bool {
        let current = self.lock().current;
        id.is_none() || current.is_none() || id == current
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Duplex {
    /// Opens a subscription and waits until the server acknowledges it.
    pub(crate) async fn listen(
        self: &Arc<Self>,
        filter: &str,
        wanted: &[Arc<str>],
    ) -> Result<Listening, UpstreamError> {
        let id = self.next_id();
        let (honoured, ended) = self.listens.begin(id);
        let line = Line { duplex: Arc::clone(self), id };
        let call = Call {
            method: "subscriptions/listen",
            members: Bytes::from(format!("\"notifications\":{filter}")),
            ..Call::default()
        };
        self.send(envelope::modern(id, &call, self.client_info())).await?;
        let honoured = match tokio::time::timeout(ACKNOWLEDGES_WITHIN, honoured).await {
            Ok(Ok(honoured)) => honoured,
            // The answer came first: the server has none of it.
            Ok(Err(_)) => return Err(self.refused()),
            Err(_) => Vec::new(),
        };
        Ok(Listening::new(wanted, honoured, ended, Carrier::Line(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_subscriptions_the_one_acknowledged_last_is_heard() {
        let listens = Listens::default();
        let (mut first, _ended) = listens.begin(1);
        assert!(listens.hears(Some(1)), "a server may never acknowledge");
        listens.acknowledged(1, vec!["a:b".to_owned()]);
        assert_eq!(first.try_recv().ok(), Some(vec!["a:b".to_owned()]));
        let (_second, mut ended) = listens.begin(2);
        assert!(listens.hears(Some(1)) && !listens.hears(Some(2)) && listens.hears(None));
        listens.acknowledged(2, Vec::new());
        assert!(!listens.hears(Some(1)) && listens.hears(Some(2)));
        assert!(listens.end(1) && !listens.end(1));
        assert!(ended.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Empty));
        listens.end_all();
        assert!(ended.try_recv().is_err_and(|why| why == oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test]
    async fn a_subscription_fits_what_was_asked_for_and_is_wanted() {
        let uris = |text: &str| text.split_whitespace().map(Arc::from).collect::<Vec<Arc<str>>>();
        let (_keep, ended) = oneshot::channel();
        let stream = Carrier::Stream(AbortOnDrop::spawn(std::future::pending()));
        let open =
            Listening::new(&uris("a:1 a:2"), ["a:1", "a:9"].map(str::to_owned).to_vec(), ended, stream);
        for (wanted, fits) in
            [("a:1 a:2", true), ("a:1", true), ("a:2", false), ("a:1 a:2 a:3", false), ("", false)]
        {
            assert_eq!(open.fits(&uris(wanted)), fits, "{wanted:?}");
        }
    }
}
