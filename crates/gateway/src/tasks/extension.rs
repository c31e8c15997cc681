//! A task of the extension of 2026-07-28, as a client of 2025-11-25 sees it: whoever waits for its
//! result is asked what it wants to know.

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use doorward_model::Operation;
use doorward_model::json::{Value, push_string};
use doorward_upstream::{Answer, Call};
use doorward_wire::abilities::ELICIT;
use doorward_wire::error::{INTERNAL, INVALID_PARAMS};
use doorward_wire::task::{self, Status};
use doorward_wire::{RpcError, adapt, level};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::handle::{Form, Task};
use super::put::put;
use crate::ask::client::NoAnswer;
use crate::ask::{MOST, endless, entries, reread};
use crate::pipeline::Asked;
use crate::rename;
use crate::stage::resolve::Resolved;
use crate::stage::send::identity;

/// How often a server is asked about a task that does not say how often it wants to be.
const POLL: Duration = Duration::from_secs(1);
/// Between these it may choose.
const POLLS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// How often a task is looked at that is to end, and how long until the next time.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(100);

/// Answers a request about a task.
pub(super) async fn answer(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    match asked.request.method.as_ref() {
        "tasks/result" => {
            let longest = asked.gateway.settings.asks.longest;
            let late = || RpcError::answer(INTERNAL, "the task takes longer than a request may");
            timeout(longest, outcome(asked, task)).await.unwrap_or_else(|_| Err(late()))
        }
        "tasks/cancel" => cancel(asked, task).await,
        _ => {
            let answer = send(asked, task, "tasks/get", "").await?;
            Ok(shown(task, super::result(&answer)?))
        }
    }
}

/// The handle of a task that was just made.
pub(super) fn begun(resolved: &Resolved<'_>, task: Value<'_>) -> String {
    let id = task.get("taskId").and_then(Value::as_str).unwrap_or_default();
    let made = Task::of(resolved, id.into_owned(), Form::Extension);
    let handle = made.sealed(resolved.asked()).map(|made| made.handle).unwrap_or_default();
    format!(r#"{{"task":{}}}"#, task::for_legacy(task, &handle, status(task)))
}

/// Waits for the end of a task, and puts to the client what it wants to know meanwhile.
async fn outcome(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    let mut answered = Answered::default();
    loop {
        let answer = send(asked, task, "tasks/get", "").await?;
        let now = super::result(&answer)?;
        match Status::read(now) {
            Some(Status::Completed) => return Ok(result(asked, task, now)),
            Some(Status::Failed) => return Err(error(now)),
            Some(Status::Cancelled) => {
                return Err(RpcError::answer(INVALID_PARAMS, "The task was cancelled"));
            }
            Some(Status::InputRequired) => {
                let responses = match responses(asked, task, now, &mut answered).await {
                    Ok(responses) => responses,
                    Err(error) => {
                        // It cannot go on, and nobody else will say so.
                        send(asked, task, "tasks/cancel", "").await?;
                        return Err(error);
                    }
                };
                if !responses.is_empty() {
                    let more = format!(r#","inputResponses":{{{responses}}}"#);
                    super::result(&send(asked, task, "tasks/update", &more).await?)?;
                    continue;
                }
            }
            Some(Status::Working) | None => {}
        }
        sleep(interval(now)).await;
    }
}

/// The questions of a task that were put to its client.
#[derive(Default)]
struct Answered {
    keys: HashSet<String>,
    rounds: usize,
}

/// What the client answers to those questions that it has not answered yet, as members of
/// `inputResponses`.
async fn responses(
    asked: &Asked<'_>,
    task: &Task,
    now: Value<'_>,
    answered: &mut Answered,
) -> Result<String, RpcError> {
    let open: Vec<_> =
        entries(now).into_iter().filter(|(key, _)| answered.keys.insert(key.clone())).collect();
    if open.is_empty() {
        return Ok(String::new());
    }
    if answered.rounds >= asked.gateway.settings.asks.rounds || answered.keys.len() > MOST {
        return Err(RpcError::answer(INTERNAL, endless(&task.server).to_string()));
    }
    answered.rounds += 1;
    let answers = join_all(open.iter().map(async |(_, entry)| {
        let method = entry.method();
        match put(asked, task, &method, entry.params().map_or("", Value::raw)).await {
            Ok(result) => Ok(result),
            // An elicitation can be turned down in words that a server understands.
            Err(_) if method == ELICIT => Ok(r#"{"action":"cancel"}"#.to_owned()),
            Err(NoAnswer::Refused(error)) => Err(error),
            Err(NoAnswer::NotOffered | NoAnswer::Silent) => {
                Err(RpcError::answer(INTERNAL, format!("the task needs {method}, which nobody answered")))
            }
        }
    }))
    .await;
    let mut out = String::new();
    for ((key, _), answer) in open.iter().zip(answers) {
        if !out.is_empty() {
            out.push(',');
        }
        push_string(&mut out, key);
        out.push(':');
        out.push_str(&answer?);
    }
    Ok(out)
}

async fn cancel(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    let before = send(asked, task, "tasks/get", "").await?;
    if has_ended(super::result(&before)?) {
        return Err(ended());
    }
    super::result(&send(asked, task, "tasks/cancel", "").await?)?;
    let mut looks = 0;
    loop {
        let answer = send(asked, task, "tasks/get", "").await?;
        let now = super::result(&answer)?;
        looks += 1;
        // Whether and when it ends is for the server to say.
        if has_ended(now) || looks == LOOKS {
            return Ok(shown(task, now));
        }
        sleep(LOOK).await;
    }
}

/// What `tasks/cancel` is told of a task that has nothing more to end.
pub(super) fn ended() -> RpcError {
    RpcError::answer(INVALID_PARAMS, "The task has ended")
}

fn has_ended(now: Value<'_>) -> bool {
    matches!(Status::read(now), Some(Status::Completed | Status::Failed | Status::Cancelled))
}

fn shown(task: &Task, now: Value<'_>) -> String {
    task::for_legacy(now, &task.handle, status(now))
}

/// How a task is in the older form, where a tool that failed is a task that failed.
fn status(now: Value<'_>) -> Status {
    let failed = || now.get("result")?.get("isError")?.as_bool();
    match Status::read(now).unwrap_or(Status::Working) {
        Status::Completed if failed() == Some(true) => Status::Failed,
        status => status,
    }
}

/// The result in a task that has ended, for a client of the older form.
fn result(asked: &Asked<'_>, task: &Task, now: Value<'_>) -> String {
    let Some(read) = now.get("result").and_then(|result| reread(result.raw())) else {
        return "{}".to_owned();
    };
    let revision = asked.incoming.revision;
    let without_nulls = level::without_nulls(Operation::ToolsCall, read.root(), revision);
    let said = without_nulls.as_ref().unwrap_or(&read).root();
    let text = adapt::result_for(asked.era(), said, false);
    let text = level::result(Operation::ToolsCall, &text, revision);
    let surface = &asked.incoming.arrival.surface;
    let text = rename::outward(surface, &task.server, Operation::ToolsCall, Cow::Borrowed(&text));
    match reread(&text) {
        Some(result) => task::related(result.root(), &task.handle),
        None => text.into_owned(),
    }
}

fn error(now: Value<'_>) -> RpcError {
    let error = now.get("error");
    let code = error.and_then(|error| error.get("code")).and_then(Value::as_i64);
    let message = error.and_then(|error| error.get("message")).and_then(Value::as_str);
    let code = code.and_then(|code| i32::try_from(code).ok()).unwrap_or(INTERNAL);
    let mut failure = RpcError::answer(code, message.as_deref().unwrap_or("the task failed"));
    failure.data = error.and_then(|error| error.get("data")).map(|data| data.raw().to_owned());
    failure
}

fn interval(now: Value<'_>) -> Duration {
    let wanted = now.get("pollIntervalMs").and_then(Value::as_i64).and_then(|it| u64::try_from(it).ok());
    wanted.map_or(POLL, Duration::from_millis).clamp(POLLS.0, POLLS.1)
}

/// Asks the server about a task; `more` is JSON text of further members of `params`.
async fn send(asked: &Asked<'_>, task: &Task, method: &str, more: &str) -> Result<Answer, RpcError> {
    let known = identity(asked);
    let mut members = String::from(r#""taskId":"#);
    push_string(&mut members, &task.id);
    members.push_str(more);
    let capabilities = asked.abilities.with_tasks(true).to_json();
    let call = Call {
        members: members.into(),
        affinity: known.affinity,
        caller: Some(asked.caller),
        capabilities: &capabilities,
        ..task.request(method, &known.client_info, &known.meta)
    };
    let answer = asked.gateway.upstreams.call(&task.server, call).await;
    answer.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))
}
