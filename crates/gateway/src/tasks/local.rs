//! Tasks that had ended when they began: a client of 2025-11-25 wanted one, and a server that
//! decides by itself has answered instead.
//!
//! The answers of one principal are a log in the shared state, so that any replica has them:
//! bounded in number, in size and in time.

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use doorward_model::json::{Document, Value, push_hex};
use doorward_model::{LogBounds, Timestamp};
use doorward_wire::RpcError;
use doorward_wire::error::INTERNAL;
use doorward_wire::task::{Status, related};

use super::extension::ended;
use super::handle::{Form, Task};
use super::wanted::KEPT_FOR;
use crate::ask::reread;
use crate::pipeline::Asked;
use crate::session::principal;
use crate::stage::resolve::Resolved;

/// How much is kept for one principal; what is older is gone.
const BOUNDS: LogBounds = LogBounds { entries: 100, bytes: 4 << 20, keep: KEPT_FOR };

/// Keeps the result of a call, JSON text, and yields the handle of the task that it becomes;
/// the result itself where it cannot be kept.
pub(crate) async fn kept(resolved: &Resolved<'_>, text: &str) -> String {
    let asked = resolved.asked();
    let created = asked.incoming.received;
    let entry = Bytes::from(format!("{}\n{text}", created.as_micros()));
    if entry.len() > BOUNDS.bytes {
        return text.to_owned();
    }
    let place = match asked.gateway.shared.append(&log(asked), entry, BOUNDS).await {
        Ok(place) => place,
        Err(error) => {
            tracing::warn!(target: "doorward::tasks", %error, "a result is not kept as a task");
            return text.to_owned();
        }
    };
    let made = Task { place, ..Task::of(resolved, String::new(), Form::Local) };
    match made.sealed(asked) {
        Some(made) => format!(r#"{{"task":{}}}"#, shown(&made, created, text)),
        None => text.to_owned(),
    }
}

/// Answers a request about such a task.
pub(super) async fn answer(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    let entries = asked.gateway.shared.read(&log(asked), task.place).await;
    let entries = entries.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))?;
    let entry = entries.iter().find(|(place, _)| *place == task.place);
    let (created, text) = entry.and_then(|(_, entry)| read(entry)).ok_or_else(super::unknown)?;
    if created.plus(KEPT_FOR) < asked.incoming.received {
        return Err(super::unknown());
    }
    match asked.request.method.as_ref() {
        "tasks/result" => {
            let result = reread(text).map(|result| related(result.root(), &task.handle));
            result.ok_or_else(super::unknown)
        }
        "tasks/cancel" => Err(ended()),
        _ => Ok(shown(task, created, text)),
    }
}

fn log(asked: &Asked<'_>) -> String {
    let mut name = String::from("tasks/");
    push_hex(&mut name, digest(&SHA256, principal(asked.caller).as_bytes()).as_ref());
    name
}

fn read(entry: &Bytes) -> Option<(Timestamp, &str)> {
    let (created, text) = std::str::from_utf8(entry).ok()?.split_once('\n')?;
    Some((Timestamp::from_micros(created.parse().ok()?), text))
}

fn shown(task: &Task, created: Timestamp, text: &str) -> String {
    let result = reread(text);
    let is_error = result.as_ref().map(Document::root).and_then(|result| result.get("isError"));
    let failed = is_error.and_then(Value::as_bool) == Some(true);
    let status = if failed { Status::Failed } else { Status::Completed };
    format!(
        r#"{{"taskId":"{}","status":"{}","createdAt":"{created}","lastUpdatedAt":"{created}","ttl":{}}}"#,
        task.handle,
        status.as_str(),
        KEPT_FOR.as_millis(),
    )
}
