//! Batches: arrays of messages, which revision 2025-03-26 has and no other.

use std::sync::Arc;

use bytes::Bytes;
use doorward_model::Caller;
use doorward_model::json::{Document, Limits, Numbers};
use doorward_wire::error::{INVALID_REQUEST, PARSE_ERROR};
use doorward_wire::{Revision, RpcError};
use futures_util::future::join_all;

use crate::gateway::Gateway;
use crate::receive::{self, Arrival};
use crate::reply::Reply;
use crate::turned_away::Reason;

/// Most messages of one batch.
const MOST: usize = 50;

/// Whether a body is an array.
pub(crate) fn is_one(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
}

/// Answers every message of a batch, in one array.
pub(crate) async fn answer(
    gateway: Arc<Gateway>,
    caller: Arc<Caller>,
    arrival: Arrival,
    body: Bytes,
) -> Reply {
    let ip = arrival.ip;
    let refuse = |reason, error: &RpcError| {
        gateway.turned_away(reason, ip);
        Reply::error(None, error)
    };
    let messages = match split(body, &gateway.settings.json) {
        Ok(messages) => messages,
        Err(error) => return refuse(Reason::Malformed, &error),
    };
    match arrival.session() {
        Ok(Some(session)) if session.opening.revision == Revision::V2025_03_26 => {}
        Ok(_) => return refuse(Reason::Malformed, &not_here()),
        // Without its session no message of the batch can be answered.
        Err(error) => return refuse(Reason::NoSession, &error),
    }
    let (received, started) = (gateway.clock.now(), gateway.clock.elapsed());
    let mut replies = Vec::new();
    let mut work = Vec::new();
    let mut first = None;
    for message in messages {
        match receive::receive(message, arrival.clone(), &gateway, received, started) {
            Ok(incoming) if incoming.revision == Revision::V2025_03_26 && incoming.session.is_some() => {
                work.push(Arc::clone(&gateway).answer(Arc::clone(&caller), incoming, None, None));
            }
            Ok(_) => return refuse(Reason::Malformed, &not_here()),
            Err(unreadable) => {
                gateway.turned_away(unreadable.reason(), ip);
                replies.push(unreadable.reply());
                first.get_or_insert(unreadable);
            }
        }
    }
    // Where nothing is a message, the whole is none.
    if let Some(first) = first.filter(|first| first.id.is_none() && work.is_empty()) {
        return Reply::error(None, &first.error);
    }
    replies.extend(join_all(work).await);
    let retry_after = replies.iter().filter_map(|reply| reply.retry_after).max();
    let bodies: Vec<_> =
        replies.iter().map(|reply| &reply.body[..]).filter(|body| !body.is_empty()).collect();
    if bodies.is_empty() {
        return Reply::accepted();
    }
    let mut out = vec![b'['];
    out.extend_from_slice(&bodies.join(&b","[..]));
    out.push(b']');
    Reply { status: 200, body: Bytes::from(out), retry_after, session: None }
}

/// The messages of a batch, each as its bytes.
fn split(body: Bytes, limits: &Limits) -> Result<Vec<Bytes>, RpcError> {
    // Numbers are looked at when each message is read; whose they are decides how.
    let limits = Limits { numbers: Numbers::Exact, index_depth: 1, ..*limits };
    let document = Document::parse(body, &limits)
        .map_err(|error| RpcError::bad_request(PARSE_ERROR, format!("Parse error: {error}")))?;
    let messages: Vec<_> = document.root().items().map(|message| document.slice(message)).collect();
    match messages.len() {
        0 => Err(RpcError::bad_request(INVALID_REQUEST, "a batch holds at least one message")),
        1..=MOST => Ok(messages),
        _ => Err(RpcError::bad_request(INVALID_REQUEST, format!("a batch holds at most {MOST} messages"))),
    }
}

fn not_here() -> RpcError {
    RpcError::bad_request(
        INVALID_REQUEST,
        "batches are not supported: only a session of 2025-03-26 has them; send one message a request",
    )
}
