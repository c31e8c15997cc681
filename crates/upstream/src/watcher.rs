//! Keeping a link subscribed to what the [`Watch`] says is wanted.
//!
//! A server with sessions is told of each resource by itself, in the gateway's own
//! session, and of all of them again when that session is lost. One of the stateless
//! era has a filter that cannot be changed: another `subscriptions/listen` is opened
//! and acknowledged before the old one is closed, so that nothing falls in between.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::{Value, quoted};
use doorward_wire::Era;
use tokio::task::JoinSet;

use crate::backoff;
use crate::call::Call;
use crate::error::UpstreamError;
use crate::http::listen;
use crate::hub::Hub;
use crate::link::{Kind, Link};
use crate::listening::Listening;
use crate::open::error_message;
use crate::task::AbortOnDrop;
use crate::watch::Verdict;

/// How long a server may take for one subscription.
const LIMIT: Duration = Duration::from_secs(10);

/// How many sessions' subscriptions are asked for at once.
const AT_ONCE: usize = 16;

/// How long a stream that has been replaced is still read: what the server said on it
/// before it opened the other may arrive later.
const LINGER: Duration = Duration::from_millis(250);

/// Watches over a link for as long as it lives, where there is anything to hear.
pub(crate) fn start(link: &Arc<Link>) -> Option<AbortOnDrop> {
    let is_worth_it = match link.era() {
        Era::Legacy => link.handshake.subscribes,
        Era::Modern => {
            link.handshake.subscribes || link.handshake.listen_filter(std::iter::empty()).is_some()
        }
    };
    let (hub, weak) = (Arc::clone(&link.hub), Arc::downgrade(link));
    is_worth_it.then(|| match link.era() {
        Era::Legacy => AbortOnDrop::spawn(one_by_one(weak, hub)),
        Era::Modern => AbortOnDrop::spawn(all_at_once(weak, hub)),
    })
}

/// The era with sessions.
async fn one_by_one(link: Weak<Link>, hub: Arc<Hub>) {
    let watch = &hub.watch;
    let mut changes = watch.changes();
    // What the session was asked for, and whether it said yes.
    let mut asked: HashMap<Arc<str>, bool> = HashMap::new();
    let mut losses = watch.losses();
    let mut failures = 0;
    watch.start_over();
    loop {
        changes.mark_unchanged();
        if watch.losses() != losses {
            losses = watch.losses();
            asked.clear();
            watch.start_over();
        }
        let wanted = watch.wanted();
        let fresh: Vec<_> = wanted
            .iter()
            .filter(|(uri, is_awaited)| match asked.get(uri) {
                None => true,
                Some(is_active) => !is_active && *is_awaited,
            })
            .map(|(uri, _)| Arc::clone(uri))
            .collect();
        let left: HashSet<_> = wanted.iter().map(|(uri, _)| uri).collect();
        let gone: Vec<_> = asked.keys().filter(|uri| !left.contains(uri)).cloned().collect();
        if fresh.is_empty() && gone.is_empty() {
            // The account lives as long as the link's hub does.
            let _ = changes.changed().await;
            continue;
        }
        let mut is_troubled = false;
        for (method, uris) in [("resources/subscribe", fresh), ("resources/unsubscribe", gone)] {
            for some in uris.chunks(AT_ONCE) {
                let Some(link) = link.upgrade() else { return };
                for (uri, verdict) in ask(&link, method, some).await {
                    if method == "resources/unsubscribe" {
                        asked.remove(&uri);
                        continue;
                    }
                    let is_refused = matches!(verdict, Err(UpstreamError::Refused { .. }));
                    is_troubled |= verdict.is_err() && !is_refused;
                    if verdict.is_ok() || is_refused {
                        asked.insert(Arc::clone(&uri), verdict.is_ok());
                    }
                    if watch.settle(&uri, &verdict, true) {
                        hub.announce_update(&uri);
                    }
                }
            }
        }
        failures = if is_troubled { failures + 1 } else { 0 };
        if is_troubled {
            tokio::time::sleep(hub.jittered(backoff::delay(failures))).await;
        }
    }
}

/// Says the same of several resources, and waits for all the answers.
async fn ask(link: &Arc<Link>, method: &'static str, uris: &[Arc<str>]) -> Vec<(Arc<str>, Verdict)> {
    let mut asking = JoinSet::new();
    for uri in uris {
        let (link, uri) = (Arc::clone(link), Arc::clone(uri));
        asking.spawn(async move {
            let members = Bytes::from(format!("\"uri\":{}", quoted(&uri)));
            let call = Call { method, members, ..Call::default() };
            let verdict = match tokio::time::timeout(LIMIT, link.call(&call)).await {
                Err(_) => Err(UpstreamError::Timeout { method: method.into(), limit: LIMIT }),
                Ok(Err(error)) => Err(error),
                Ok(Ok((answer, _))) => match answer.root().get("error") {
                    None => Ok(()),
                    Some(error) => {
                        let code = error.get("code").and_then(Value::as_i64);
                        Err(UpstreamError::Refused {
                            server: link.hub.server.clone(),
                            code: code.and_then(|code| i32::try_from(code).ok()).unwrap_or_default(),
                            message: error_message(&answer).unwrap_or_default(),
                        })
                    }
                },
            };
            (uri, verdict)
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asking.join_next().await {
        answers.extend(answer.ok());
    }
    answers
}

/// The stateless era.
async fn all_at_once(link: Weak<Link>, hub: Arc<Hub>) {
    let watch = &hub.watch;
    let mut changes = watch.changes();
    let mut current: Option<Listening> = None;
    let (mut failures, mut is_first) = (0, true);
    watch.start_over();
    loop {
        changes.mark_unchanged();
        let wanted = watch.wanted();
        let is_settled = |open: &Listening| {
            // What was left out is asked for again when somebody else wants it.
            wanted.iter().all(|(uri, is_awaited)| !is_awaited || open.honours(uri))
        };
        let is_settled = current.as_ref().is_some_and(is_settled);
        let wanted: Vec<_> = wanted.into_iter().map(|(uri, _)| uri).collect();
        if is_settled && current.as_ref().is_some_and(|current| current.fits(&wanted)) {
            let Some(open) = &mut current else { continue };
            tokio::select! {
                _ = changes.changed() => {}
                () = open.ended() => {
                    current = None;
                    watch.start_over();
                    failures += 1;
                    tokio::time::sleep(hub.jittered(backoff::delay(failures))).await;
                }
            }
            continue;
        }
        let opened = {
            let Some(link) = link.upgrade() else { return };
            match link.handshake.listen_filter(wanted.iter().map(|uri| &**uri)) {
                Some(filter) => open(&link, &filter, &wanted).await,
                None => Ok(None),
            }
        };
        // Unless another stream is open, some news may have been missed.
        let is_gap = current.is_none();
        match opened {
            Ok(Some(next)) => {
                failures = 0;
                // Of a new link, whoever opened it has said so.
                if is_gap && !is_first {
                    hub.all_changed();
                }
                for uri in &wanted {
                    let verdict = if next.honours(uri) { Ok(()) } else { Err(left_out(&hub)) };
                    if watch.settle(uri, &verdict, is_gap) {
                        hub.announce_update(uri);
                    }
                }
                if let Some(replaced) = current.replace(next) {
                    tokio::spawn(async move {
                        tokio::time::sleep(LINGER).await;
                        drop(replaced);
                    });
                }
                is_first = false;
                note(&link, true);
            }
            Ok(None) => {
                current = None;
                note(&link, false);
                let _ = changes.changed().await;
            }
            Err(error) => {
                for uri in &wanted {
                    // What the open stream carries, it goes on to carry.
                    if !current.as_ref().is_some_and(|current| current.honours(uri)) {
                        watch.settle(uri, &Err(error.clone()), false);
                    }
                }
                is_first = false;
                failures += 1;
                if current.is_none() {
                    note(&link, false);
                }
                if matches!(error, UpstreamError::Refused { .. }) && current.is_none() {
                    // It has no such streams; perhaps for other resources.
                    let _ = changes.changed().await;
                } else {
                    tokio::time::sleep(hub.jittered(backoff::delay(failures))).await;
                }
            }
        }
    }
}

fn note(link: &Weak<Link>, is_listening: bool) {
    if let Some(link) = link.upgrade() {
        link.is_listening.store(is_listening, Ordering::Relaxed);
    }
}

async fn open(link: &Link, filter: &str, wanted: &[Arc<str>]) -> Result<Option<Listening>, UpstreamError> {
    let opened = match &link.kind {
        Kind::Modern(modern) => listen::subscribed(modern.remote(), filter, wanted).await,
        Kind::Stdio(process) => process.duplex.listen(filter, wanted).await,
        Kind::Legacy(_) | Kind::Sse(_) => return Ok(None),
    };
    opened.map(Some)
}

fn left_out(hub: &Hub) -> UpstreamError {
    UpstreamError::Refused {
        server: hub.server.clone(),
        code: doorward_wire::error::INVALID_PARAMS,
        message: "the server does not honour a subscription to this resource".to_owned(),
    }
}
