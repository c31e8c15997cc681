//! One HTTP request: guarded, routed, identified, answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use doorward_model::Caller;
use http::header::{ALLOW, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming as HyperBody;

use super::Body;
use super::admit::{let_in, turn_away};
use super::cors;
use super::media::accepts;
use super::post::post;
use super::refuse::{no_session, not_allowed, refuse, transfer_coding, unknown_path};
use super::respond::{events, plain, respond};
use crate::gateway::Gateway;
use crate::ops::{self, Route};
use crate::receive::{self, LAST_EVENT};
use crate::reply::Reply;
use crate::session::stream::Left;
use crate::snapshot::Snapshot;
use crate::stage::identify::presented;
use crate::standpoint::{Credential, Standpoint};
use crate::surface::Surface;
use crate::turned_away::Reason;

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
    if is_packed(request.headers()) {
        let client = front.peers.client(peer.ip(), request.headers());
        return transfer_coding(&gateway, SocketAddr::new(client, peer.port()));
    }
    // Whoever looks after the machine asks how it is from anywhere.
    let is_own = peer.ip().to_canonical() == bound;
    if !is_own && !front.peers.may_connect(peer.ip()) && !matches!(route, Some(Route::Health | Route::Ready))
    {
        return turn_away(&gateway, Reason::Address, peer, "requests are taken from the proxy only");
    }
    let peer = SocketAddr::new(front.peers.client(peer.ip(), request.headers()), peer.port());
    if !front.peers.admits(peer.ip()) {
        return turn_away(&gateway, Reason::Address, peer, "this address is not let in");
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if let Err(foreign) = front.guard.check(bound, request.headers(), authority) {
        return turn_away(&gateway, Reason::Foreign, peer, &foreign.to_string());
    }
    if let Some(route) = route {
        let is_here = is_here(bound, peer, request.headers());
        return operations(&gateway, &snapshot, route, is_here, peer, &request).await;
    }
    let Some(surface) = Surface::from_path(request.uri().path()) else {
        return unknown_path(&gateway, peer);
    };
    let page = front.guard.listed(request.headers()).cloned();
    if page.is_some() && cors::is_preflight(&request) {
        return cors::grant(page, cors::preflight(request.headers()));
    }
    let response = mcp(gateway, snapshot, surface, peer, request).await;
    cors::grant(page, response)
}

/// What whoever looks after the machine asks.
async fn operations(
    gateway: &Gateway,
    snapshot: &Snapshot,
    route: Route,
    is_here: bool,
    peer: SocketAddr,
    request: &Request<HyperBody>,
) -> Response<Body> {
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refuse(gateway, peer, Reason::HttpMethod, answer);
    }
    let presented = presented(request.headers());
    match route {
        Route::Health => ops::answer(gateway, route, false),
        _ if is_here => ops::answer(gateway, route, true),
        // Who only wants to know whether it is ready need not say who it is.
        Route::Ready if presented.bearer.is_none() => ops::answer(gateway, route, false),
        Route::Ready | Route::Metrics => {
            match let_in(gateway, &snapshot.rulebook.authenticator, peer, presented).await {
                Ok(caller) if ops::may_read(&caller) => ops::answer(gateway, route, true),
                Ok(_) if route == Route::Ready => ops::answer(gateway, route, false),
                Ok(_) => {
                    let answer = plain(StatusCode::FORBIDDEN, "this needs the scope audit.read");
                    refuse(gateway, peer, Reason::Scope, answer)
                }
                Err(response) => *response,
            }
        }
    }
}

/// MCP, on one of its surfaces.
async fn mcp(
    gateway: Arc<Gateway>,
    snapshot: Arc<Snapshot>,
    surface: Surface,
    peer: SocketAddr,
    request: Request<HyperBody>,
) -> Response<Body> {
    let presented = presented(request.headers());
    let caller = match let_in(&gateway, &snapshot.rulebook.authenticator, peer, presented).await {
        Ok(caller) => caller,
        Err(response) => return *response,
    };
    // A call is judged by what is in force when it has been read.
    drop(snapshot);
    match *request.method() {
        Method::POST => post(gateway, caller, surface, peer, request).await,
        Method::GET => listen(&gateway, &caller, surface, peer, request.headers()).await,
        Method::DELETE => delete(&gateway, &caller, &surface, peer, request.headers()).await,
        _ => not_allowed(&gateway, peer),
    }
}

/// Whether its body is packed for the way in any other manner than in chunks.
fn is_packed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return false };
    codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Whether this was asked on this machine, as far as anybody can tell: a proxy here that nobody
/// told the gateway of says for whom it asks.
fn is_here(bound: IpAddr, peer: SocketAddr, headers: &HeaderMap) -> bool {
    let is_passed_on = ["x-forwarded-for", "forwarded"].iter().any(|name| headers.contains_key(*name));
    (peer.ip().to_canonical() == bound || peer.ip().to_canonical().is_loopback()) && !is_passed_on
}

/// `GET`: the stream for messages that belong to no request, in the legacy era.
async fn listen(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    surface: Surface,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Response<Body> {
    let ticket = match receive::ticket(headers) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => return not_allowed(gateway, peer),
        Err(error) => {
            return refuse(gateway, peer, Reason::Malformed, respond(Reply::error(None, &error)));
        }
    };
    if !accepts(headers, "text", "event-stream") {
        let answer = plain(StatusCode::NOT_ACCEPTABLE, "GET opens a text/event-stream; say so in Accept");
        return refuse(gateway, peer, Reason::MediaType, answer);
    }
    let session = match gateway.session(ticket, caller, &surface).await {
        Ok(Some(session)) => session,
        Ok(None) => return no_session(gateway, peer),
        Err(error) => return respond(Reply::later(None, &error)),
    };
    let standpoint = Standpoint {
        caller: Arc::clone(caller),
        credential: Credential::of(presented(headers)),
        surface,
        ip: Some(peer.ip()),
        origin: "mcp",
        client: session.opening.client.clone(),
        declared: session.opening.abilities.declared(),
    };
    gateway.sees(&session, standpoint);
    let left = headers.get(&LAST_EVENT).filter(|_| session.resumes());
    let stream = match left.map(|id| id.to_str().ok().and_then(Left::read)) {
        None => Some(gateway.news(&session).await),
        Some(Some(left)) => gateway.resume(&session, left).await,
        Some(None) => None,
    };
    match stream {
        Some(stream) => events(stream),
        None => {
            let text = "nothing is kept of the stream that Last-Event-ID names";
            refuse(gateway, peer, Reason::NoSession, plain(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// `DELETE`: ends a session.
async fn delete(
    gateway: &Arc<Gateway>,
    caller: &Arc<Caller>,
    surface: &Surface,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Response<Body> {
    let ticket = match receive::ticket(headers) {
        Ok(Some(ticket)) => ticket,
        Ok(None) => return not_allowed(gateway, peer),
        Err(error) => {
            return refuse(gateway, peer, Reason::Malformed, respond(Reply::error(None, &error)));
        }
    };
    let session = match gateway.session(ticket, caller, surface).await {
        Ok(Some(session)) => session,
        Ok(None) => return no_session(gateway, peer),
        Err(error) => return respond(Reply::later(None, &error)),
    };
    gateway.end_session(&session).await;
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
