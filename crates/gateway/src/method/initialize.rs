//! `initialize`: opens a session of the legacy era.

use doorward_model::ClientLabel;
use doorward_model::json::push_string;
use doorward_wire::RpcError;
use doorward_wire::error::INVALID_PARAMS;

use super::discover;
use crate::pipeline::{Asked, label};
use crate::receive::Carrier;
use crate::reply::Reply;
use crate::session::{self, Opening};
use crate::standpoint::Standpoint;
use crate::turned_away::Reason;

/// Agrees on a revision and opens the session.
pub(crate) async fn initialize(mut asked: Box<Asked<'_>>) -> Reply {
    let id = asked.request.id.raw();
    let Some(params) = asked
        .request
        .params
        .filter(|params| params.get("protocolVersion").is_some_and(|v| v.as_str().is_some()))
    else {
        let error = RpcError::answer(INVALID_PARAMS, "params.protocolVersion must be a string");
        return Reply::error(Some(id), &error);
    };
    let info = params.get("clientInfo").filter(|info| info.is_object());
    let opening = Opening {
        surface: asked.incoming.arrival.surface.clone(),
        revision: asked.incoming.revision,
        client: info.map_or_else(ClientLabel::default, label),
        client_info: info.map(session::client_info).unwrap_or_default(),
        abilities: params.get("capabilities").map(session::abilities).unwrap_or_default(),
    };
    // In this session, lists will be asked for with what it declares.
    asked.declared = opening.abilities.declared();
    let Some(server) = discover::described(&mut asked).await else {
        asked.gateway.turned_away(Reason::UnknownPath, asked.incoming.arrival.ip);
        return Reply::error(Some(id), &discover::no_such_server());
    };
    let gateway = asked.gateway;
    let Some(session) = gateway.open_session(opening, asked.caller).await else {
        gateway.turned_away(Reason::Busy, asked.incoming.arrival.ip);
        let error = RpcError {
            code: -32_000,
            message: "too many sessions; try again later".to_owned(),
            data: None,
            status: 503,
        };
        return Reply::error(Some(id), &error);
    };
    asked.gateway.sees(&session, Standpoint::of(&asked));
    let mut result = String::from(r#"{"protocolVersion":"#);
    push_string(&mut result, session.opening.revision.as_str());
    result.push_str(r#","capabilities":"#);
    result.push_str(&server.capabilities);
    result.push_str(r#","serverInfo":"#);
    result.push_str(&server.info);
    if let Some(instructions) = &server.instructions {
        result.push_str(r#","instructions":"#);
        push_string(&mut result, instructions);
    }
    result.push('}');
    let mut reply = Reply::result(id, &result);
    match &asked.incoming.arrival.carrier {
        Carrier::Http(..) => reply.session = Some(session.ticket.clone()),
        Carrier::Connection(connection) => *connection.session() = Some(session),
    }
    reply
}
