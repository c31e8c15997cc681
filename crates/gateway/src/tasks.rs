//! Tasks: calls that go on after they were answered with a handle.
//!
//! The two eras have forms of their own, which share the methods' names and nothing else:
//! the core tasks of 2025-11-25, which a client asks for, and the extension
//! `io.modelcontextprotocol/tasks`, which a server decides on.
//!
//! | client, server | |
//! |---|---|
//! | of one era | passed on, under a handle of the gateway's ([`passed_on`]) |
//! | modern, legacy | the gateway asks for the task ([`wanted`]) and translates it ([`core`]) |
//! | legacy, modern | the gateway says that it could have one, and translates it ([`extension`]); an answer is kept as a task that has ended ([`local`]) |
//!
//! A handle is sealed and bound to who made the call ([`handle`]), so that nobody can look
//! into, answer or end another's task, and no table is needed to find its server. What such a
//! server wants to know meanwhile is kept by one replica ([`awaited`]) and answered at any
//! ([`elsewhere`]).

mod asking;
mod asks;
mod awaited;
mod core;
mod elsewhere;
mod extension;
mod handle;
mod local;
mod passed_on;
mod put;
mod waiting;
mod wanted;

use doorward_model::CapabilityKind;
use doorward_model::json::Value;
use doorward_upstream::Answer;
use doorward_wire::error::INVALID_PARAMS;
use doorward_wire::{Era, Revision, RpcError};

use crate::answer::result;
use crate::pipeline::Asked;
use crate::reply::Reply;
use crate::stage::resolve::Resolved;
use crate::surface::Surface;
use crate::view;

pub(crate) use awaited::Awaited;
use handle::{Form, Task};
pub(crate) use local::kept;
pub(crate) use wanted::{Sought, capabilities, keeps, lacking, offered, param, sought};

/// Whether this is a method of tasks in this revision.
pub(crate) fn is_method(method: &str, revision: Revision) -> bool {
    match (method, revision) {
        ("tasks/get" | "tasks/update" | "tasks/cancel", revision) if revision.era() == Era::Modern => true,
        ("tasks/get" | "tasks/result" | "tasks/cancel", Revision::V2025_11_25) => true,
        _ => false,
    }
}

/// Answers a request about a task.
pub(crate) async fn request(mut asked: Box<Asked<'_>>) -> Reply {
    let id = asked.request.id.raw().to_owned();
    match answered(&mut asked).await {
        Ok(result) => Reply::result(&id, &result),
        Err(error) => Reply::error(Some(&id), &error),
    }
}

async fn answered(asked: &mut Asked<'_>) -> Result<String, RpcError> {
    if asked.era() == Era::Modern && !asked.abilities.has_tasks() {
        return Err(wanted::not_declared("the client did not declare the tasks extension"));
    }
    let task = find(asked).await?;
    match (asked.era(), task.form) {
        (Era::Modern, Form::Core) => core::answer(asked, &task).await,
        (Era::Modern, Form::Extension) | (Era::Legacy, Form::Core) => passed_on::answer(asked, &task).await,
        (Era::Legacy, Form::Extension) => extension::answer(asked, &task).await,
        (Era::Legacy, Form::Local) => local::answer(asked, &task).await,
        (Era::Modern, Form::Local) => Err(unknown()),
    }
}

/// The task that a request names, if it is this caller's and its tool is still in its reach.
async fn find(asked: &mut Asked<'_>) -> Result<Task, RpcError> {
    let named = asked.request.params.and_then(|params| params.get("taskId")).and_then(Value::as_str);
    let task = Task::open(asked, &named.ok_or_else(unknown)?).ok_or_else(unknown)?;
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

fn unknown() -> RpcError {
    RpcError::answer(INVALID_PARAMS, "Unknown task")
}

/// Whether this result of a call is the handle of a core task that was asked for.
pub(crate) fn is_core(resolved: &Resolved<'_>, result: Value<'_>) -> bool {
    let asked = resolved.asked();
    let is_asked_for = || match asked.era() {
        Era::Legacy => asked.request.params.is_some_and(|params| params.get("task").is_some()),
        Era::Modern => sought(resolved) == Sought::Core,
    };
    result.get("task").is_some_and(Value::is_object) && is_asked_for()
}

/// The handle of a task that was just made, JSON text, as its client is to have it. `text` is
/// the server's result in the era of the client.
pub(crate) fn begun(resolved: &Resolved<'_>, answer: &Answer, text: &str) -> String {
    let result = answer.message.root().get("result");
    match (sought(resolved), result, result.and_then(|result| result.get("task"))) {
        (Sought::Core, _, Some(task)) => core::begun(resolved, answer.place, task),
        (Sought::Extension, Some(task), _) => extension::begun(resolved, task),
        _ => passed_on::begun(resolved, answer.place, text),
    }
}
