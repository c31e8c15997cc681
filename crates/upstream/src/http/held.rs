//! Sessions with servers that replicas share: what one has opened the others go on in,
//! since the server keeps its state there.
//!
//! Beside each stands when it was last used by any of them, so that it ends when nobody
//! uses it any more and not when one of them does not.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use doorward_model::{Shared, Timestamp};
use doorward_wire::{Era, Revision};
use http::HeaderValue;

use crate::http::remote::Remote;
use crate::hub::Hub;
use crate::spec::Credential;

/// What replicas have to know of a session to go on in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held {
    pub(crate) id: HeaderValue,
    pub(crate) revision: Revision,
    /// Whether the server has log messages.
    pub(crate) logs: bool,
}

/// What tells one way to a server from another, where it is and what it is shown, without giving
/// away either. Replicas that are configured alike agree on it; whoever is sent elsewhere, or with
/// another credential, finds none of the sessions that were opened before.
pub(crate) fn way(url: &str, credential: &Credential) -> String {
    let mut state = Context::new(&SHA256);
    let mut add = |text: &str| {
        // The length keeps the end of one from passing for the start of another.
        state.update(&(text.len() as u64).to_be_bytes());
        state.update(text.as_bytes());
    };
    add(url);
    match credential {
        Credential::None => {}
        Credential::Bearer(token) => add(token.expose()),
        Credential::Headers(pairs) => pairs.iter().for_each(|(name, value)| {
            add(name);
            add(value.expose());
        }),
    }
    URL_SAFE_NO_PAD.encode(state.finish())
}

/// Where the session of an affinity stands.
pub(crate) fn place(remote: &Remote, affinity: &str, capabilities: &str) -> String {
    format!("server/{}\n{}\n{affinity}\n{capabilities}", remote.hub.server, remote.way)
}

/// The session that stands there.
pub(crate) async fn find(hub: &Hub, place: &str) -> Option<Held> {
    let entry = shared(hub)?.get(place).await.ok()??;
    read(&entry).map(|(_, held)| held)
}

/// Puts a session there. Another replica may have been quicker: then its session counts.
pub(crate) async fn claim(hub: &Hub, place: &str, held: &Held) -> Option<Held> {
    let before = shared(hub)?.claim(place, write(hub, held), keep(hub)).await.ok()??;
    read(&before).map(|(_, held)| held)
}

/// Notes that it was used.
pub(crate) async fn refresh(hub: &Hub, place: &str, held: &Held) {
    if let Some(shared) = shared(hub) {
        // Unnoted, it may end early, and is opened anew then.
        let _ = shared.set(place, Some(write(hub, held)), keep(hub)).await;
    }
}

/// Takes a session away: `true` for the one that has to end it.
pub(crate) async fn release(hub: &Hub, place: &str) -> bool {
    match shared(hub) {
        Some(shared) => !matches!(shared.set(place, None, Duration::ZERO).await, Ok(None)),
        None => true,
    }
}

/// Takes away whatever stands there.
pub(crate) async fn take(hub: &Hub, place: &str) -> Option<Held> {
    let entry = shared(hub)?.set(place, None, Duration::ZERO).await.ok()??;
    read(&entry).map(|(_, held)| held)
}

/// Whether any replica has used it lately.
pub(crate) async fn is_used(hub: &Hub, place: &str) -> bool {
    let Some(shared) = shared(hub) else { return false };
    let Ok(Some(entry)) = shared.get(place).await else { return false };
    read(&entry).is_some_and(|(used, _)| used.plus(hub.settings.session_idle) > hub.clock.now())
}

/// Where replicas keep what they share, if there are any.
pub(crate) fn shared(hub: &Hub) -> Option<&dyn Shared> {
    hub.settings.shared.as_deref()
}

fn keep(hub: &Hub) -> Duration {
    hub.settings.session_idle.saturating_mul(2)
}

fn write(hub: &Hub, held: &Held) -> Bytes {
    let used = hub.clock.now().as_micros();
    let mut out = format!("{used}\n{}\n{}\n", held.revision.as_str(), u8::from(held.logs)).into_bytes();
    out.extend_from_slice(held.id.as_bytes());
    out.into()
}

fn read(entry: &Bytes) -> Option<(Timestamp, Held)> {
    let mut parts = entry.splitn(4, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let (used, revision, logs) = (text()?.parse().ok()?, text()?, text()? == "1");
    let revision = Revision::parse(revision).filter(|revision| revision.era() == Era::Legacy)?;
    let id = HeaderValue::from_bytes(parts.next()?).ok()?;
    Some((Timestamp::from_micros(used), Held { id, revision, logs }))
}
