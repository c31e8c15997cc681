//! Streamable HTTP of the era with sessions.
//!
//! Each caller has a session of its own with each server, because servers keep
//! state in them. Sessions are reused, bounded in number, ended when idle, and
//! opened anew when the server has forgotten one; the request that found out is
//! then sent again, once, if the server refused to look at it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::Replay;
use doorward_model::json::Document;
use doorward_wire::log::Logs;
use doorward_wire::{Era, Revision};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::{OnceCell, watch};

use crate::askers::{Askers, Entrant};
use crate::backoff;
use crate::call::Call;
use crate::envelope;
use crate::error::UpstreamError;
use crate::handshake::Handshake;
use crate::http::answer::{Exchange, Outcome};
use crate::http::held::{self, Held};
use crate::http::listen;
use crate::http::openings::Openings;
use crate::http::remote::{Content, QUIETLY, Remote, content};
use crate::http::standing::{Standing, standing};
use crate::level::{self, Told};
use crate::server::LATELY;
use crate::task::AbortOnDrop;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// How long to wait before asking for the rest of a stream, unless the server says.
const RESUME_AFTER: Duration = Duration::from_secs(1);

/// How long a call waits for the stream on which its server may ask.
const OPENS_WITHIN: Duration = Duration::from_millis(500);

/// The affinity of the gateway's own requests.
pub(crate) const OWN: &str = "";

/// A link to a server with sessions.
pub(crate) struct Legacy {
    remote: Arc<Remote>,
    sessions: Mutex<HashMap<String, Arc<Slot>>>,
    openings: Openings,
    /// The server gave no session id: one opening serves everybody.
    is_stateless: AtomicBool,
}

/// The place of one session: being opened, or open.
#[derive(Default)]
struct Slot {
    session: OnceCell<Session>,
    /// On the link's clock, in µs.
    last_used: AtomicU64,
    /// Until when what a call has made in it is to be found again, in µs.
    kept_until: AtomicU64,
    /// When the other replicas were last told that it is in use.
    told: AtomicU64,
    /// How far the server has heard that the client's roots changed.
    roots: AtomicU8,
}

/// The server knows of the last change of roots; it is being told; there was another meanwhile.
const ROOTS_KNOWN: u8 = 0;
const ROOTS_BEING_TOLD: u8 = 1;
const ROOTS_CHANGED: u8 = 2;

struct Session {
    /// The headers of every request in it.
    headers: HeaderMap,
    has_id: bool,
    revision: Revision,
    /// Where other replicas find it, and what they find.
    held: Option<(String, Held)>,
    /// Whether the server has log messages, and what it was told about them.
    logs: bool,
    level: Told,
    /// The calls under way in it.
    askers: Arc<Askers>,
    /// The stream on which the server speaks unasked.
    watch: Mutex<Option<Unasked>>,
}

/// The stream on which the server speaks unasked, opened or to be opened again.
struct Unasked {
    reader: AbortOnDrop,
    /// Whether there is one, once that is known.
    is_open: watch::Receiver<Option<bool>>,
}

/// What came of `initialize`.
pub(crate) enum Opening {
    Open(Legacy, Handshake),
    /// Nothing here accepts a POST: perhaps HTTP+SSE.
    NotHere(UpstreamError),
}

/// What came of a request within a session.
enum Within {
    Answered(Document, u16),
    /// The server no longer knows the session.
    Lost(u16),
    /// Perhaps it does not, or it has refused the request, with this error if any.
    Doubtful(u16, Option<Document>),
}

impl Legacy {
    /// Opens a link with the gateway's own session, whose stream tells of changes.
    pub(crate) async fn open(remote: Arc<Remote>) -> Result<Opening, UpstreamError> {
        let (session, handshake) = match initialize(&remote, "").await {
            Ok(opened) => opened,
            Err(error @ UpstreamError::Status { status: 400 | 404 | 405, .. }) => {
                return Ok(Opening::NotHere(error));
            }
            Err(error) => return Err(error),
        };
        let link = Self {
            is_stateless: AtomicBool::new(!session.has_id),
            remote,
            sessions: Mutex::default(),
            openings: Openings::default(),
        };
        session.listen(&link.remote).await;
        let last_used = AtomicU64::new(link.now());
        let slot = Slot { session: OnceCell::from(session), last_used, ..Slot::default() };
        link.lock().insert(OWN.to_owned(), Arc::new(slot));
        Ok(Opening::Open(link, handshake))
    }

    /// Makes a call in the session of its affinity.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<(Document, u16), UpstreamError> {
        let mut lost = 0;
        loop {
            let key = self.key(call);
            let slot = self.slot(&key)?;
            let session =
                slot.session.get_or_try_init(|| Box::pin(self.open_session(call, lost > 0))).await?;
            if !call.leaves() {
                return Err(UpstreamError::Unavailable { server: self.remote.hub.server.clone() });
            }
            match self.within(&slot, session, call).await? {
                Within::Answered(document, status) => {
                    self.tell_of_use(&slot);
                    if let Some(keeps) = call.keeps {
                        let keeps = u64::try_from(keeps.as_micros()).unwrap_or(u64::MAX);
                        slot.kept_until.fetch_max(self.now().saturating_add(keeps), Ordering::Relaxed);
                    }
                    if call.method == "resources/subscribe" {
                        session.listen(&self.remote).await;
                    }
                    return Ok((document, status));
                }
                Within::Lost(status) => {
                    self.lose(&key, &slot, session).await;
                    lost += 1;
                    if lost > 1 {
                        return Err(self.refused(status));
                    }
                }
                Within::Doubtful(status, message) => {
                    // A ping is about nothing but the session.
                    if call.method == "ping" || self.is_gone(session).await {
                        self.lose(&key, &slot, session).await;
                    }
                    return message.map(|message| (message, status)).ok_or_else(|| self.refused(status));
                }
            }
        }
    }

    /// Ends the sessions that nobody has used for a while.
    pub(crate) fn sweep(&self) {
        self.remote.door.prune();
        let idle = u64::try_from(self.remote.hub.settings.session_idle.as_micros()).unwrap_or(u64::MAX);
        let now = self.now();
        let mut ended = Vec::new();
        self.lock().retain(|affinity, slot| {
            let keep = affinity == OWN
                || Arc::strong_count(slot) > 1
                || slot.last_used.load(Ordering::Relaxed).saturating_add(idle) > now
                || slot.kept_until.load(Ordering::Relaxed) > now;
            if !keep {
                ended.push(Arc::clone(slot));
            }
            keep
        });
        for slot in ended {
            let remote = Arc::clone(&self.remote);
            tokio::spawn(async move {
                let held = slot.session.get().and_then(|session| session.held.as_ref());
                if let Some((place, _)) = held
                    && held::is_used(&remote.hub, place).await
                {
                    return;
                }
                end(&remote, &slot).await;
            });
        }
    }

    /// The roots of a client have changed: tells the server in its session, if there is one. However
    /// often that is said, one message at a time is under way.
    pub(crate) fn roots_changed(&self, affinity: &str, capabilities: &str) {
        let slot = self.lock().get(&format!("{affinity}\n{capabilities}")).map(Arc::clone);
        let Some(slot) = slot.filter(|slot| slot.session.get().is_some()) else { return };
        if slot.roots.swap(ROOTS_CHANGED, Ordering::AcqRel) != ROOTS_KNOWN {
            return;
        }
        let remote = Arc::clone(&self.remote);
        tokio::spawn(async move {
            let Some(session) = slot.session.get() else { return };
            loop {
                slot.roots.store(ROOTS_BEING_TOLD, Ordering::Release);
                let message = Bytes::from_static(envelope::ROOTS_CHANGED);
                remote.send_quietly(Method::POST, session.headers.clone(), message).await;
                let (told, known) = (ROOTS_BEING_TOLD, ROOTS_KNOWN);
                if slot.roots.compare_exchange(told, known, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return;
                }
            }
        });
    }

    /// Ends the sessions of one affinity, whatever capabilities they were opened with here;
    /// those that another replica opened, where the client has these or they are of no
    /// matter.
    pub(crate) fn end(&self, affinity: &str, capabilities: &str) {
        if affinity == OWN {
            return;
        }
        let mut ended = Vec::new();
        self.lock().retain(|key, slot| {
            let is_its = key.split('\n').next() == Some(affinity);
            if is_its {
                ended.push(Arc::clone(slot));
            }
            !is_its
        });
        let places = held::shared(&self.remote.hub)
            .map(|_| ["", capabilities].map(|able| held::place(&self.remote, affinity, able)));
        let remote = Arc::clone(&self.remote);
        tokio::spawn(async move {
            for slot in ended {
                end(&remote, &slot).await;
            }
            for place in places.iter().flatten() {
                if let Some(held) = held::take(&remote.hub, place).await {
                    remote.send_quietly(Method::DELETE, headers(&remote, &held), Bytes::new()).await;
                }
            }
        });
    }

    /// Ends all sessions but those that other replicas may go on in.
    pub(crate) async fn stop(&self) {
        let mut all = std::mem::take(&mut *self.lock());
        all.retain(|_, slot| slot.session.get().is_none_or(|session| session.held.is_none()));
        let mut ending = tokio::task::JoinSet::new();
        for slot in all.into_values() {
            let remote = Arc::clone(&self.remote);
            ending.spawn(async move { end(&remote, &slot).await });
        }
        while ending.join_next().await.is_some() {}
    }

    /// Whether a stream is open that would tell of the server's end.
    pub(crate) fn is_watched(&self) -> bool {
        let own = self.lock().get(OWN).cloned();
        own.as_ref().and_then(|slot| slot.session.get()).is_some_and(Session::is_watched)
    }

    /// Whether it gave no session id, so that one opening serves everybody.
    pub(crate) fn is_stateless(&self) -> bool {
        self.is_stateless.load(Ordering::Relaxed)
    }

    /// How many sessions there are.
    pub(crate) fn session_count(&self) -> usize {
        self.lock().len()
    }

    /// Whose session a call travels in: its caller's, opened with the capabilities that
    /// the call's client has.
    fn key<'c>(&self, call: &Call<'c>) -> Cow<'c, str> {
        if self.is_stateless() {
            Cow::Borrowed(OWN)
        } else if call.capabilities.is_empty() {
            Cow::Borrowed(call.affinity)
        } else {
            Cow::Owned(format!("{}\n{}", call.affinity, call.capabilities))
        }
    }

    fn slot(&self, key: &str) -> Result<Arc<Slot>, UpstreamError> {
        let now = self.now();
        let mut evicted = None;
        let mut sessions = self.lock();
        let slot = match sessions.get(key) {
            Some(slot) => Arc::clone(slot),
            None => {
                if sessions.len() >= self.remote.hub.settings.max_sessions {
                    let Some(oldest) = unneeded(&sessions, now) else {
                        return Err(UpstreamError::Busy { server: self.remote.hub.server.clone() });
                    };
                    evicted = sessions.remove(&oldest);
                }
                let slot = Arc::<Slot>::default();
                sessions.insert(key.to_owned(), Arc::clone(&slot));
                slot
            }
        };
        drop(sessions);
        slot.last_used.store(now, Ordering::Relaxed);
        if let Some(evicted) = evicted {
            let remote = Arc::clone(&self.remote);
            tokio::spawn(async move { end(&remote, &evicted).await });
        }
        Ok(slot)
    }

    async fn open_session(&self, call: &Call<'_>, again: bool) -> Result<Session, UpstreamError> {
        let hub = &self.remote.hub;
        let place = (call.affinity != OWN && held::shared(hub).is_some())
            .then(|| held::place(&self.remote, call.affinity, call.capabilities));
        let known = match &place {
            Some(place) => held::find(hub, place).await,
            None => None,
        };
        let session = match (known, place) {
            (Some(held), Some(place)) => Session::again(&self.remote, place, held),
            (_, place) => {
                let _turn = self.openings.turn(hub, again).await;
                let (session, _) = initialize(&self.remote, call.capabilities).await?;
                self.is_stateless.store(!session.has_id, Ordering::Relaxed);
                self.share(session, place).await
            }
        };
        // A server that asks may do so on that stream.
        if call.affinity == OWN || !call.capabilities.is_empty() {
            session.listen(&self.remote).await;
        }
        Ok(session)
    }

    /// Lets the other replicas have a session; if one of them was quicker, its is used.
    async fn share(&self, mut session: Session, place: Option<String>) -> Session {
        let (Some(place), Some(held)) = (place, session.described()) else { return session };
        match held::claim(&self.remote.hub, &place, &held).await {
            Some(theirs) if theirs != held => {
                let (remote, headers) = (Arc::clone(&self.remote), session.headers);
                tokio::spawn(async move { remote.send_quietly(Method::DELETE, headers, Bytes::new()).await });
                Session::again(&self.remote, place, theirs)
            }
            _ => {
                session.held = Some((place, held));
                session
            }
        }
    }

    /// Tells the other replicas, now and then, that a session is in use.
    fn tell_of_use(&self, slot: &Arc<Slot>) {
        if held::shared(&self.remote.hub).is_none() {
            return;
        }
        let every = u64::try_from(self.remote.hub.settings.session_idle.as_micros() / 4).unwrap_or(u64::MAX);
        let (now, told) = (self.now(), slot.told.load(Ordering::Relaxed));
        if now.saturating_sub(told) < every {
            return;
        }
        slot.told.store(now, Ordering::Relaxed);
        let (remote, slot) = (Arc::clone(&self.remote), Arc::clone(slot));
        tokio::spawn(async move {
            if let Some((place, held)) = slot.session.get().and_then(|session| session.held.as_ref()) {
                held::refresh(&remote.hub, place, held).await;
            }
        });
    }

    /// Takes a dead session away, here and from where other replicas find it.
    async fn lose(&self, key: &str, slot: &Arc<Slot>, session: &Session) {
        if let Some((place, held)) = &session.held
            && held::find(&self.remote.hub, place).await.as_ref() == Some(held)
        {
            held::release(&self.remote.hub, place).await;
        }
        self.forget(key, slot);
    }

    /// Takes a dead session away, unless somebody has replaced it already.
    fn forget(&self, key: &str, dead: &Arc<Slot>) {
        let mut sessions = self.lock();
        if sessions.get(key).is_some_and(|slot| Arc::ptr_eq(slot, dead)) {
            sessions.remove(key);
        }
        drop(sessions);
        // What was announced to the dead session is lost.
        if key == OWN {
            self.remote.hub.session_lost();
        }
    }

    async fn within(
        &self,
        slot: &Arc<Slot>,
        session: &Session,
        call: &Call<'_>,
    ) -> Result<Within, UpstreamError> {
        let id = self.remote.next_id();
        let mut withdrawal = Withdrawal { remote: &self.remote, slot, id, is_armed: true };
        if session.logs && session.level.must_be_said(call.logs) {
            let id = self.remote.next_id();
            // What the server makes of it is its affair; the call is not about that.
            self.exchange(session, id, &level::said(call.logs)).await?;
        }
        let entrant = Entrant { owner: call.affinity, questions: call.questions.as_ref(), task: call.task };
        let present = session.askers.enter(id, entrant).await;
        present.leaves();
        let outcome = self.exchange(session, id, call).await;
        withdrawal.is_armed = false;
        if matches!(outcome, Ok(Outcome::Answered(..) | Outcome::Refused { .. })) {
            session.askers.ended(id);
        }
        match outcome? {
            Outcome::Answered(document, status) => Ok(Within::Answered(document, status)),
            Outcome::Refused { status, message } => {
                match standing(id, status, message.as_ref()) {
                    Standing::Gone if session.has_id => return Ok(Within::Lost(status)),
                    Standing::Doubtful if session.has_id => return Ok(Within::Doubtful(status, message)),
                    _ => {}
                }
                match message {
                    Some(document) => Ok(Within::Answered(document, status)),
                    None => Err(self.refused(status)),
                }
            }
            Outcome::Ended { .. } => {
                let detail = "its stream ended without an answer";
                Err(UpstreamError::protocol(&self.remote.hub.server, detail))
            }
        }
    }

    /// Asks a server in a session whether it knows that.
    async fn is_gone(&self, session: &Session) -> bool {
        let id = self.remote.next_id();
        let ping = Call { method: "ping", ..Call::default() };
        match tokio::time::timeout(QUIETLY, self.exchange(session, id, &ping)).await {
            Ok(Ok(Outcome::Refused { status, message })) => {
                standing(id, status, message.as_ref()) != Standing::Open
            }
            _ => false,
        }
    }

    async fn exchange(&self, session: &Session, id: u64, call: &Call<'_>) -> Result<Outcome, UpstreamError> {
        let exchange = Exchange {
            remote: &self.remote,
            era: Era::Legacy,
            id,
            notify: call.notify.as_ref(),
            progress_token: call.progress_token,
            logs: call.logs,
            questions: call.questions.as_ref(),
            session: Some((&session.headers, &session.askers)),
        };
        let body = envelope::legacy(id, call);
        let response = self.remote.post(session.headers.clone(), body, Replay::Harmful).await?;
        let mut outcome = exchange.read(response).await?;
        let mut in_vain = 0;
        // A server may hang up in the middle and offer the rest on request.
        while let Outcome::Ended { last_id: Some(last), retry } = outcome {
            let retry = retry.map(backoff::wanted);
            if let (Some(hung_up), Some(retry)) = (&call.hung_up, retry) {
                // Whoever has been told need not be told again.
                let _ = hung_up.try_send(retry);
            }
            let mut pause = retry.unwrap_or(RESUME_AFTER);
            if in_vain > 0 {
                pause = pause.max(self.remote.hub.jittered(backoff::delay(in_vain)));
            }
            tokio::time::sleep(pause).await;
            in_vain += 1;
            let mut headers = session.headers.clone();
            let Ok(value) = HeaderValue::from_str(&last) else {
                return Ok(Outcome::Ended { last_id: None, retry: None });
            };
            headers.insert(LAST_EVENT, value);
            let response = match self.remote.get(headers).await {
                Ok(response) => response,
                // The server may be gone for a moment; the call's deadline ends this.
                Err(_) => {
                    outcome = Outcome::Ended { last_id: Some(last), retry };
                    continue;
                }
            };
            if response.status != StatusCode::OK || content(&response.headers) != Content::EventStream {
                response.body.release().await;
                return Ok(Outcome::Ended { last_id: None, retry: None });
            }
            outcome = match Box::pin(exchange.stream(response.body, response.status)).await? {
                Outcome::Ended { last_id, retry: again } => {
                    in_vain = if last_id.is_some() { 0 } else { in_vain };
                    Outcome::Ended { last_id: last_id.or(Some(last)), retry: again.or(retry) }
                }
                other => other,
            };
        }
        Ok(outcome)
    }

    fn refused(&self, status: u16) -> UpstreamError {
        UpstreamError::Status { server: self.remote.hub.server.clone(), status }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.remote.hub.clock.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// A session that another replica has opened.
    fn again(remote: &Remote, place: String, held: Held) -> Self {
        Self {
            headers: headers(remote, &held),
            has_id: true,
            revision: held.revision,
            logs: held.logs,
            held: Some((place, held)),
            level: Told::default(),
            askers: Arc::new(Askers::new(remote.hub.timeout)),
            watch: Mutex::default(),
        }
    }

    /// What other replicas have to know of it.
    fn described(&self) -> Option<Held> {
        let id = self.headers.get(SESSION)?.clone();
        Some(Held { id, revision: self.revision, logs: self.logs })
    }

    /// Opens the stream on which the server speaks unasked, unless it is, and waits a little
    /// until it is: what is said before is lost, such as a question about the first call.
    async fn listen(&self, remote: &Arc<Remote>) {
        let (told, mut is_open) = watch::channel(None);
        {
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            if watch.as_ref().is_some_and(|watch| watch.reader.is_running()) {
                return;
            }
            let (remote, headers) = (Arc::clone(remote), self.headers.clone());
            let unasked = listen::unasked(remote, headers, Arc::clone(&self.askers), watch.is_none(), told);
            *watch = Some(Unasked { reader: AbortOnDrop::spawn(unasked), is_open: is_open.clone() });
        }
        // Some servers say nothing on it, not even that it is open, before there is news.
        let _ = tokio::time::timeout(OPENS_WITHIN, is_open.changed()).await;
    }

    fn is_watched(&self) -> bool {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.as_ref().is_some_and(|it| it.reader.is_running() && *it.is_open.borrow() != Some(false))
    }
}

/// A call that waits for its answer; dropped before, it tells the server, which in
/// this era does not take a closed connection for a cancellation.
struct Withdrawal<'a> {
    remote: &'a Arc<Remote>,
    slot: &'a Arc<Slot>,
    id: u64,
    is_armed: bool,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.is_armed, tokio::runtime::Handle::try_current()) else { return };
        let (remote, slot, id) = (Arc::clone(self.remote), Arc::clone(self.slot), self.id);
        runtime.spawn(async move {
            if let Some(session) = slot.session.get() {
                let message = envelope::cancelled(id);
                remote.send_quietly(Method::POST, session.headers.clone(), message).await;
            }
        });
    }
}

async fn initialize(remote: &Arc<Remote>, capabilities: &str) -> Result<(Session, Handshake), UpstreamError> {
    let id = remote.next_id();
    let server = &remote.hub.server;
    let members = envelope::initialize_members(&remote.hub.settings.client_info, capabilities);
    let call = Call { method: "initialize", members, ..Call::default() };
    let response = remote.post(remote.headers(), envelope::legacy(id, &call), Replay::Harmless).await?;
    let session_id = response.headers.get(SESSION).cloned();
    let exchange = Exchange {
        remote,
        era: Era::Legacy,
        id,
        notify: None,
        progress_token: None,
        logs: Logs::None,
        questions: None,
        session: None,
    };
    let document = match exchange.read(response).await? {
        Outcome::Answered(document, _) => document,
        // A refusal within JSON-RPC is an answer of a server that speaks this
        // transport, unless it merely says that there is nothing here.
        Outcome::Refused { message: Some(_), status } if !matches!(status, 400 | 404 | 405) => {
            return Err(UpstreamError::protocol(server, "it refused to initialize"));
        }
        Outcome::Refused { status, .. } => {
            return Err(UpstreamError::Status { server: server.clone(), status });
        }
        Outcome::Ended { .. } => {
            return Err(UpstreamError::protocol(server, "its stream ended without an answer"));
        }
    };
    let handshake =
        Handshake::from_initialize(&document).map_err(|detail| UpstreamError::protocol(server, detail))?;
    let has_id = session_id.is_some();
    let headers = headers_of(remote, session_id, handshake.revision);
    let initialized = Bytes::from_static(envelope::INITIALIZED);
    let response = remote.post(headers.clone(), initialized, Replay::Harmless).await?;
    response.body.release().await;
    let session = Session {
        headers,
        has_id,
        revision: handshake.revision,
        held: None,
        logs: handshake.logs,
        level: Told::default(),
        askers: Arc::new(Askers::new(remote.hub.timeout)),
        watch: Mutex::default(),
    };
    Ok((session, handshake))
}

/// The headers of every request in a session.
fn headers_of(remote: &Remote, id: Option<HeaderValue>, revision: Revision) -> HeaderMap {
    let mut headers = remote.headers();
    if let Some(id) = id {
        headers.insert(SESSION, id);
    }
    if revision >= Revision::V2025_06_18 {
        headers.insert(VERSION, HeaderValue::from_static(revision.as_str()));
    }
    headers
}

fn headers(remote: &Remote, held: &Held) -> HeaderMap {
    headers_of(remote, Some(held.id.clone()), held.revision)
}

async fn end(remote: &Remote, slot: &Slot) {
    let Some(session) = slot.session.get() else { return };
    session.watch.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((place, _)) = &session.held
        && !held::release(&remote.hub, place).await
    {
        // Another replica ends it, or has.
        return;
    }
    if session.has_id {
        remote.send_quietly(Method::DELETE, session.headers.clone(), Bytes::new()).await;
    }
}

/// The session that nobody would miss, if there is one.
fn unneeded(sessions: &HashMap<String, Arc<Slot>>, now: u64) -> Option<String> {
    let lately = u64::try_from(LATELY.as_micros()).unwrap_or(u64::MAX);
    sessions
        .iter()
        .filter(|(affinity, slot)| *affinity != OWN && Arc::strong_count(slot) == 1)
        .map(|(affinity, slot)| (slot.last_used.load(Ordering::Relaxed), affinity, slot))
        .filter(|(last_used, ..)| last_used.saturating_add(lately) <= now)
        .filter(|(.., slot)| slot.kept_until.load(Ordering::Relaxed) <= now)
        .min_by_key(|(last_used, ..)| *last_used)
        .map(|(_, affinity, _)| affinity.clone())
}
