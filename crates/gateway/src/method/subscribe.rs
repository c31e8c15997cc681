//! `resources/subscribe` and `resources/unsubscribe`, for the legacy era.

use doorward_model::Operation;
use doorward_wire::error::INVALID_PARAMS;
use doorward_wire::{Era, RpcError};

use crate::pipeline::{self, Asked};
use crate::reply::Reply;
use crate::session::replicas::Tidings;
use crate::standpoint::Standpoint;
use crate::surface::Surface;

/// Subscribes the session to a resource.
pub(crate) async fn subscribe(asked: Box<Asked<'_>>) -> Reply {
    let (id, era) = (asked.request.id.raw().to_owned(), asked.era());
    let Some(session) = asked.incoming.session.clone() else { return unknown(&id, "resources/subscribe") };
    if asked.incoming.arrival.surface == Surface::Gateway {
        return unknown(&id, "resources/subscribe");
    }
    let uri = uri(&asked).unwrap_or_default();
    let limit = asked.gateway.settings.streams.resources;
    if !session.news.has_room(&uri, limit) {
        let message = format!("too many subscriptions; {limit} is the most for one session");
        return Reply::error(Some(&id), &RpcError::answer(-32_000, message));
    }
    asked.gateway.sees(&session, Standpoint::of(&asked));
    let patience = asked.gateway.settings.start_wait;
    let (gateway, mailbox) = (std::sync::Arc::clone(asked.gateway), asked.gateway.mailbox_of(&session));
    match pipeline::subscribe(asked, patience, &mailbox, || session.standpoint()).await {
        Ok(held) => {
            // One replica watches for a session, so that it hears of each update once.
            gateway.let_others_know(&session.id, Tidings::Unwatched(&uri));
            session.news.subscribe(uri, held);
            Reply::result(&id, "{}")
        }
        Err(settled) => settled.into_reply(&id, era, Operation::ResourcesSubscribe),
    }
}

/// Ends a subscription. That there is none is no error.
pub(crate) fn unsubscribe(asked: &Asked<'_>) -> Reply {
    let id = asked.request.id.raw();
    match (uri(asked), &asked.incoming.session) {
        (Some(uri), Some(session)) => {
            session.news.unsubscribe(&uri);
            asked.gateway.let_others_know(&session.id, Tidings::Unwatched(&uri));
            Reply::result(id, "{}")
        }
        (None, _) => Reply::error(Some(id), &RpcError::answer(INVALID_PARAMS, "params.uri must be a string")),
        (_, None) => unknown(id, "resources/unsubscribe"),
    }
}

fn uri(asked: &Asked<'_>) -> Option<String> {
    let uri = asked.request.params.and_then(|params| params.get("uri"));
    uri.and_then(|uri| uri.as_str()).map(std::borrow::Cow::into_owned)
}

fn unknown(id: &str, method: &str) -> Reply {
    Reply::error(Some(id), &RpcError::unknown_method(method, Era::Legacy))
}
