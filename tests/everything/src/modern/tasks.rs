//! Tasks as the extension of 2026-07-28 has them: the server decides, the client polls.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Meta, complete, needs_tasks};
use crate::capability;
use crate::rpc::Fault;
use crate::server::Everything;
use crate::task::{Now, POLL_INTERVAL, Status, Task, as_map};

/// `tasks/get`, `tasks/update` and `tasks/cancel`.
pub fn serve(server: &Everything, method: &str, params: &Value, meta: &Meta) -> Result<Value, Fault> {
    if !capability::has_tasks(&meta.capabilities) {
        return Err(needs_tasks());
    }
    let id = params["taskId"].as_str().unwrap_or_default();
    let task = server.tasks.find(None, id).ok_or_else(|| Fault::invalid("Unknown task"))?;
    match method {
        "tasks/get" => return Ok(detailed(&task)),
        "tasks/update" => {
            let responses = params["inputResponses"].as_object();
            task.answer(server, responses.ok_or_else(|| Fault::invalid("inputResponses is no object"))?);
        }
        _ => drop(task.cancel(server)),
    }
    Ok(json!({}))
}

/// The result of the call that became a task.
pub fn created(task: &Arc<Task>) -> Value {
    let mut result = envelope(task, &task.now());
    result["resultType"] = "task".into();
    result
}

/// A task with what it asks or what came of it.
pub fn detailed(task: &Task) -> Value {
    let now = task.now();
    let mut result = envelope(task, &now);
    if now.status == Status::InputRequired {
        result["inputRequests"] = as_map(&now.open);
    }
    match now.outcome {
        Some(Ok(outcome)) => result["result"] = complete(outcome),
        Some(Err(fault)) => result["error"] = fault.to_json(),
        None => {}
    }
    result
}

fn envelope(task: &Task, now: &Now) -> Value {
    json!({
        "taskId": task.id,
        "status": now.status.as_str(),
        "createdAt": task.created,
        "lastUpdatedAt": now.updated,
        "ttlMs": millis(task.ttl),
        "pollIntervalMs": millis(POLL_INTERVAL),
    })
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
