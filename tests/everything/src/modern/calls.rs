//! Tools and prompts: questions go back with the result, and the call comes again.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Meta, needs_tasks, tasks};
use crate::capability;
use crate::out::Item;
use crate::perform::{Voice, await_work, perform};
use crate::play::{Answers, Ask, Play, Scene, Step};
use crate::rpc::Fault;
use crate::seal::Target;
use crate::server::Everything;
use crate::task::{DEFAULT_TTL, Job, as_map};
use crate::tools::TaskSupport;
use crate::{prompts, tools};

/// A call or a prompt, ready to be played.
struct Part<'a> {
    target: Target<'a>,
    play: Play,
    meta: &'a Meta,
    /// Whether work may become a task.
    as_task: bool,
}

/// `tools/call`.
pub async fn call(
    server: &Arc<Everything>,
    params: &Value,
    meta: &Meta,
    voice: &Voice,
) -> Result<Value, Fault> {
    let name = params["name"].as_str().unwrap_or_default();
    let tool = tools::find(server, name).ok_or_else(|| Fault::invalid(format!("Unknown tool: {name}")))?;
    let declared = capability::has_tasks(&meta.capabilities);
    if tool.tasks == TaskSupport::Required && !declared {
        return Err(needs_tasks());
    }
    let as_task = declared && tool.tasks != TaskSupport::Forbidden;
    let target = Target { method: "tools/call", name, arguments: arguments(params)? };
    play(server, Part { target, play: tool.play, meta, as_task }, params, voice).await
}

/// `prompts/get`.
pub async fn get(
    server: &Arc<Everything>,
    params: &Value,
    meta: &Meta,
    voice: &Voice,
) -> Result<Value, Fault> {
    let name = params["name"].as_str().unwrap_or_default();
    let prompts = prompts::all(server);
    let prompt = prompts.iter().find(|prompt| prompt.name == name);
    let prompt = prompt.ok_or_else(|| Fault::invalid(format!("Unknown prompt: {name}")))?;
    let arguments = arguments(params)?;
    if let Some(missing) = prompt.missing_argument(arguments) {
        return Err(Fault::invalid(format!("Missing argument: {missing}")));
    }
    let target = Target { method: "prompts/get", name, arguments };
    play(server, Part { target, play: prompt.play, meta, as_task: false }, params, voice).await
}

fn arguments(params: &Value) -> Result<&Value, Fault> {
    match &params["arguments"] {
        arguments @ (Value::Null | Value::Object(_)) => Ok(arguments),
        _ => Err(Fault::invalid("arguments is no object")),
    }
}

async fn play(
    server: &Arc<Everything>,
    part: Part<'_>,
    params: &Value,
    voice: &Voice,
) -> Result<Value, Fault> {
    let answers = answers(server, &part.target, params)?;
    let mut worked = false;
    loop {
        let scene = Scene {
            arguments: part.target.arguments,
            answers: &answers,
            capabilities: &part.meta.capabilities,
            worked,
        };
        match (part.play)(&scene) {
            Step::Ask(ask) => return input_required(server, &part, &answers, &ask, voice),
            Step::Work(time) if part.as_task => {
                let job = Job {
                    play: part.play,
                    arguments: part.target.arguments.clone(),
                    answers,
                    capabilities: part.meta.capabilities.clone(),
                    time,
                };
                return Ok(tasks::created(&server.tasks.begin(server, None, DEFAULT_TTL, job)));
            }
            Step::Work(time) => {
                await_work(time).await?;
                worked = true;
            }
            Step::Done(performance) => return Ok(perform(server, voice, performance).await),
            Step::Fail(fault) => return Err(fault),
        }
    }
}

/// What the client answered, now and, if it brought our state back, before.
fn answers(server: &Everything, target: &Target<'_>, params: &Value) -> Result<Answers, Fault> {
    let mut answers = match params.get("requestState") {
        None => Answers::new(),
        Some(state) => server.seal.open(target, state.as_str().unwrap_or_default())?,
    };
    let responses = match params.get("inputResponses") {
        None => return Ok(answers),
        Some(responses) => {
            responses.as_object().ok_or_else(|| Fault::invalid("inputResponses is no object"))?
        }
    };
    for (key, response) in responses {
        if !response.is_object() {
            return Err(Fault::invalid(format!("The response to {key} is no object")));
        }
        answers.insert(key.clone(), response.clone());
    }
    Ok(answers)
}

fn input_required(
    server: &Everything,
    part: &Part<'_>,
    answers: &Answers,
    ask: &Ask,
    voice: &Voice,
) -> Result<Value, Fault> {
    let questions = ask.questions.iter().map(|(_, question)| question);
    if let Some(missing) = capability::missing(&part.meta.capabilities, questions) {
        return Err(Fault::missing_capability(missing));
    }
    if ask.streamed {
        voice.out.send(Item::Open);
    }
    let mut result = json!({"resultType": "input_required", "inputRequests": as_map(&ask.questions)});
    if ask.sealed {
        result["requestState"] = server.seal.close(&part.target, answers).into();
    }
    Ok(result)
}
