//! Who is let in, and what is noted of whoever is not.

use std::net::SocketAddr;
use std::sync::Arc;

use doorward_identity::{Authenticator, Presented};
use doorward_ledger::EventRecord;
use doorward_limit::Exceeded;
use doorward_model::Caller;
use doorward_wire::RpcError;
use http::{Response, StatusCode};

use super::Body;
use super::refuse::refuse;
use super::respond::{challenge, plain, respond};
use crate::gateway::Gateway;
use crate::reply::Reply;
use crate::stage::identify::identify;
use crate::stage::settle::RATE_LIMITED;
use crate::turned_away::Reason;

/// Finds out who calls, unless too many from this address turned out to be nobody; see
/// [`Strangers`](super::Strangers).
pub(super) async fn let_in(
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
    let account = authenticator.account(presented, refused);
    let event = EventRecord { detail: Some(&account), ..EventRecord::default() };
    if gateway.turned_away_as(Reason::Unauthenticated, Some(peer.ip()), event) {
        tracing::info!(target: "doorward::identity", %peer, reason = account, "caller refused");
    }
    Err(Box::new(challenge()))
}

/// Refuses a request for where it comes from, or for where it wants to go.
pub(super) fn turn_away(gateway: &Gateway, reason: Reason, peer: SocketAddr, text: &str) -> Response<Body> {
    match gateway.strangers.refused(peer.ip()) {
        Ok(()) => refuse(gateway, peer, reason, plain(StatusCode::FORBIDDEN, text)),
        Err(exceeded) => too_many(gateway, peer, &exceeded),
    }
}

/// Refuses a request because there were too many refused ones from its address.
fn too_many(gateway: &Gateway, peer: SocketAddr, exceeded: &Exceeded) -> Response<Body> {
    let error = RpcError {
        code: RATE_LIMITED,
        message: "too many refused requests from this address; try again later".to_owned(),
        data: None,
        status: StatusCode::TOO_MANY_REQUESTS.as_u16(),
    };
    let reply = Reply { retry_after: Some(exceeded.retry_after), ..Reply::error(None, &error) };
    refuse(gateway, peer, Reason::Flood, respond(reply))
}

/// Leaves one entry for each address whose refusals did not all get their own.
pub(super) fn note_left_out(gateway: &Gateway, at_once: bool) {
    for left_out in gateway.strangers.end_window(at_once) {
        let detail = Some(left_out.detail.as_str());
        gateway.refused(EventRecord {
            reason: "left_out",
            ip: left_out.whose,
            detail,
            ..EventRecord::default()
        });
    }
}
