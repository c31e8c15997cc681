//! `POST`: one message, judged, and answered as JSON or as a stream of events.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::shared::Unshared;
use doorward_model::{Caller, Space};
use doorward_wire::message::{Message, Request as RpcRequest};
use doorward_wire::{Era, RpcError};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming as HyperBody;
use tokio::sync::mpsc;

use super::body::QUIET;
use super::collect::{NoBody, collect};
use super::media::negotiate;
use super::refuse::refuse_of;
use super::respond::{event_stream, events, plain, respond};
use super::tell::{self, Cause, tell};
use super::{Body, CallStream, EventStream, ListenStream, Pending};
use crate::batch;
use crate::gateway::Gateway;
use crate::method;
use crate::pipeline::Asked;
use crate::receive::{self, Arrival, Carrier, Incoming};
use crate::reply::Reply;
use crate::session::Session;
use crate::surface::Surface;
use crate::turned_away::Reason;

/// How long a call may take before its stream is opened, so that the client has a place to
/// come back to should its connection break.
const PRIME_AFTER: Duration = Duration::from_millis(500);

/// Notifications of one call that may wait while the client reads.
const NOTIFICATIONS: usize = 32;

/// Reads one message, or a batch of them, and answers it.
pub(super) async fn post(
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
        Err(answer) => return refuse_of(&gateway, peer, &caller, Reason::MediaType, *answer),
    };
    let (parts, body) = request.into_parts();
    let mut space = gateway.settings.room.space();
    let body = match collect(body, gateway.settings.max_body, &parts.headers, &mut space).await {
        Ok(body) => body,
        Err(why) => return unread(&gateway, peer, &caller, &why),
    };
    if gateway.shares.is_full(&caller) {
        return unread(&gateway, peer, &caller, &NoBody::NoRoom);
    }
    let session = match session(&gateway, &caller, &surface, &parts.headers).await {
        Ok(session) => session,
        Err(Unfound::Shared(error)) => return respond(Reply::later(None, &error)),
        Err(Unfound::Ticket(error)) => {
            let answer = respond(Reply::error(None, &error));
            return refuse_of(&gateway, peer, &caller, Reason::Malformed, answer);
        }
    };
    let arrival = Arrival {
        surface,
        origin: "mcp",
        ip: Some(peer.ip()),
        carrier: Carrier::Http(Arc::new(parts.headers), session),
        can_stream,
    };
    if batch::is_one(&body) {
        // Only sessions have batches, and what they ask for goes on without its client.
        let pending = Pending::new(Box::pin(batch::answer(gateway, caller, arrival, body)), true, space);
        return if can_stream { patiently(pending).await } else { answered(pending).await };
    }
    let incoming = match receive::receive(body, arrival, &gateway, received, started) {
        Ok(incoming) => incoming,
        Err(unreadable) => {
            return refuse_of(&gateway, peer, &caller, unreadable.reason(), respond(unreadable.reply()));
        }
    };
    if incoming.listens
        && let Ok(Message::Request(message)) = Message::read(&incoming.document)
    {
        gateway.metrics.came(&message.method);
        return Box::pin(subscribe(&gateway, &caller, &incoming, message, peer, can_stream)).await;
    }
    if incoming.streams {
        return converse(gateway, caller, incoming, space).await;
    }
    // The answer to `initialize` has a header, which a stream would have sent before it is known.
    let can_wait = can_stream && incoming.is_request() && !incoming.opens_session();
    let pending = work(gateway, caller, incoming, space, None, None);
    if can_wait { patiently(pending).await } else { answered(pending).await }
}

/// The answer in one piece, or, if it takes long, on a stream that shows meanwhile that somebody is
/// there: balancers cut connections on which nothing is said.
async fn patiently(mut pending: Pending) -> Response<Body> {
    match tokio::time::timeout(QUIET, std::future::poll_fn(|cx| pending.poll(cx))).await {
        Ok(reply) => respond(reply),
        Err(_) => event_stream(Body::Call(Box::new(CallStream::quiet(pending)))),
    }
}

/// The answer in one piece.
async fn answered(mut pending: Pending) -> Response<Body> {
    respond(std::future::poll_fn(|cx| pending.poll(cx)).await)
}

/// The answer to a body that could not be read.
fn unread(gateway: &Gateway, peer: SocketAddr, caller: &Caller, why: &NoBody) -> Response<Body> {
    let (reason, answer) = match why {
        NoBody::NoRoom => (Reason::Overloaded, respond(Reply::overloaded())),
        NoBody::TooLarge => {
            let text = "the body is larger than this gateway accepts";
            (Reason::TooLarge, plain(StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        NoBody::Lost => {
            (Reason::BrokenOff, plain(StatusCode::REQUEST_TIMEOUT, "the body broke off or took too long"))
        }
    };
    refuse_of(gateway, peer, caller, reason, answer)
}

/// Why there is no telling whether a request has a session.
enum Unfound {
    /// What it shows is no ticket.
    Ticket(RpcError),
    /// Whether the session is open cannot be asked at the moment.
    Shared(Unshared),
}

/// The session whose ticket the request shows, if it shows one.
async fn session(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    surface: &Surface,
    headers: &HeaderMap,
) -> Result<Option<Arc<Session>>, Unfound> {
    match receive::ticket(headers) {
        Ok(Some(ticket)) => gateway.session(ticket, caller, surface).await.map_err(Unfound::Shared),
        Ok(None) => Ok(None),
        Err(error) => Err(Unfound::Ticket(error)),
    }
}

/// Answers a client that takes a stream: with one as soon as there is something to say before
/// the answer, a place to come back to is worth having, or it takes long; with JSON otherwise.
async fn converse(
    gateway: Arc<Gateway>,
    caller: Arc<Caller>,
    incoming: Incoming,
    space: Space,
) -> Response<Body> {
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
        () = tokio::time::sleep(if primes { PRIME_AFTER } else { QUIET }) => Cause::Slow,
    };
    match (session, cause) {
        (Some(session), cause) => {
            // One that opens with its place says something at once.
            let is_quiet = matches!(cause, Cause::Slow) && !primes;
            let told = tell(&gateway, &session, pending, notifications, hang_ups, cause);
            match is_quiet {
                true => event_stream(Body::Events(Box::new(EventStream::quiet(told)))),
                false => events(told),
            }
        }
        (None, Cause::Said(first)) => {
            event_stream(Body::Call(Box::new(CallStream::new(pending, notifications, Some(first)))))
        }
        (None, Cause::HungUp(_) | Cause::Slow) => {
            event_stream(Body::Call(Box::new(CallStream::new(pending, notifications, None))))
        }
    }
}

/// Sets a call in motion. Apart, so that its state is made on the heap at once and no
/// request has to move it about.
fn work(
    gateway: Arc<Gateway>,
    caller: Arc<Caller>,
    incoming: Incoming,
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
    incoming: &Incoming,
    message: RpcRequest<'_>,
    peer: SocketAddr,
    can_stream: bool,
) -> Response<Body> {
    if !can_stream {
        let text = "subscriptions/listen answers with text/event-stream";
        let answer = plain(StatusCode::NOT_ACCEPTABLE, text);
        return refuse_of(gateway, peer, caller, Reason::MediaType, answer);
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
