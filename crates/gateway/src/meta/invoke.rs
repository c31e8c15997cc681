//! `call`: any tool by name, through the whole pipeline.

use std::sync::Arc;

use bytes::Bytes;
use doorward_model::json::{Document, ParseError, Value, indented, push_string};
use doorward_model::{CapabilityKind, Decision, Operation, ServerId};
use doorward_registry::Server;
use doorward_wire::message::Message;
use serde_json::json;

use super::{Failure, pretty, text};
use crate::gateway::Gateway;
use crate::pipeline::{self, Asked};
use crate::receive::{Arrival, Incoming};
use crate::session::principal;
use crate::stage::settle::Settled;
use crate::surface::Surface;
use crate::view::{self, View};
use crate::{bounds, exact};

pub(super) async fn call(mut asked: Box<Asked<'_>>, arguments: Option<Value<'_>>) -> Result<String, Failure> {
    let Some(tool) = text(arguments, "tool") else {
        return Err(Failure::Input("`tool` is required".to_owned()));
    };
    let given = text(arguments, "args").unwrap_or("{}".into());
    let taken = || exact::is_taken_by_any(&asked.snapshot);
    let parsed =
        Document::parse_exact_if(Bytes::from(given.into_owned()), &asked.gateway.settings.json, taken);
    let unreadable = |error: &ParseError| Failure::Input(format!("`args` is not a JSON object: {error}"));
    let server = text(arguments, "serverId");
    let (args, beyond) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            refuse(&asked, &tool, server.as_deref()).await?;
            return Err(unreadable(&error));
        }
    };
    if !args.root().is_object() {
        refuse(&asked, &tool, server.as_deref()).await?;
        let plain = || Failure::Input("`args` is not a JSON object".to_owned());
        return Err(beyond.as_ref().map_or_else(plain, unreadable));
    }
    view::refresh(&mut asked).await;
    if server.is_none() && !is_known(&asked, &tool) {
        // One of those that are still starting may have it.
        let patience = asked.gateway.settings.start_wait;
        view::refresh_within(&mut asked, patience).await;
    }
    let Some((surface, name, ambiguous)) = find(&asked, &tool, server.as_deref()) else {
        return match beyond {
            Some(error) => Err(unreadable(&error)),
            None => {
                Ok(pretty(&json!({ "error": format!("Tool \"{tool}\" not found in any registered server") })))
            }
        };
    };
    let settled = run(&asked, surface, &name, args.root().raw(), beyond.as_ref()).await?;
    let mut answer = match settled {
        // Never read: its numbers stay as the server wrote them.
        Settled::Result(result) => {
            let ambiguous = if ambiguous { r#""ambiguous":true,"# } else { "" };
            return Ok(indented(&format!(r#"{{{ambiguous}"result":{result}}}"#)));
        }
        Settled::Denied { decision, record, .. } => {
            recorded(json!({ "denied": true, "error": words(&decision) }), record)
        }
        Settled::Limited { decision, record, resets_at: Some(at), .. } => {
            let error = decision.reasons.first();
            recorded(json!({ "quotaExceeded": true, "error": error, "resetsAt": at.to_string() }), record)
        }
        Settled::Limited { .. } => json!({ "rateLimited": true, "error": "Rate limit exceeded" }),
        Settled::Unknown(_) => match View::of(&asked).denial_of_the_unheard_of().filter(|_| server.is_none())
        {
            // So that what nobody allows, what is hidden and what is not there are one.
            Some(decision) => json!({ "denied": true, "error": words(&decision) }),
            None => json!({ "error": format!("Tool \"{tool}\" not found in any registered server") }),
        },
        Settled::Beyond(error) => return Err(beyond.as_ref().map_or(Failure::Protocol(error), unreadable)),
        Settled::Failed(error) => json!({ "error": error.message }),
        Settled::Unavailable { text, code } => json!({ "error": text, "code": code }),
    };
    if ambiguous {
        answer["ambiguous"] = json!(true);
    }
    Ok(pretty(&answer))
}

/// Adds the id of the record, where the call has one of its own.
fn recorded(mut answer: serde_json::Value, record: Option<String>) -> serde_json::Value {
    if let Some(record) = record {
        answer["record"] = json!(record);
    }
    answer
}

/// Whether some server within reach has a tool of this name.
fn is_known(asked: &Asked<'_>, tool: &str) -> bool {
    let snapshot = &asked.snapshot;
    snapshot.registry.exposed(CapabilityKind::Tool, tool).is_some()
        || view::servers(asked)
            .iter()
            .any(|server| snapshot.offered(&server.id, &asked.declared, CapabilityKind::Tool, tool).is_some())
}

/// Why a call was denied, in the words of the gateway that these tools come from: where no rule
/// decided, whether any spoke of the tool.
fn words(decision: &Decision) -> Option<&String> {
    let theirs = decision.reasons.iter().find(|reason| reason.starts_with("No matching "));
    theirs.or(decision.reasons.first())
}

/// Finds the tool: by `server__tool`, by server and name, or by bare name, where the
/// first server in configuration order that may show it wins.
fn find(asked: &Asked<'_>, tool: &str, server: Option<&str>) -> Option<(Surface, String, bool)> {
    // Whether there is such a server is for the pipeline to say, which records it.
    if let Some(server) = server {
        let server = ServerId::try_from(server).ok()?;
        return Some((Surface::Server(server), tool.to_owned(), false));
    }
    if asked.snapshot.registry.exposed(CapabilityKind::Tool, tool).is_some() {
        return Some((Surface::Aggregate, tool.to_owned(), false));
    }
    let named: Vec<_> = view::servers(asked)
        .into_iter()
        .filter(|server| {
            asked.snapshot.offered(&server.id, &asked.declared, CapabilityKind::Tool, tool).is_some()
        })
        .collect();
    let shown = view::capabilities(asked, CapabilityKind::Tool);
    let allowed = named
        .iter()
        .filter(|server| shown.iter().any(|seen| seen.server.id == server.id && *seen.name == *tool));
    // A tool that a rule denies or hides is still called on the first such server, so that the
    // refusal is recorded with it, and says why if it may. One that nobody allows is not told from
    // one that is not there.
    let count = allowed.clone().count();
    let view = View::of(asked);
    let is_refused = |server: &&Arc<Server>| {
        let listing = asked.snapshot.registry.listing(&server.id, &asked.declared);
        let tool = listing.and_then(|listing| listing.named(CapabilityKind::Tool, tool));
        tool.is_some_and(|tool| view.is_refused_by_rule(tool))
    };
    let chosen = allowed.clone().next().or_else(|| named.iter().find(is_refused));
    let surface = chosen.map_or(Surface::Aggregate, |server| Surface::Server(server.id.clone()));
    Some((surface, tool.to_owned(), count > 1))
}

/// Records a call whose arguments cannot be read: it is refused as a client's own call would be that
/// has something else than an object in their place.
async fn refuse(asked: &Asked<'_>, tool: &str, server: Option<&str>) -> Result<(), Failure> {
    let server = server.and_then(|server| ServerId::try_from(server).ok());
    let surface = server.map_or(Surface::Aggregate, Surface::Server);
    match run(asked, surface, tool, "[]", None).await? {
        // What cannot be recorded is no answer.
        Settled::Failed(error) if error.status == 503 => Err(Failure::Protocol(error)),
        _ => Ok(()),
    }
}

/// Walks the pipeline with a request written for the occasion.
async fn run(
    asked: &Asked<'_>,
    surface: Surface,
    name: &str,
    args: &str,
    beyond: Option<&ParseError>,
) -> Result<Settled, Failure> {
    let mut body = String::from(r#"{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"name":"#);
    push_string(&mut body, name);
    body.push_str(r#","arguments":"#);
    body.push_str(args);
    body.push_str("}}");
    let unreadable = |text: String| Failure::Input(format!("`args` cannot be used: {text}"));
    let parsed =
        Document::parse_exact_if(Bytes::from(body), &asked.gateway.settings.json, || beyond.is_some());
    let (document, _) = parsed.map_err(|error| unreadable(error.to_string()))?;
    let incoming = Incoming {
        document,
        arrival: Arrival { surface, origin: "meta", ..asked.incoming.arrival.clone() },
        revision: asked.incoming.revision,
        // Of another caller's session nothing is used, least of all its sessions with servers.
        session: asked
            .incoming
            .session
            .clone()
            .filter(|session| *session.principal == principal(asked.caller)),
        received: asked.incoming.received,
        started: asked.incoming.started,
        streams: false,
        listens: false,
        unless_exact: beyond.map(|error| Box::new(bounds::beyond(error, &asked.gateway.settings.json))),
    };
    Box::pin(walk(asked.gateway, asked, &incoming)).await.map_err(unreadable)
}

async fn walk(gateway: &Arc<Gateway>, asked: &Asked<'_>, incoming: &Incoming) -> Result<Settled, String> {
    let Ok(Message::Request(request)) = Message::read(&incoming.document) else {
        return Err("it is no request".to_owned());
    };
    let mut inner =
        Asked::new(gateway, asked.caller, incoming, request, None).map_err(|_| "its metadata".to_owned())?;
    // The request written for the occasion has no metadata; the caller's names the trace.
    inner.trace.clone_from(&asked.trace);
    Ok(pipeline::call(inner, Operation::ToolsCall).await)
}
