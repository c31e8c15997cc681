//! A core task of 2025-11-25, as a client of 2026-07-28 sees it: its result stands in the task,
//! and so do its questions.

use doorward_model::Operation;
use doorward_model::json::{Value, push_string};
use doorward_upstream::{Answer, Call};
use doorward_wire::RpcError;
use doorward_wire::error::{INTERNAL, INVALID_PARAMS};
use doorward_wire::task::{self, Status};

use super::handle::{Form, Task};
use crate::pipeline::Asked;
use crate::rename;
use crate::session::replicas::Tidings;
use crate::stage::resolve::Resolved;
use crate::stage::send::identity;

/// What `tasks/update` and `tasks/cancel` are answered with.
const TAKEN_NOTE: &str = r#"{"resultType":"complete"}"#;

/// Answers a request about a task.
pub(super) async fn answer(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    match asked.request.method.as_ref() {
        "tasks/update" => update(asked, task).await,
        "tasks/cancel" => cancel(asked, task).await,
        _ => get(asked, task).await,
    }
}

/// The handle of a task that was just made.
pub(super) fn begun(resolved: &Resolved<'_>, place: u64, task: Value<'_>) -> String {
    let asked = resolved.asked();
    let id = task.get("taskId").and_then(Value::as_str).unwrap_or_default();
    let made = Task {
        affinity: identity(asked).affinity.to_owned(),
        capabilities: asked.abilities.to_json(),
        place,
        ..Task::of(resolved, id.into_owned(), Form::Core)
    };
    let handle = made.sealed(asked).map(|made| made.handle).unwrap_or_default();
    let status = Status::read(task).unwrap_or(Status::Working);
    task::for_modern(task, "task", &handle, status, "")
}

async fn get(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    let awaited = &asked.gateway.awaited;
    let before = awaited.look(asked.gateway, task).await;
    let answer = send(asked, task, "tasks/get").await?;
    let now = super::result(&answer)?;
    let told = Status::read(now).unwrap_or(Status::Working);
    let (status, more) = match told {
        Status::Working | Status::InputRequired => {
            let asks = match awaited.look(asked.gateway, task).await {
                // Such a server asks only while somebody waits for the result. If somebody did
                // when it said so, and does no more, that is out of date.
                Ok(None) if told == Status::InputRequired && before?.is_none() => {
                    awaited.begin(asked, task).await?
                }
                Err(error) if told == Status::InputRequired => return Err(error),
                asks => asks.unwrap_or_default(),
            };
            let questions = match asks {
                Some(asks) => asks.shown(asked, task).await,
                None => String::new(),
            };
            if questions.is_empty() {
                // All that was asked is answered, and the server has yet to say so.
                (Status::Working, String::new())
            } else {
                (Status::InputRequired, format!(r#""inputRequests":{{{questions}}}"#))
            }
        }
        Status::Completed | Status::Failed => {
            awaited.end(&task.handle);
            outcome(asked, task, told).await?
        }
        Status::Cancelled => {
            awaited.end(&task.handle);
            (told, String::new())
        }
    };
    Ok(task::for_modern(now, "complete", &task.handle, status, &more))
}

/// What came of a task that has ended, and the member that says it.
async fn outcome(asked: &Asked<'_>, task: &Task, told: Status) -> Result<(Status, String), RpcError> {
    let answer = send(asked, task, "tasks/result").await?;
    let root = answer.message.root();
    match root.get("error").filter(|_| told == Status::Failed) {
        Some(error) => Ok((Status::Failed, format!(r#""error":{}"#, error.raw()))),
        None => {
            let result = task::inlined(super::result(&answer)?);
            let surface = &asked.incoming.arrival.surface;
            let result = rename::outward(surface, &task.server, Operation::ToolsCall, result);
            // A tool that failed is a call that was answered, in the newer form.
            Ok((Status::Completed, format!(r#""result":{result}"#)))
        }
    }
}

async fn update(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    let responses = asked.request.params.and_then(|params| params.get("inputResponses"));
    let invalid = || RpcError::answer(INVALID_PARAMS, "params.inputResponses must be an object");
    let responses = responses.filter(|responses| responses.is_object()).ok_or_else(invalid)?;
    match asked.gateway.awaited.look(asked.gateway, task).await? {
        Some(asks) => {
            let taken = asks.answer(asked, task, responses).await;
            taken.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))?;
        }
        // An answer to a question that is not asked is none; but there must be such a task.
        None => drop(super::result(&send(asked, task, "tasks/get").await?)?),
    }
    Ok(TAKEN_NOTE.to_owned())
}

async fn cancel(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    let answer = send(asked, task, "tasks/cancel").await?;
    if super::result(&answer).is_err() {
        // One that has ended, or whose server cannot end it, is a task all the same.
        super::result(&send(asked, task, "tasks/get").await?)?;
    }
    // Not before, or the server would take it for an answer.
    asked.gateway.awaited.end(&task.handle);
    asked.gateway.let_others_know(&task.handle, Tidings::Dropped);
    Ok(TAKEN_NOTE.to_owned())
}

/// Asks the server about a task.
async fn send(asked: &Asked<'_>, task: &Task, method: &str) -> Result<Answer, RpcError> {
    let known = identity(asked);
    let mut members = String::from(r#""taskId":"#);
    push_string(&mut members, &task.id);
    let call = Call {
        members: members.into(),
        caller: Some(asked.caller),
        ..task.request(method, &known.client_info, &known.meta)
    };
    let answer = asked.gateway.upstreams.call(&task.server, call).await;
    answer.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))
}
