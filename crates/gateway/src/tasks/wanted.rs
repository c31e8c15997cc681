//! Whether a call is to become a task in the other era: a server of 2025-11-25 makes one only if
//! it is asked to, and a modern client leaves that to whoever it speaks to; a client of 2025-11-25
//! asks for one, and a modern server makes one if it likes, of whoever could have one.

use std::borrow::Cow;
use std::time::Duration;

use doorward_model::json::Value;
use doorward_model::{CapabilityKind, Operation, ServerId};
use doorward_registry::{Capability, TaskSupport};
use doorward_wire::error::MISSING_CAPABILITY;
use doorward_wire::{Era, Revision, RpcError, abilities, adapt};

use crate::ask::reread;
use crate::method::Offer;
use crate::pipeline::Asked;
use crate::stage::resolve::Resolved;

/// How long such a task is to be kept, from when it was made. A server that is not told may
/// keep it for ever.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// The form of task that a call is to become in the other era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    /// None: it is answered when it is done, or the eras agree.
    Nothing,
    /// A core task, for a modern client.
    Core,
    /// A task of the extension, for a client of 2025-11-25 that wants one.
    Extension,
}

/// What the gateway asks the server for.
pub(crate) fn sought(resolved: &Resolved<'_>) -> Sought {
    let asked = resolved.asked();
    if resolved.operation() != Operation::ToolsCall {
        return Sought::Nothing;
    }
    match asked.era() {
        Era::Modern if asked.abilities.has_tasks() && support(resolved) != TaskSupport::Forbidden => {
            Sought::Core
        }
        Era::Legacy if asks_for_one(asked) && has_extension(asked, &resolved.server().id) => {
            Sought::Extension
        }
        _ => Sought::Nothing,
    }
}

/// Whether a client of 2025-11-25 wants its call to become a task.
fn asks_for_one(asked: &Asked<'_>) -> bool {
    let task = asked.request.params.and_then(|params| params.get("task"));
    asked.incoming.revision == Revision::V2025_11_25 && task.is_some_and(Value::is_object)
}

fn has_extension(asked: &Asked<'_>, server: &ServerId) -> bool {
    asked.snapshot.offer(server, &asked.declared).is_some_and(Offer::has_tasks)
}

/// A tool's definition, JSON text, as it is listed: a client of 2025-11-25 may want tasks of
/// those whose server has them in the form of the other era.
pub(crate) fn offered<'d>(asked: &Asked<'_>, tool: &Capability, definition: Cow<'d, str>) -> Cow<'d, str> {
    if asked.incoming.revision != Revision::V2025_11_25
        || tool.kind != CapabilityKind::Tool
        || !has_extension(asked, &tool.server.id)
    {
        return definition;
    }
    match reread(&definition) {
        Some(read) => {
            let optional = r#""execution":{"taskSupport":"optional"}"#;
            Cow::Owned(adapt::splice(read.root(), &["execution"], optional).into_owned())
        }
        None => definition,
    }
}

/// Why a modern client cannot call this: what the tool does, it does as a task only.
pub(crate) fn lacking(resolved: &Resolved<'_>) -> Option<RpcError> {
    let is_lacking = !resolved.asked().abilities.has_tasks() && support(resolved) == TaskSupport::Required;
    is_lacking.then(|| not_declared("this tool needs a client with the tasks extension"))
}

/// What a client is told that has not declared the extension.
pub(super) fn not_declared(message: &str) -> RpcError {
    let data = format!(r#"{{"requiredCapabilities":{}}}"#, abilities::TASKS);
    RpcError::bad_request(MISSING_CAPABILITY, message).with_data(data)
}

/// What a tool of a server with core tasks says of itself, towards a client of the modern era.
fn support(resolved: &Resolved<'_>) -> TaskSupport {
    let asked = resolved.asked();
    let support = resolved.capability().map_or(TaskSupport::Forbidden, |tool| tool.tasks);
    let is_call = resolved.operation() == Operation::ToolsCall;
    if asked.era() == Era::Legacy || !is_call || support == TaskSupport::Forbidden {
        return TaskSupport::Forbidden;
    }
    let has_tasks =
        asked.snapshot.offer(&resolved.server().id, &asked.declared).is_some_and(Offer::has_core_tasks);
    if has_tasks { support } else { TaskSupport::Forbidden }
}

/// How long the session is to be kept in which a core task is made.
pub(crate) fn keeps(resolved: &Resolved<'_>) -> Option<Duration> {
    let asked = resolved.asked();
    match sought(resolved) {
        Sought::Core => Some(KEPT_FOR),
        Sought::Nothing if asks_for_one(asked) => {
            let task = asked.request.params.and_then(|params| params.get("task"));
            let wanted = task.and_then(|task| task.get("ttl")).and_then(Value::as_i64);
            let wanted = wanted.and_then(|wanted| u64::try_from(wanted).ok()).map(Duration::from_millis);
            Some(wanted.unwrap_or(KEPT_FOR).min(KEPT_FOR))
        }
        Sought::Nothing | Sought::Extension => None,
    }
}

/// The member of `params` that asks the server for a task, JSON text. It is the gateway's own, or the
/// client's where both speak of core tasks; anywhere else a stray one would be acted on.
pub(crate) fn param(resolved: &Resolved<'_>) -> Option<String> {
    let asked = resolved.asked();
    match sought(resolved) {
        Sought::Core => Some(format!(r#""task":{{"ttl":{}}}"#, KEPT_FOR.as_millis())),
        Sought::Nothing if asks_for_one(asked) && resolved.operation() == Operation::ToolsCall => {
            let ttl = asked.request.params.and_then(|params| params.get("task")?.get("ttl"));
            let ttl = ttl.filter(|ttl| ttl.as_f64().is_some());
            let ttl = ttl.map(|ttl| format!(r#""ttl":{}"#, ttl.raw())).unwrap_or_default();
            Some(format!(r#""task":{{{ttl}}}"#))
        }
        Sought::Nothing | Sought::Extension => None,
    }
}

/// What the server is told of the client, if that is something else than usual.
pub(crate) fn capabilities(resolved: &Resolved<'_>) -> Option<String> {
    let abilities = &resolved.asked().abilities;
    match sought(resolved) {
        Sought::Nothing => None,
        Sought::Core => Some(abilities.to_json()),
        Sought::Extension => Some(abilities.with_tasks(true).to_json()),
    }
}
