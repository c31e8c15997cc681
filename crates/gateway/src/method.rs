//! The methods of MCP, one file each, and who handles what.

mod discover;
mod initialize;
mod list;
mod listen;
mod offer;
mod page;
mod subscribe;

use std::sync::Arc;

use doorward_model::{CapabilityKind, Operation};
use doorward_wire::error::{INVALID_PARAMS, INVALID_REQUEST};
use doorward_wire::log::Level;
use doorward_wire::message::Notification;
use doorward_wire::{Era, RpcError};

use crate::allowance;
use crate::gateway::Gateway;
use crate::meta;
use crate::pipeline::{self, Asked};
use crate::receive::Incoming;
use crate::reply::Reply;
use crate::session::replicas::Tidings;
use crate::stage::settle::tool_failed;
use crate::surface::Surface;
use crate::turned_away::Reason;
use crate::{skills, tasks};

pub(crate) use listen::{Listening, listen};
pub(crate) use offer::Offer;

/// Answers a request, whatever its method.
pub(crate) async fn request(asked: Box<Asked<'_>>) -> Reply {
    let session = asked.incoming.session.clone();
    let id = asked.request.id.raw();
    let Some(session) = session else { return dispatch(asked).await };
    // Only sessions have a message that cancels; a modern client hangs up instead.
    let mut running = match session.begin(id, asked.gateway.settings.sessions.requests) {
        Ok(running) => running,
        Err(why) => {
            asked.gateway.turned_away(Reason::Busy, asked.incoming.arrival.ip);
            let error = RpcError::answer(INVALID_REQUEST, why);
            return if asked.request.method == Operation::ToolsCall.as_str() {
                tool_failed(id, asked.era(), &error)
            } else {
                Reply::error(Some(id), &error)
            };
        }
    };
    tokio::select! {
        reply = dispatch(asked) => reply,
        // Nobody waits for the answer of a cancelled request (JSON-RPC in MCP sends none).
        () = running.cancelled() => Reply::accepted(),
    }
}

/// A call is what nearly every request is. The others are put on the heap, so that
/// the state of a call is no larger than it must be.
async fn dispatch(asked: Box<Asked<'_>>) -> Reply {
    let era = asked.era();
    let id = asked.request.id.raw().to_owned();
    let method = asked.request.method.clone();
    if asked.incoming.arrival.surface == Surface::Gateway && method == "tools/call" {
        return Box::pin(meta::call(asked)).await;
    }
    if let Some(operation) = Operation::from_method(&method)
        && !matches!(
            operation,
            Operation::ResourcesSubscribe | Operation::SkillsGet | Operation::DirectoryRead
        )
    {
        return pipeline::call(asked, operation).await.into_reply(&id, era, operation);
    }
    Box::pin(other(asked, &id, &method, era)).await
}

/// Answers everything that is no call.
async fn other(asked: Box<Asked<'_>>, id: &str, method: &str, era: Era) -> Reply {
    if let Err(reply) = allowance::take(&asked) {
        return reply;
    }
    match (method, era) {
        (method, _) if tasks::is_method(method, asked.incoming.revision) => tasks::request(asked).await,
        ("tools/list", _) => list::list(asked, CapabilityKind::Tool).await,
        ("resources/list", _) => list::list(asked, CapabilityKind::Resource).await,
        ("resources/templates/list", _) => list::list(asked, CapabilityKind::ResourceTemplate).await,
        ("prompts/list", _) => list::list(asked, CapabilityKind::Prompt).await,
        ("server/discover", Era::Modern) => discover::discover(asked).await,
        ("skills/list" | "skills/get" | "resources/directory/read", Era::Modern) => {
            skills::request(asked).await
        }
        ("initialize", Era::Legacy) => initialize::initialize(asked).await,
        ("ping", Era::Legacy) => Reply::result(id, "{}"),
        ("resources/subscribe", Era::Legacy) => subscribe::subscribe(asked).await,
        ("resources/unsubscribe", Era::Legacy) => subscribe::unsubscribe(&asked),
        ("logging/setLevel", Era::Legacy) => set_level(&asked).await,
        (method, era) => {
            asked.gateway.turned_away(Reason::UnknownMethod, asked.incoming.arrival.ip);
            Reply::error(Some(id), &RpcError::unknown_method(method, era))
        }
    }
}

async fn set_level(asked: &Asked<'_>) -> Reply {
    let level = asked.request.params.and_then(|params| params.get("level")).and_then(|level| level.as_str());
    match (level.as_deref().and_then(Level::parse), &asked.incoming.session) {
        (Some(level), Some(session)) => {
            session.set_log_level(level);
            asked.gateway.write_down(session).await;
            asked.gateway.let_others_know(&session.id, Tidings::Level(level.as_str()));
            Reply::result(asked.request.id.raw(), "{}")
        }
        _ => {
            let error = RpcError::answer(
                INVALID_PARAMS,
                format!("params.level must be one of {}", Level::ALL.map(Level::as_str).join(", ")),
            );
            Reply::error(Some(asked.request.id.raw()), &error)
        }
    }
}

/// Takes note of a notification. Unknown ones are ignored, as JSON-RPC asks.
pub(crate) fn notification(gateway: &Arc<Gateway>, incoming: &Incoming, notification: &Notification<'_>) {
    tracing::trace!(target: "doorward::wire", method = %notification.method, sessions = gateway.sessions.count());
    let Some(session) = &incoming.session else { return };
    let abilities = &session.opening.abilities;
    if notification.method == "notifications/roots/list_changed" && abilities.announces_roots() {
        gateway.upstreams.roots_changed(&session.id, &abilities.declared());
    }
    if notification.method == "notifications/cancelled"
        && let Some(id) = notification.params.and_then(|params| params.get("requestId"))
        && !session.cancel(id.raw())
    {
        gateway.let_others_know(&session.id, Tidings::Cancelled(id.raw()));
    }
}
