//! Whether a call is to become a task: a server of 2025-11-25 makes one only if it is asked
//! to, and a modern client leaves that to whoever it speaks to.

use std::time::Duration;

use doorward_model::Operation;
use doorward_registry::TaskSupport;
use doorward_wire::error::MISSING_CAPABILITY;
use doorward_wire::{Era, RpcError, abilities};

use crate::method::Offer;
use crate::pipeline::Asked;
use crate::stage::resolve::Resolved;

/// How long such a task is to be kept, from when it was made. A server that is not told may
/// keep it for ever.
const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// The longest capabilities of a client that fit into a handle, which is a header as well.
const LONGEST: usize = 1024;

/// Whether the gateway asks for a task, for a client that can have one.
pub(crate) fn is_wanted(resolved: &Resolved<'_>) -> bool {
    resolved.asked().abilities.has_tasks() && support(resolved) != TaskSupport::Forbidden
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
    if asked.era() == Era::Legacy
        || resolved.operation() != Operation::ToolsCall
        || support == TaskSupport::Forbidden
    {
        return TaskSupport::Forbidden;
    }
    let catalog = asked.snapshot.registry.catalog(&resolved.server().id);
    let has_tasks = catalog.is_some_and(|catalog| Offer::read(catalog).has_core_tasks());
    if has_tasks { support } else { TaskSupport::Forbidden }
}

/// The member of `params` that asks for a task, JSON text.
pub(crate) fn param() -> String {
    format!(r#""task":{{"ttl":{}}}"#, KEPT_FOR.as_millis())
}

/// The client's capabilities as the session is opened that its task is made in.
pub(crate) fn capabilities(asked: &Asked<'_>) -> String {
    let whole = asked.abilities.to_json();
    if whole.len() <= LONGEST {
        whole
    } else {
        asked.abilities.clone().into_owned().without_extensions().to_json()
    }
}
