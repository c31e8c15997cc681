//! Tasks as 2025-11-25 has them: the client decides, and may wait for the result.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Session, calls};
use crate::downlevel;
use crate::out::Out;
use crate::rpc::Fault;
use crate::server::Everything;
use crate::task::{POLL_INTERVAL, Status, Task};

/// `tasks/get`, `tasks/result`, `tasks/list` and `tasks/cancel`.
pub async fn serve(
    server: &Arc<Everything>,
    session: &Arc<Session>,
    method: &str,
    params: &Value,
    out: &Out,
) -> Result<Value, Fault> {
    let owner = Some(session.id.as_str());
    if method == "tasks/list" {
        let tasks = server.tasks.of(owner);
        return Ok(json!({ "tasks": tasks.iter().map(|task| describe(task)).collect::<Value>() }));
    }
    let find = || {
        let id = params["taskId"].as_str().unwrap_or_default();
        server.tasks.find(owner, id).ok_or_else(|| Fault::invalid("Unknown task"))
    };
    match method {
        "tasks/get" => Ok(describe(&*find()?)),
        "tasks/result" => result(server, session, &*find()?, out).await,
        "tasks/cancel" => {
            let task = find()?;
            if !task.cancel(server) {
                return Err(Fault::invalid("The task has ended"));
            }
            Ok(describe(&task))
        }
        _ => Err(Fault::unknown_method(method)),
    }
}

/// Waits for the end of a task, and meanwhile asks what it wants to know.
async fn result(server: &Arc<Everything>, session: &Session, task: &Task, out: &Out) -> Result<Value, Fault> {
    loop {
        let now = task.wait_until(|now| now.status != Status::Working).await;
        if now.status != Status::InputRequired {
            break;
        }
        let answers = calls::ask_client(server, session, out, &now.open, Some(&task.id)).await?;
        task.answer(server, &answers);
    }
    let outcome = task.now().outcome.unwrap_or_else(|| Err(Fault::invalid("The task was cancelled")));
    let mut result = downlevel::result(session.revision, outcome?);
    result["_meta"] = related(&task.id);
    Ok(result)
}

/// A task as it is at the moment.
pub fn describe(task: &Task) -> Value {
    let now = task.now();
    // A tool that failed is a call that failed, in this revision.
    let failed = matches!(&now.outcome, Some(Ok(result)) if result["isError"] == true);
    let status = if failed { Status::Failed } else { now.status };
    json!({
        "taskId": task.id,
        "status": status.as_str(),
        "createdAt": task.created,
        "lastUpdatedAt": now.updated,
        "ttl": millis(task.ttl),
        "pollInterval": millis(POLL_INTERVAL),
    })
}

/// What says that a message belongs to a task.
pub fn related(task: &str) -> Value {
    json!({"io.modelcontextprotocol/related-task": {"taskId": task}})
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
