//! `server/discover`, and what `initialize` shares with it: how the gateway
//! describes itself on each endpoint.

use doorward_model::json::{Document, Limits, Numbers, push_string, quoted};
use doorward_wire::{Era, Revision, RpcError};

use crate::pipeline::Asked;
use crate::reply::Reply;
use crate::surface::Surface;
use crate::view;

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
pub(crate) async fn discover(mut asked: Asked<'_>) -> Reply {
    let id = asked.request.id.raw();
    let Some(server) = described(&mut asked).await else { return Reply::error(Some(id), &no_such_server()) };
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
            let instructions = "Tools are named <server>__<tool>. Every call is decided by policy before it runs; \
                                a refusal says why and repeating it does not help.";
            Some(Described {
                capabilities: AGGREGATE.replace(LOGGING, logging(asked.era())),
                info,
                instructions: Some(instructions.to_owned()),
            })
        }
        Surface::Server(id) => {
            let server = asked.snapshot.registry.server(id.as_str())?;
            if !asked.snapshot.reaches(asked.caller, server) {
                return None;
            }
            view::refresh(asked).await;
            let catalog = asked.snapshot.registry.catalog(id);
            let offered = catalog.map(|catalog| catalog.capabilities.clone()).unwrap_or_default();
            let visible = catalog.filter(|_| !view::servers(asked).is_empty());
            Some(Described {
                capabilities: mirrored(offered, asked.era()),
                info,
                instructions: visible.and_then(|catalog| catalog.instructions.as_deref()).map(str::to_owned),
            })
        }
    }
}

const LOGGING: &str = "LOGGING";

/// Whatever servers come and go behind the aggregate, these methods are answered;
/// an empty list is an answer.
const AGGREGATE: &str = r#"{"tools":{"listChanged":true},"resources":{"listChanged":true},"prompts":{"listChanged":true},"completions":{}LOGGING}"#;

/// Legacy clients must see the capability before they may set a level; modern ones
/// ask request by request.
fn logging(era: Era) -> &'static str {
    if era == Era::Legacy { r#","logging":{}"# } else { "" }
}

/// A server's capabilities as far as the gateway relays them.
fn mirrored(offered: bytes::Bytes, era: Era) -> String {
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let document = Document::parse(offered, &limits).ok();
    let has = |key: &str| document.as_ref().is_some_and(|document| document.root().get(key).is_some());
    let mut out = String::from("{");
    for (key, value) in [
        ("tools", r#"{"listChanged":true}"#),
        ("resources", r#"{"listChanged":true}"#),
        ("prompts", r#"{"listChanged":true}"#),
        ("completions", "{}"),
        ("logging", "{}"),
    ] {
        if !has(key) || (key == "logging" && era == Era::Modern) {
            continue;
        }
        if out.len() > 1 {
            out.push(',');
        }
        push_string(&mut out, key);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}
