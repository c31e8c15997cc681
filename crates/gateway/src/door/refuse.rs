//! The answers of requests that are turned away at the door. Each of them is counted and, as far as its
//! address has entries left, recorded: nothing here answers without.

use std::net::SocketAddr;

use doorward_ledger::EventRecord;
use doorward_model::Caller;
use http::header::{ALLOW, CONNECTION, HeaderValue};
use http::{Response, StatusCode};

use super::Body;
use super::respond::{plain, respond};
use crate::gateway::Gateway;
use crate::receive;
use crate::reply::Reply;
use crate::turned_away::Reason;

/// Turns a request away with this answer.
pub(super) fn refuse(
    gateway: &Gateway,
    peer: SocketAddr,
    reason: Reason,
    answer: Response<Body>,
) -> Response<Body> {
    gateway.turned_away(reason, Some(peer.ip()));
    answer
}

/// The same for a request of a caller that is known.
pub(super) fn refuse_of(
    gateway: &Gateway,
    peer: SocketAddr,
    caller: &Caller,
    reason: Reason,
    answer: Response<Body>,
) -> Response<Body> {
    let event = EventRecord { grant: Some(&caller.grant.id), ..EventRecord::default() };
    gateway.turned_away_as(reason, Some(peer.ip()), event);
    answer
}

/// Nothing is served on this path.
pub(super) fn unknown_path(gateway: &Gateway, peer: SocketAddr) -> Response<Body> {
    let text = "nothing here; MCP is served on /mcp, /mcp/{server} and /mcp/_gateway";
    refuse(gateway, peer, Reason::UnknownPath, plain(StatusCode::NOT_FOUND, text))
}

/// The path has no such method.
pub(super) fn not_allowed(gateway: &Gateway, peer: SocketAddr) -> Response<Body> {
    let text = "use POST; GET and DELETE need an Mcp-Session-Id";
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    refuse(gateway, peer, Reason::HttpMethod, answer)
}

/// What was shown is no session, or none of this caller's.
pub(super) fn no_session(gateway: &Gateway, peer: SocketAddr) -> Response<Body> {
    let answer = respond(Reply::error(None, &receive::no_session()));
    refuse(gateway, peer, Reason::NoSession, answer)
}

/// The body is packed in a way that is not unpacked here. Where it ends, two readers might not agree,
/// so the connection ends with it (RFC 9112, section 6.1).
pub(super) fn transfer_coding(gateway: &Gateway, peer: SocketAddr) -> Response<Body> {
    let text = "the only transfer coding that is understood is chunked";
    let mut answer = plain(StatusCode::NOT_IMPLEMENTED, text);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    refuse(gateway, peer, Reason::TransferCoding, answer)
}
