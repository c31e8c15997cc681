//! Tasks: calls that go on after they were answered with a handle.
//!
//! The two eras have forms of their own, which share the methods' names and nothing else:
//! the core tasks of 2025-11-25, which a client asks for, and the extension
//! `io.modelcontextprotocol/tasks`, which a server decides on. Each is passed on between
//! a client and a server of one era. A handle is sealed and bound to who made the call, so
//! that nobody can look into, answer or end another's task, and no table is needed to find
//! its server.

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, push_string, quoted};
use doorward_model::{CapabilityKind, Operation, ServerId};
use doorward_upstream::Call;
use doorward_wire::error::{INTERNAL, INVALID_PARAMS, MISSING_CAPABILITY};
use doorward_wire::log::Logs;
use doorward_wire::{Era, Revision, RpcError, abilities, adapt};

use crate::handle;
use crate::pipeline::Asked;
use crate::reply::Reply;
use crate::stage::send::identity;
use crate::surface::Surface;
use crate::{rename, view};

/// The member of `_meta` by which the older form names a task.
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// A task, as its sealed handle names it.
struct Task {
    server: ServerId,
    tool: String,
    /// What the server calls it.
    id: String,
    /// What the client calls it.
    handle: String,
}

/// Whether this is a method of tasks in this revision.
pub(crate) fn is_method(method: &str, revision: Revision) -> bool {
    match (method, revision) {
        ("tasks/get" | "tasks/update" | "tasks/cancel", revision) if revision.era() == Era::Modern => true,
        ("tasks/get" | "tasks/result" | "tasks/cancel", Revision::V2025_11_25) => true,
        _ => false,
    }
}

/// Passes a request about a task on to its server.
pub(crate) async fn request(mut asked: Box<Asked<'_>>) -> Reply {
    let id = asked.request.id.raw().to_owned();
    match relay(&mut asked).await {
        Ok(result) => Reply::result(&id, &result),
        Err(error) => Reply::error(Some(&id), &error),
    }
}

async fn relay(asked: &mut Asked<'_>) -> Result<String, RpcError> {
    if asked.era() == Era::Modern && !asked.abilities.has_tasks() {
        let data = format!(r#"{{"requiredCapabilities":{}}}"#, abilities::TASKS);
        let error =
            RpcError::bad_request(MISSING_CAPABILITY, "the client did not declare the tasks extension");
        return Err(error.with_data(data));
    }
    let task = find(asked).await?;
    let members = members(asked, &task.id);
    let known = identity(asked);
    let call = Call {
        method: &asked.request.method,
        members,
        meta: &known.meta,
        target: Some(&task.id),
        affinity: known.affinity,
        client_info: &known.client_info,
        capabilities: &known.capabilities,
        logs: Logs::None,
        // A result is waited for; the task's own life is the server's to bound.
        deadline: (asked.request.method == "tasks/result").then_some(asked.gateway.settings.asks.longest),
        ..Call::default()
    };
    let answer = asked.gateway.upstreams.call(&task.server, call).await;
    let answer = answer.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))?;
    let root = answer.message.root();
    if let Some(result) = root.get("result") {
        let result = adapt::result_for(asked.era(), result, false);
        let surface = &asked.incoming.arrival.surface;
        let result = rename::outward(surface, &task.server, Operation::ToolsCall, result);
        return Ok(shown(asked, &task.server, &task.tool, Some(&task), &result));
    }
    let error = root.get("error");
    let code = error.and_then(|error| error.get("code")).and_then(Value::as_i64);
    let message = error.and_then(|error| error.get("message")).and_then(Value::as_str).unwrap_or_default();
    Err(RpcError::answer(code.and_then(|code| i32::try_from(code).ok()).unwrap_or(INTERNAL), message))
}

/// The task that a request names, if it is this caller's and its tool is still in its reach.
async fn find(asked: &mut Asked<'_>) -> Result<Task, RpcError> {
    let named = asked.request.params.and_then(|params| params.get("taskId")).and_then(Value::as_str);
    let unknown = || RpcError::answer(INVALID_PARAMS, "Unknown task");
    let task = open(asked, &named.ok_or_else(unknown)?).ok_or_else(unknown)?;
    let is_here = match &asked.incoming.arrival.surface {
        Surface::Server(id) => *id == task.server,
        Surface::Aggregate => true,
        Surface::Gateway => false,
    };
    view::refresh(asked).await;
    let is_shown = is_here
        && view::capabilities(asked, CapabilityKind::Tool)
            .iter()
            .any(|tool| tool.server.id == task.server && *tool.name == task.tool);
    if is_shown { Ok(task) } else { Err(unknown()) }
}

/// The members of `params` for the server, under its own name of the task.
fn members(asked: &Asked<'_>, task: &str) -> Bytes {
    let mut out = String::new();
    let members = asked.request.params.into_iter().flat_map(Value::members);
    for (key, value) in members.filter(|(key, _)| key != "_meta") {
        if !out.is_empty() {
            out.push(',');
        }
        push_string(&mut out, &key);
        out.push(':');
        if key == "taskId" { push_string(&mut out, task) } else { out.push_str(value.raw()) }
    }
    Bytes::from(out)
}

/// The handle of a task that was just made, JSON text, as its client is to have it.
pub(crate) fn begun(asked: &Asked<'_>, server: &ServerId, tool: &str, result: &str) -> String {
    shown(asked, server, tool, None, result)
}

/// A result, JSON text, with every task in it under its sealed handle.
/// One that the client has named keeps the handle it has.
fn shown(asked: &Asked<'_>, server: &ServerId, tool: &str, named: Option<&Task>, result: &str) -> String {
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let Ok(document) = Document::parse(Bytes::copy_from_slice(result.as_bytes()), &limits) else {
        return result.to_owned();
    };
    let root = document.root();
    let related = root.get("_meta").and_then(|meta| meta.get(RELATED));
    let mut edits = doorward_wire::edit::Edits::new(&document);
    for holder in [Some(root), root.get("task"), related].into_iter().flatten() {
        if let Some(id) = holder.get("taskId")
            && let Some(own) = id.as_str()
        {
            let handle = match named.filter(|task| task.id == *own) {
                Some(task) => Some(task.handle.clone()),
                None => seal(asked, server, tool, &own),
            };
            edits.replace(id, quoted(&handle.unwrap_or_default()));
        }
    }
    edits.made().into_owned()
}

fn seal(asked: &Asked<'_>, server: &ServerId, tool: &str, id: &str) -> Option<String> {
    handle::seal(asked, "task", &[server.as_str(), tool, id])
}

fn open(asked: &Asked<'_>, handle: &str) -> Option<Task> {
    let [server, tool, id] = handle::open(asked, "task", handle)?.try_into().ok()?;
    let server = ServerId::try_from(server.as_str()).ok()?;
    Some(Task { server, tool, id, handle: handle.to_owned() })
}
