//! One HTTP request: guarded, routed, identified, read, answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use doorward_identity::{Authenticator, Presented};
use doorward_ledger::EventRecord;
use doorward_limit::Exceeded;
use doorward_model::room::SMALL;
use doorward_model::{Caller, Space};
use doorward_wire::error::INVALID_REQUEST;
use doorward_wire::message::Message;
use doorward_wire::{Era, RpcError};
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming as HyperBody;
use tokio::sync::mpsc;

use super::tell::{self, Cause, tell};
use super::{Body, CallStream, EventStream, ListenStream, Pending};
use crate::batch;
use crate::gateway::Gateway;
use crate::method;
use crate::ops::{self, Route};
use crate::pipeline::Asked;
use crate::receive::{self, Arrival, Carrier, LAST_EVENT, SESSION};
use crate::reply::Reply;
use crate::session::stream::{Event, Left};
use crate::stage::identify::{identify, presented};
use crate::stage::settle::RATE_LIMITED;
use crate::standpoint::{Credential, Standpoint};
use crate::surface::Surface;

/// How long a call may take before its stream is opened, so that the client has a place to
/// come back to should its connection break.
const PRIME_AFTER: Duration = Duration::from_millis(500);

/// Notifications of one call that may wait while the client reads.
const NOTIFICATIONS: usize = 32;

/// Answers one request.
pub(super) async fn answer(
    gateway: Arc<Gateway>,
    bound: IpAddr,
    peer: SocketAddr,
    request: Request<HyperBody>,
) -> Response<Body> {
    let snapshot = gateway.snapshot();
    let front = &snapshot.rulebook.front;
    let route = Route::of(request.uri().path());
    // Whoever looks after the machine asks how it is from anywhere.
    let is_own = peer.ip() == bound;
    if !is_own && !front.peers.may_connect(peer.ip()) && !matches!(route, Some(Route::Health | Route::Ready))
    {
        return turn_away(&gateway, "address", peer, "requests are taken from the proxy only");
    }
    let peer = SocketAddr::new(front.peers.client(peer.ip(), request.headers()), peer.port());
    if !front.peers.admits(peer.ip()) {
        return turn_away(&gateway, "address", peer, "this address is not let in");
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if let Err(foreign) = front.guard.check(bound, request.headers(), authority) {
        return turn_away(&gateway, "foreign", peer, &foreign.to_string());
    }
    let path = request.uri().path();
    if let Some(route) = route {
        let method = request.method();
        return match route {
            Route::Health => ops::answer(&gateway, method, route, false),
            _ if is_here(bound, peer, request.headers()) => ops::answer(&gateway, method, route, true),
            // Who only wants to know whether it is ready need not say who it is.
            Route::Ready if presented(request.headers()).bearer.is_none() => {
                ops::answer(&gateway, method, route, false)
            }
            Route::Ready | Route::Metrics => {
                let presented = presented(request.headers());
                match let_in(&gateway, &snapshot.rulebook.authenticator, peer, presented).await {
                    Ok(caller) if ops::may_read(&caller) => ops::answer(&gateway, method, route, true),
                    Ok(_) if route == Route::Ready => ops::answer(&gateway, method, route, false),
                    Ok(_) => plain(StatusCode::FORBIDDEN, "this needs the scope audit.read"),
                    Err(response) => *response,
                }
            }
        };
    }
    let Some(surface) = Surface::from_path(path) else {
        return plain(
            StatusCode::NOT_FOUND,
            "nothing here; MCP is served on /mcp, /mcp/{server} and /mcp/_gateway",
        );
    };
    let presented = presented(request.headers());
    let caller = match let_in(&gateway, &snapshot.rulebook.authenticator, peer, presented).await {
        Ok(caller) => caller,
        Err(response) => return *response,
    };
    drop(snapshot);
    match *request.method() {
        Method::POST => post(gateway, caller, surface, peer, request).await,
        Method::GET => listen(&gateway, &caller, surface, peer, request.headers()).await,
        Method::DELETE => delete(&gateway, &caller, &surface, request.headers()).await,
        _ => not_allowed(),
    }
}

/// Whether this was asked on this machine, as far as anybody can tell: a proxy here that nobody
/// told the gateway of says for whom it asks.
fn is_here(bound: IpAddr, peer: SocketAddr, headers: &HeaderMap) -> bool {
    let is_passed_on = ["x-forwarded-for", "forwarded"].iter().any(|name| headers.contains_key(*name));
    (peer.ip() == bound || peer.ip().to_canonical().is_loopback()) && !is_passed_on
}

/// Finds out who calls, unless too many from this address turned out to be nobody; see
/// [`Strangers`](super::Strangers).
async fn let_in(
    gateway: &Gateway,
    authenticator: &Authenticator,
    peer: SocketAddr,
    presented: Presented<'_>,
) -> Result<Arc<Caller>, Box<Response<Body>>> {
    let strangers = &gateway.strangers;
    if presented.bearer.is_some()
        && let Err(exceeded) = strangers.may_present(peer.ip())
    {
        let known = if strangers.has_regulars(peer.ip()) { authenticator.recall(presented) } else { None };
        let caller = known.ok_or_else(|| Box::new(too_many(gateway, peer, &exceeded)))?;
        strangers.came_in(peer.ip());
        return Ok(caller);
    }
    let refused = match identify(authenticator, presented).await {
        Ok(caller) => {
            strangers.came_in(peer.ip());
            return Ok(caller);
        }
        Err(refused) => refused,
    };
    let counted = match presented.bearer {
        Some(_) => strangers.unknown(peer.ip()),
        None => strangers.refused(peer.ip()),
    };
    if let Err(exceeded) = counted {
        return Err(Box::new(too_many(gateway, peer, &exceeded)));
    }
    if note(gateway, "unauthenticated", peer) {
        tracing::info!(target: "doorward::identity", %peer, reason = %refused, "caller refused");
    }
    Err(Box::new(challenge()))
}

async fn post(
    gateway: Arc<Gateway>,
    caller: Arc<Caller>,
    surface: Surface,
    peer: SocketAddr,
    request: Request<HyperBody>,
) -> Response<Body> {
    let received = gateway.clock.now();
    let started = gateway.clock.elapsed();
    let can_stream = match negotiate(request.headers()) {
        Ok(can_stream) => can_stream,
        Err(response) => return *response,
    };
    let (parts, body) = request.into_parts();
    let mut space = gateway.settings.room.space();
    let body = match collect(body, gateway.settings.max_body, &mut space).await {
        Ok(body) => body,
        Err(NoBody::NoRoom) => {
            note(&gateway, "overloaded", peer);
            return respond(Reply::overloaded());
        }
        Err(NoBody::TooLarge) => {
            note(&gateway, "too_large", peer);
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this gateway accepts");
        }
        Err(NoBody::Lost) => {
            return plain(StatusCode::REQUEST_TIMEOUT, "the body broke off or took too long");
        }
    };
    let ticket = match shown(&parts.headers) {
        Ok(ticket) => ticket,
        Err(error) => return respond(Reply::error(None, &error)),
    };
    let session = match ticket {
        Some(ticket) => match gateway.session(ticket, &caller, &surface).await {
            Ok(session) => session,
            Err(error) => return respond(Reply::later(None, &error)),
        },
        None => None,
    };
    let arrival = Arrival {
        surface,
        origin: "mcp",
        ip: Some(peer.ip()),
        carrier: Carrier::Http(Arc::new(parts.headers), session),
        can_stream,
    };
    if batch::is_one(&body) {
        return respond(batch::answer(&gateway, &caller, &arrival, body).await);
    }
    let incoming = match receive::receive(body, arrival, &gateway, received, started) {
        Ok(incoming) => incoming,
        Err(unreadable) => {
            note(&gateway, "malformed", peer);
            return respond(Reply::error(unreadable.id.as_deref(), &unreadable.error));
        }
    };
    if incoming.listens
        && let Ok(Message::Request(message)) = Message::read(&incoming.document)
    {
        return Box::pin(subscribe(&gateway, &caller, &incoming, message, can_stream)).await;
    }
    if !incoming.streams {
        let mut pending = work(gateway, caller, incoming, space, None, None);
        return respond(std::future::poll_fn(|cx| pending.poll(cx)).await);
    }
    let (notify, mut notifications) = mpsc::channel(NOTIFICATIONS);
    let session = incoming.session.clone().filter(|session| session.resumes());
    let primes = session.as_ref().is_some_and(|session| session.primes());
    // Only who knows streams that open with their place is sure to come back.
    let (hung_up, mut hang_ups) = primes.then(|| mpsc::channel(1)).unzip();
    let mut pending = work(Arc::clone(&gateway), caller, incoming, space, Some(notify), hung_up);
    let cause = tokio::select! {
        biased;
        Some(first) = notifications.recv() => Cause::Said(first),
        reply = std::future::poll_fn(|cx| pending.poll(cx)) => match notifications.try_recv() {
            Err(_) => return respond(reply),
            // Said in the same breath as the answer, and before it.
            Ok(first) => {
                pending = Pending::new(Box::pin(std::future::ready(reply)), false, Space::default());
                Cause::Said(first)
            }
        },
        Some(retry) = tell::hung_up(&mut hang_ups) => Cause::HungUp(retry),
        () = tokio::time::sleep(PRIME_AFTER), if primes => Cause::Slow,
    };
    match (session, cause) {
        (Some(session), cause) => events(tell(&gateway, &session, pending, notifications, hang_ups, cause)),
        (None, Cause::Said(first)) => {
            event_stream(Body::Call(Box::new(CallStream::new(pending, notifications, first))))
        }
        (None, Cause::HungUp(_) | Cause::Slow) => respond(std::future::poll_fn(|cx| pending.poll(cx)).await),
    }
}

/// Sets a call in motion. Apart, so that its state is made on the heap at once and no
/// request has to move it about.
fn work(
    gateway: Arc<Gateway>,
    caller: Arc<Caller>,
    incoming: receive::Incoming,
    space: Space,
    notify: Option<mpsc::Sender<Bytes>>,
    hung_up: Option<mpsc::Sender<Duration>>,
) -> Pending {
    let outlives_client = incoming.era() == Era::Legacy;
    // The room first: nothing can go wrong behind it, so nothing has to be kept to be
    // dropped, and the state is put where it stays.
    let room = Box::new_uninit();
    let work = Box::into_pin(Box::write(room, gateway.answer(caller, incoming, notify, hung_up)));
    Pending::new(work, outlives_client, space)
}

/// Opens a `subscriptions/listen` stream.
async fn subscribe(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    incoming: &receive::Incoming,
    message: doorward_wire::message::Request<'_>,
    can_stream: bool,
) -> Response<Body> {
    if !can_stream {
        return plain(StatusCode::NOT_ACCEPTABLE, "subscriptions/listen answers with text/event-stream");
    }
    let opened = match Asked::new(gateway, caller, incoming, message, None) {
        Ok(asked) => method::listen(&asked).await,
        Err(reply) => Err(reply),
    };
    match opened {
        Ok(listening) => event_stream(Body::Listen(Box::new(ListenStream::new(listening)))),
        Err(reply) => respond(reply),
    }
}

/// `GET`: the stream for messages that belong to no request, in the legacy era.
async fn listen(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    surface: Surface,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Response<Body> {
    let ticket = match shown(headers) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => return not_allowed(),
        Err(error) => return respond(Reply::error(None, &error)),
    };
    if !accepts(headers, "text", "event-stream") {
        return plain(StatusCode::NOT_ACCEPTABLE, "GET opens a text/event-stream; say so in Accept");
    }
    let session = match gateway.session(ticket, caller, &surface).await {
        Ok(Some(session)) => session,
        Ok(None) => return no_session(),
        Err(error) => return respond(Reply::later(None, &error)),
    };
    session.news.seen(Standpoint {
        caller: Arc::clone(caller),
        credential: Credential::of(presented(headers)),
        surface,
        ip: Some(peer.ip()),
        origin: "mcp",
        client: session.opening.client.clone(),
        declared: session.opening.abilities.declared(),
    });
    let left = headers.get(&LAST_EVENT).filter(|_| session.resumes());
    let stream = match left.map(|id| id.to_str().ok().and_then(Left::read)) {
        None => Some(gateway.news(&session).await),
        Some(Some(left)) => gateway.resume(&session, left).await,
        Some(None) => None,
    };
    match stream {
        Some(stream) => events(stream),
        None => plain(StatusCode::BAD_REQUEST, "nothing is kept of the stream that Last-Event-ID names"),
    }
}

/// `DELETE`: ends a session.
async fn delete(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    surface: &Surface,
    headers: &HeaderMap,
) -> Response<Body> {
    let ticket = match shown(headers) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => return not_allowed(),
        Err(error) => return respond(Reply::error(None, &error)),
    };
    let session = match gateway.session(ticket, caller, surface).await {
        Ok(Some(session)) => session,
        Ok(None) => return no_session(),
        Err(error) => return respond(Reply::later(None, &error)),
    };
    gateway.end_session(&session).await;
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The ticket that a request shows.
fn shown(headers: &HeaderMap) -> Result<Option<&str>, RpcError> {
    receive::only(headers, &SESSION)
}

fn no_session() -> Response<Body> {
    respond(Reply::error(None, &receive::no_session()))
}

/// Checks the media types of a POST; says whether its answer may be a stream.
fn negotiate(headers: &HeaderMap) -> Result<bool, Box<Response<Body>>> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let kind = kinds.next();
    // Two of them are one too many: which of them whatever stands in front has read, nobody knows.
    let kind = if kinds.next().is_some() { None } else { kind };
    // What nearly every client sends needs no taking apart.
    let is = |name: HeaderName, usual: &str| headers.get(name).is_some_and(|value| value == usual);
    if kind.is_some_and(|kind| kind == "application/json")
        && is(ACCEPT, "application/json, text/event-stream")
        && !headers.contains_key(CONTENT_ENCODING)
    {
        return Ok(true);
    }
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(Box::new(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        )));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Box::new(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed bodies are not accepted",
        )));
    }
    if !accepts(headers, "application", "json") {
        return Err(Box::new(plain(
            StatusCode::NOT_ACCEPTABLE,
            "Accept must list application/json and text/event-stream",
        )));
    }
    Ok(accepts(headers, "text", "event-stream"))
}

fn accepts(headers: &HeaderMap, kind: &str, subtype: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return true;
    }
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').next().unwrap_or_default().trim().split('/');
        let (Some(main), Some(sub)) = (parts.next(), parts.next()) else { return false };
        (main == "*" || main.eq_ignore_ascii_case(kind)) && (sub == "*" || sub.eq_ignore_ascii_case(subtype))
    })
}

/// Why there is no body to work on.
enum NoBody {
    TooLarge,
    /// There is no room for it: too much else is under way.
    NoRoom,
    /// It broke off, or took too long.
    Lost,
}

/// How long a client may take to send a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// How much of a body that is too large is still read, as a multiple of the limit,
/// so that a client that writes before it reads gets to see its answer.
const DRAINED: usize = 4;

async fn collect(body: HyperBody, limit: usize, space: &mut Space) -> Result<Bytes, NoBody> {
    match tokio::time::timeout(BODY_WITHIN, read(body, limit, space)).await {
        Ok(read) => read,
        Err(_) => Err(NoBody::Lost),
    }
}

async fn read(mut body: HyperBody, limit: usize, space: &mut Space) -> Result<Bytes, NoBody> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut length = 0_usize;
    // Whatever its size, each call costs something.
    let mut fits = space.hold(SMALL).is_ok();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| NoBody::Lost)?.into_data() else { continue };
        length += data.len();
        fits = fits && (length <= SMALL || space.hold(SMALL + length).is_ok());
        if length > limit || !fits {
            (first, all) = (Bytes::new(), BytesMut::new());
            if length > limit.saturating_mul(DRAINED) {
                break;
            }
        } else if first.is_empty() && all.is_empty() {
            // Most bodies come in one piece, which is then not copied.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    if length > limit {
        return Err(NoBody::TooLarge);
    }
    if !fits {
        return Err(NoBody::NoRoom);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn respond(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if reply.status != 202 {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(after) = reply.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs_f64().ceil().max(1.0) as u64));
    }
    if let Some(id) = reply.session.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
        headers.insert(SESSION, id);
    }
    response
}

fn events(stream: mpsc::Receiver<Event>) -> Response<Body> {
    event_stream(Body::Events(Box::new(EventStream::new(stream))))
}

fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn challenge() -> Response<Body> {
    let mut response = plain(StatusCode::UNAUTHORIZED, "present a key or token: Authorization: Bearer …");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"doorward\""));
    response
}

fn not_allowed() -> Response<Body> {
    let mut response =
        plain(StatusCode::METHOD_NOT_ALLOWED, "use POST; GET and DELETE need an Mcp-Session-Id");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// An answer outside JSON-RPC, as a JSON-RPC error without id, so that every
/// client can read it.
fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let error =
        RpcError { code: INVALID_REQUEST, message: text.to_owned(), data: None, status: status.as_u16() };
    respond(Reply::error(None, &error))
}

/// Refuses a request for where it comes from, or for where it wants to go.
fn turn_away(gateway: &Gateway, reason: &'static str, peer: SocketAddr, text: &str) -> Response<Body> {
    match gateway.strangers.refused(peer.ip()) {
        Ok(()) => {
            note(gateway, reason, peer);
            plain(StatusCode::FORBIDDEN, text)
        }
        Err(exceeded) => too_many(gateway, peer, &exceeded),
    }
}

/// Refuses a request because there were too many refused ones from its address.
fn too_many(gateway: &Gateway, peer: SocketAddr, exceeded: &Exceeded) -> Response<Body> {
    note(gateway, "flood", peer);
    let error = RpcError {
        code: RATE_LIMITED,
        message: "too many refused requests from this address; try again later".to_owned(),
        data: None,
        status: StatusCode::TOO_MANY_REQUESTS.as_u16(),
    };
    respond(Reply { retry_after: Some(exceeded.retry_after), ..Reply::error(None, &error) })
}

/// Counts a request that was turned away before any decision, and leaves an entry about
/// it if its address has not had too many; says whether it did.
fn note(gateway: &Gateway, reason: &'static str, peer: SocketAddr) -> bool {
    gateway.metrics.refused(reason);
    if !gateway.strangers.has_entry(peer.ip(), reason) {
        gateway.metrics.unrecorded();
        return false;
    }
    gateway.refused(EventRecord { reason, ip: Some(peer.ip()), ..EventRecord::default() });
    true
}

/// Leaves one entry for each address whose refusals did not all get their own.
pub(super) fn note_left_out(gateway: &Gateway, at_once: bool) {
    for left_out in gateway.strangers.end_window(at_once) {
        let detail = Some(left_out.detail.as_str());
        gateway.refused(EventRecord {
            reason: "left_out",
            ip: left_out.network,
            detail,
            ..EventRecord::default()
        });
    }
}
