//! The era since 2026-07-28: every request stands on its own.

mod calls;
mod listen;
mod request;
mod tasks;

pub use request::{Meta, is_modern};

use std::sync::Arc;

use serde_json::{Value, json};

use crate::capability::TASKS;
use crate::out::Out;
use crate::perform::Voice;
use crate::revision::Revision;
use crate::rpc::Fault;
use crate::server::{Everything, INSTRUCTIONS, implementation};
use crate::{completion, downlevel, prompts, resources, skills, tools};

const REVISION: Revision = Revision::V2026_07_28;

/// What `server/discover` and refusals of other versions name.
pub fn supported(server: &Everything) -> Vec<&'static str> {
    let legacy = Revision::LEGACY.into_iter().rev().filter(|_| server.eras.legacy());
    Revision::MODERN.into_iter().chain(legacy).map(Revision::as_str).collect()
}

/// Whether there is such a method; the transport answers 404 before it looks further.
pub fn knows(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "tools/call"
            | "prompts/list"
            | "prompts/get"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
            | "completion/complete"
            | "subscriptions/listen"
            | "tasks/get"
            | "tasks/update"
            | "tasks/cancel"
            | "skills/list"
            | "skills/get"
            | "resources/directory/read"
    )
}

/// Answers a request whose metadata are in order.
pub async fn respond(server: Arc<Everything>, id: Value, method: &str, params: Value, meta: Meta, out: Out) {
    let result = match method {
        "subscriptions/listen" => listen::listen(&server, &id, &params, &meta, &out).await,
        _ => dispatch(&server, method, &params, &meta, &out).await,
    };
    out.answer(&id, result.map(complete));
}

async fn dispatch(
    server: &Arc<Everything>,
    method: &str,
    params: &Value,
    meta: &Meta,
    out: &Out,
) -> Result<Value, Fault> {
    let voice = || Voice {
        out: out.clone(),
        revision: REVISION,
        progress_token: meta.progress_token.clone(),
        log_level: meta.log_level,
    };
    match method {
        "server/discover" => Ok(cached(json!({
            "supportedVersions": supported(server),
            "capabilities": downlevel::capabilities(REVISION),
            "instructions": INSTRUCTIONS,
        }))),
        "tools/list" => {
            let tools = tools::all(server);
            list(
                params,
                "tools",
                tools.iter().map(|tool| downlevel::entry(REVISION, tool.describe())).collect(),
            )
        }
        "prompts/list" => {
            list(params, "prompts", prompts::all(server).iter().map(prompts::Prompt::describe).collect())
        }
        "resources/list" => list(params, "resources", with_skills(resources::list())),
        "resources/templates/list" => list(params, "resourceTemplates", resources::templates()),
        "resources/read" => read(server, params),
        "skills/list" => {
            skills::list(&params["cursor"]).map(cached).ok_or_else(|| Fault::invalid("Unknown cursor"))
        }
        "skills/get" => found(params, skills::get, "Skill not found"),
        "resources/directory/read" => found(params, skills::directory, "No such directory"),
        "tools/call" => calls::call(server, params, meta, &voice()).await,
        "prompts/get" => calls::get(server, params, meta, &voice()).await,
        "completion/complete" => completion::complete(server, params),
        "tasks/get" | "tasks/update" | "tasks/cancel" => tasks::serve(server, method, params, meta),
        _ => Err(Fault::unknown_method(method)),
    }
}

/// One page, because all fits on one.
fn list(params: &Value, member: &str, entries: Value) -> Result<Value, Fault> {
    if params["cursor"].is_null() {
        Ok(cached(json!({ member: entries })))
    } else {
        Err(Fault::invalid("Unknown cursor"))
    }
}

fn read(server: &Everything, params: &Value) -> Result<Value, Fault> {
    let uri = params["uri"].as_str().ok_or_else(|| Fault::invalid("uri is missing"))?;
    let contents = resources::read(server, uri);
    let contents =
        contents.ok_or_else(|| Fault::invalid("Resource not found").with(json!({ "uri": uri })))?;
    Ok(cached(json!({ "contents": contents })))
}

/// What a request names by its URI.
fn found(params: &Value, find: impl Fn(&str) -> Option<Value>, missing: &str) -> Result<Value, Fault> {
    let uri = params["uri"].as_str().ok_or_else(|| Fault::invalid("uri is missing"))?;
    find(uri).map(cached).ok_or_else(|| Fault::invalid(missing))
}

fn with_skills(mut resources: Value) -> Value {
    resources.as_array_mut().into_iter().for_each(|resources| resources.extend(skills::resources()));
    resources
}

fn cached(mut result: Value) -> Value {
    result["ttlMs"] = 0.into();
    result["cacheScope"] = "public".into();
    result
}

/// With what every result has.
fn complete(mut result: Value) -> Value {
    if result["resultType"].is_null() {
        result["resultType"] = "complete".into();
    }
    result["_meta"]["io.modelcontextprotocol/serverInfo"] =
        downlevel::implementation(REVISION, implementation());
    result
}

/// What a client lacks that has not declared tasks.
fn needs_tasks() -> Fault {
    Fault::missing_capability(json!({"extensions": { TASKS: {} }}))
}
