//! Tools and prompts: a question is a request on the stream of the call, and the call waits.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::{Session, tasks};
use crate::out::Out;
use crate::perform::{Voice, await_work, perform};
use crate::play::{Answers, Play, Question, Scene, Step, failure};
use crate::revision::Revision;
use crate::rpc::Fault;
use crate::server::Everything;
use crate::task::{DEFAULT_TTL, Job, lock};
use crate::tools::TaskSupport;
use crate::{capability, downlevel, prompts, tools};

/// A call or a prompt, ready to be played.
struct Part<'a> {
    play: Play,
    arguments: &'a Value,
    /// How long the client wants to keep the task this is to become.
    as_task: Option<Duration>,
}

/// `tools/call`.
pub async fn call(
    server: &Arc<Everything>,
    session: &Arc<Session>,
    params: &Value,
    out: &Out,
) -> Result<Value, Fault> {
    let name = params["name"].as_str().unwrap_or_default();
    let tool = tools::find(server, name).ok_or_else(|| Fault::invalid(format!("Unknown tool: {name}")))?;
    let wanted = params.get("task").filter(|_| session.revision == Revision::V2025_11_25);
    match (tool.tasks, wanted) {
        (TaskSupport::Forbidden, Some(_)) => {
            return Err(Fault::new(-32601, format!("{name} cannot be called as a task")));
        }
        (TaskSupport::Required, None) if session.revision == Revision::V2025_11_25 => {
            return Err(Fault::new(-32601, format!("{name} can only be called as a task")));
        }
        _ => {}
    }
    let as_task = wanted.map(|task| task["ttl"].as_u64().map_or(DEFAULT_TTL, Duration::from_millis));
    let part = Part { play: tool.play, arguments: &params["arguments"], as_task };
    match play(server, session, &part, params, out).await {
        // Towards a model, so that it can do something about it.
        Err(fault) if fault.code == -32021 => Ok(failure(&fault.message)),
        result => result,
    }
}

/// `prompts/get`.
pub async fn get(
    server: &Arc<Everything>,
    session: &Arc<Session>,
    params: &Value,
    out: &Out,
) -> Result<Value, Fault> {
    let name = params["name"].as_str().unwrap_or_default();
    let prompts = prompts::all(server);
    let prompt = prompts.iter().find(|prompt| prompt.name == name);
    let prompt = prompt.ok_or_else(|| Fault::invalid(format!("Unknown prompt: {name}")))?;
    if let Some(missing) = prompt.missing_argument(&params["arguments"]) {
        return Err(Fault::invalid(format!("Missing argument: {missing}")));
    }
    let part = Part { play: prompt.play, arguments: &params["arguments"], as_task: None };
    let result = play(server, session, &part, params, out).await;
    result.map_err(|fault| if fault.code == -32021 { Fault::new(-32603, fault.message) } else { fault })
}

async fn play(
    server: &Arc<Everything>,
    session: &Arc<Session>,
    part: &Part<'_>,
    params: &Value,
    out: &Out,
) -> Result<Value, Fault> {
    let mut answers = Answers::new();
    let mut worked = false;
    loop {
        let scene = Scene {
            arguments: part.arguments,
            answers: &answers,
            capabilities: &session.capabilities,
            worked,
        };
        match (part.play)(&scene) {
            Step::Ask(ask) => {
                answers.extend(ask_client(server, session, out, &ask.questions, None).await?);
            }
            Step::Work(time) => match part.as_task {
                Some(ttl) => {
                    let job = Job {
                        play: part.play,
                        arguments: part.arguments.clone(),
                        answers,
                        capabilities: session.capabilities.clone(),
                        time,
                    };
                    let task = server.tasks.begin(server, Some(session.id.clone()), ttl, job);
                    return Ok(json!({ "task": tasks::describe(&task) }));
                }
                None => {
                    await_work(time).await?;
                    worked = true;
                }
            },
            Step::Done(performance) => {
                let voice = Voice {
                    out: out.clone(),
                    revision: session.revision,
                    progress_token: params["_meta"].get("progressToken").cloned(),
                    log_level: Some(*lock(&session.log_level)),
                };
                return Ok(downlevel::result(session.revision, perform(server, &voice, performance).await));
            }
            Step::Fail(fault) => return Err(fault),
        }
    }
}

/// Asks the client all of it at once, for a call or, if there is one, for a task.
pub async fn ask_client(
    server: &Everything,
    session: &Session,
    out: &Out,
    questions: &[(&'static str, Question)],
    task: Option<&str>,
) -> Result<Answers, Fault> {
    if let Some(missing) =
        capability::missing(&session.capabilities, questions.iter().map(|(_, question)| question))
    {
        return Err(Fault::missing_capability(missing));
    }
    let ask = async |(key, question): &(&'static str, Question)| {
        Ok(((*key).to_owned(), ask_one(server, session, out, question, task).await?))
    };
    Ok(try_join_all(questions.iter().map(ask)).await?.into_iter().collect())
}

async fn ask_one(
    server: &Everything,
    session: &Session,
    out: &Out,
    question: &Question,
    task: Option<&str>,
) -> Result<Value, Fault> {
    let params = downlevel::question(session.revision, question);
    let Some(mut params) = params else { return Ok(json!({"action": "cancel"})) };
    if let Some(task) = task {
        params["_meta"] = tasks::related(task);
    }
    match session.ask(server, out, question.method, &params).await {
        Ok(answer) if answer.is_object() => Ok(answer),
        Ok(_) => Err(Fault::invalid("The answer is no object")),
        // The modern era has no words for a client that fails to answer a form.
        Err(_) if question.method == "elicitation/create" => Ok(json!({"action": "cancel"})),
        Err(fault) => Err(fault),
    }
}
