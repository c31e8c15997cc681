//! Skills: instructions for models, which a server has as files (the extension
//! `io.modelcontextprotocol/skills`, SEP-2640).
//!
//! They are served on the endpoint of one server, to clients of 2026-07-28, and stay as
//! the server wrote them: digests cover every byte. A skill is decided on by its URI, like
//! a resource. `skills/get` and `resources/directory/read` are calls, with a decision and a
//! record; the list names what these would be allowed to give.

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, push_string, quoted};
use doorward_model::{Operation, ServerId};
use doorward_upstream::Call;
use doorward_wire::error::{INTERNAL, INVALID_PARAMS};
use doorward_wire::log::Logs;
use doorward_wire::{Era, RpcError, adapt};

use crate::method::Offer;
use crate::pipeline::{self, Asked};
use crate::reply::Reply;
use crate::stage::send::identity;
use crate::surface::Surface;
use crate::view::{self, View};
use crate::{answer, handle};

/// The extension.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/skills";
/// What cursors of these lists are handles of.
const CURSOR: &str = "skills";

/// Answers a request of the extension.
pub(crate) async fn request(mut asked: Box<Asked<'_>>) -> Reply {
    let (id, method) = (asked.request.id.raw().to_owned(), asked.request.method.clone());
    let Some(server) = server(&mut asked).await else {
        return Reply::error(Some(&id), &RpcError::unknown_method(&method, asked.era()));
    };
    match Operation::from_method(&method) {
        Some(operation) => pipeline::call(asked, operation).await.into_reply(&id, Era::Modern, operation),
        None => match list(&asked, &server).await {
            Ok(result) => Reply::result(&id, &result),
            Err(error) => Reply::error(Some(&id), &error),
        },
    }
}

/// The server whose skills are meant, if the caller may have any of it. One that does not
/// answer may have skills: then the call fails, and says why.
async fn server(asked: &mut Asked<'_>) -> Option<ServerId> {
    let Surface::Server(id) = asked.incoming.arrival.surface.clone() else { return None };
    view::refresh(asked).await;
    View::of(asked).servers().next()?;
    asked.snapshot.offer(&id, &asked.declared).is_none_or(Offer::has_skills).then_some(id)
}

/// A page of the server's list, with what the caller may have.
async fn list(asked: &Asked<'_>, server: &ServerId) -> Result<String, RpcError> {
    let known = identity(asked);
    let call = Call {
        method: "skills/list",
        members: cursor(asked, server)?,
        meta: &known.meta,
        affinity: known.affinity,
        caller: Some(asked.caller),
        client_info: &known.client_info,
        capabilities: &known.capabilities,
        logs: Logs::None,
        ..Call::default()
    };
    let answer = asked.gateway.upstreams.call(server, call).await;
    let answer = answer.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))?;
    // Of answers, only the outermost members are known.
    let page = answer.message.slice(answer::result(&answer)?);
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let page = Document::parse(page, &limits);
    let page = page.map_err(|error| RpcError::answer(INTERNAL, format!("the server's answer: {error}")))?;
    let result = page.root();
    let mut add = format!(r#""skills":[{}]"#, visible(asked, result).join(","));
    if let Some(next) = result.get("nextCursor").and_then(Value::as_str)
        && let Some(sealed) = handle::seal(asked, CURSOR, &[server.as_str(), address(asked, server), &next])
    {
        add.push_str(r#","nextCursor":"#);
        push_string(&mut add, &sealed);
    }
    if result.get("resultType").is_none() {
        add.push_str(r#","resultType":"complete""#);
    }
    add.push(',');
    add.push_str(&adapt::caching(result));
    Ok(adapt::splice(result, &["skills", "nextCursor", "ttlMs", "cacheScope"], &add).into_owned())
}

/// The skills of a page that this caller may have, as the server wrote them.
fn visible<'a>(asked: &Asked<'_>, result: Value<'a>) -> Vec<&'a str> {
    let view = View::of(asked);
    let Some(server) = view.servers().next() else { return Vec::new() };
    let skills = result.get("skills").into_iter().flat_map(Value::items);
    let is_shown = |skill: &Value<'_>| {
        let uri = skill.get("uri").and_then(Value::as_str);
        uri.is_some_and(|uri| view.names(server, Operation::SkillsGet, &uri))
    };
    skills.filter(is_shown).map(|skill| skill.raw()).collect()
}

/// Stands for where the server is: another that was given its id knows none of its cursors.
fn address<'a>(asked: &'a Asked<'_>, server: &ServerId) -> &'a str {
    asked.snapshot.registry.server(server.as_str()).map_or("", |server| &server.address)
}

/// `cursor`, as the server knows it: the members of the request's params.
fn cursor(asked: &Asked<'_>, server: &ServerId) -> Result<Bytes, RpcError> {
    let Some(cursor) = asked.request.params.and_then(|params| params.get("cursor")) else {
        return Ok(Bytes::new());
    };
    let sealed = cursor.as_str().unwrap_or_default();
    match handle::open(asked, CURSOR, &sealed).as_deref() {
        Some([of, at, own]) if of == server.as_str() && at == address(asked, server) => {
            Ok(format!(r#""cursor":{}"#, quoted(own)).into())
        }
        _ => Err(RpcError::answer(INVALID_PARAMS, "Invalid cursor")),
    }
}
