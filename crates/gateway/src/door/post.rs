//! `POST`: one message, judged, and answered as JSON or as a stream of events.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::{Caller, Space};
use doorward_wire::Era;
use doorward_wire::message::{Message, Request as RpcRequest};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming as HyperBody;
use tokio::sync::mpsc;

use super::admit::note_of;
use super::collect::{NoBody, collect};
use super::media::negotiate;
use super::respond::{event_stream, events, plain, respond};
use super::tell::{self, Cause, tell};
use super::{Body, CallStream, ListenStream, Pending};
use crate::batch;
use crate::gateway::Gateway;
use crate::method;
use crate::pipeline::Asked;
use crate::receive::{self, Arrival, Carrier, Incoming};
use crate::reply::Reply;
use crate::session::Session;
use crate::surface::Surface;

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
        Err(response) => return *response,
    };
    let (parts, body) = request.into_parts();
    let mut space = gateway.settings.room.space();
    let body = match collect(body, gateway.settings.max_body, &mut space).await {
        Ok(body) => body,
        Err(why) => return unread(&gateway, peer, &caller, &why),
    };
    if gateway.shares.is_full(&caller) {
        return unread(&gateway, peer, &caller, &NoBody::NoRoom);
    }
    let session = match session(&gateway, &caller, &surface, &parts.headers).await {
        Ok(session) => session,
        Err(reply) => return respond(reply),
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
        return answered(Pending::new(Box::pin(batch::answer(gateway, caller, arrival, body)), true, space))
            .await;
    }
    let incoming = match receive::receive(body, arrival, &gateway, received, started) {
        Ok(incoming) => incoming,
        Err(unreadable) => {
            note_of(&gateway, "malformed", peer, &caller);
            return respond(unreadable.reply());
        }
    };
    if incoming.listens
        && let Ok(Message::Request(message)) = Message::read(&incoming.document)
    {
        gateway.metrics.came(&message.method);
        return Box::pin(subscribe(&gateway, &caller, &incoming, message, can_stream)).await;
    }
    if incoming.streams {
        return converse(gateway, caller, incoming, space).await;
    }
    answered(work(gateway, caller, incoming, space, None, None)).await
}

/// The answer in one piece.
async fn answered(mut pending: Pending) -> Response<Body> {
    respond(std::future::poll_fn(|cx| pending.poll(cx)).await)
}

/// The answer to a body that could not be read.
fn unread(gateway: &Gateway, peer: SocketAddr, caller: &Caller, why: &NoBody) -> Response<Body> {
    match why {
        NoBody::NoRoom => {
            note_of(gateway, "overloaded", peer, caller);
            respond(Reply::overloaded())
        }
        NoBody::TooLarge => {
            note_of(gateway, "too_large", peer, caller);
            plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than this gateway accepts")
        }
        NoBody::Lost => plain(StatusCode::REQUEST_TIMEOUT, "the body broke off or took too long"),
    }
}

/// The session whose ticket the request shows, if it shows one.
async fn session(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    surface: &Surface,
    headers: &HeaderMap,
) -> Result<Option<Arc<Session>>, Reply> {
    match receive::ticket(headers) {
        Ok(Some(ticket)) => {
            gateway.session(ticket, caller, surface).await.map_err(|error| Reply::later(None, &error))
        }
        Ok(None) => Ok(None),
        Err(error) => Err(Reply::error(None, &error)),
    }
}

/// Answers a client that takes a stream: with one as soon as there is something to say before
/// the answer, or a place to come back to is worth having; with JSON otherwise.
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
        () = tokio::time::sleep(PRIME_AFTER), if primes => Cause::Slow,
    };
    match (session, cause) {
        (Some(session), cause) => events(tell(&gateway, &session, pending, notifications, hang_ups, cause)),
        (None, Cause::Said(first)) => {
            event_stream(Body::Call(Box::new(CallStream::new(pending, notifications, first))))
        }
        (None, Cause::HungUp(_) | Cause::Slow) => answered(pending).await,
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
