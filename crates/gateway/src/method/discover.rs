//! `server/discover`, and what `initialize` shares with it: how the gateway
//! describes itself on each endpoint.

use std::time::Duration;

use doorward_model::json::{push_string, quoted};
use doorward_wire::{Revision, RpcError};

use super::offer::{self, Offer};
use crate::pipeline::Asked;
use crate::reply::Reply;
use crate::surface::Surface;
use crate::turned_away::Reason;
use crate::view;

/// How long the introduction waits for servers that nobody has needed so far. Those that
/// do not answer by then may have anything.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The same for the endpoint of one server, which has nothing to say without it. Clients have been
/// seen to give up after ten seconds.
const ALONE_WITHIN: Duration = Duration::from_secs(8);

/// An endpoint as it describes itself.
pub(crate) struct Described {
    /// `capabilities`, JSON text.
    pub capabilities: String,
    /// `serverInfo`, JSON text.
    pub info: String,
    /// `instructions`.
    pub instructions: Option<String>,
}

/// Answers `server/discover`.
pub(crate) async fn discover(mut asked: Box<Asked<'_>>) -> Reply {
    let id = asked.request.id.raw();
    let Some(server) = described(&mut asked).await else {
        asked.gateway.turned_away(Reason::UnknownPath, asked.incoming.arrival.ip);
        return Reply::error(Some(id), &no_such_server());
    };
    let mut result = String::from(r#"{"resultType":"complete","supportedVersions":["#);
    for (at, revision) in Revision::ALL.into_iter().enumerate() {
        if at > 0 {
            result.push(',');
        }
        push_string(&mut result, revision.as_str());
    }
    result.push_str(r#"],"capabilities":"#);
    result.push_str(&server.capabilities);
    if let Some(instructions) = &server.instructions {
        result.push_str(r#","instructions":"#);
        push_string(&mut result, instructions);
    }
    result.push_str(r#","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":"#);
    result.push_str(&server.info);
    result.push_str("}}");
    Reply::result(id, &result)
}

/// The answer for an endpoint of a server that is not there for this caller.
pub(crate) fn no_such_server() -> RpcError {
    RpcError {
        code: doorward_wire::error::INVALID_REQUEST,
        message: "no such server".to_owned(),
        data: None,
        status: 404,
    }
}

/// Describes the endpoint; `None` when its server does not exist for this caller.
pub(crate) async fn described(asked: &mut Asked<'_>) -> Option<Described> {
    let version = quoted(&asked.gateway.settings.version);
    let surface = asked.incoming.arrival.surface.clone();
    let name = match &surface {
        // The name by which existing client configurations know the meta tools.
        Surface::Gateway => "mcp-gateway",
        Surface::Aggregate | Surface::Server(_) => "doorward",
    };
    let info = format!(r#"{{"name":"{name}","title":"Doorward","version":{version}}}"#);
    match &surface {
        Surface::Gateway => Some(Described {
            capabilities: r#"{"tools":{"listChanged":true}}"#.to_owned(),
            info,
            instructions: None,
        }),
        Surface::Aggregate => {
            view::refresh_within(asked, ANSWERS_WITHIN).await;
            Some(Described {
                capabilities: Offer::of(asked).to_json(asked.era()),
                info,
                instructions: Some(offer::instructions(asked)),
            })
        }
        Surface::Server(id) => {
            let server = asked.snapshot.registry.server(id.as_str())?;
            if !asked.snapshot.reaches(asked.caller, server) {
                return None;
            }
            view::refresh_within(asked, ALONE_WITHIN).await;
            let listing = asked.snapshot.registry.listing(id, &asked.declared);
            let is_visible = !view::servers(asked).is_empty();
            let offer = match asked.snapshot.offer(id, &asked.declared) {
                Some(offer) => offer,
                // Whatever it turns out to have, no client looks for what was never declared.
                None if is_visible => Offer::of(asked),
                None => Offer::default(),
            };
            let visible = listing.filter(|_| is_visible);
            Some(Described {
                capabilities: offer.to_json(asked.era()),
                info,
                instructions: visible
                    .and_then(|listing| listing.catalog.instructions.as_deref())
                    .map(str::to_owned),
            })
        }
    }
}
