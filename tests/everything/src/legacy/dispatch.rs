//! The methods of a session.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Session, calls, tasks};
use crate::log_level::LogLevel;
use crate::out::Out;
use crate::revision::Revision;
use crate::rpc::Fault;
use crate::server::Everything;
use crate::task::lock;
use crate::{completion, downlevel, prompts, resources, tools};

/// The result of a request.
pub async fn dispatch(
    server: &Arc<Everything>,
    session: &Arc<Session>,
    method: &str,
    params: &Value,
    out: &Out,
) -> Result<Value, Fault> {
    let revision = session.revision;
    let entry = |value| downlevel::entry(revision, value);
    match method {
        "ping" => Ok(json!({})),
        "initialize" => Err(Fault::invalid_request("The session is open already")),
        "tools/list" => {
            list(params, "tools", tools::all(server).iter().map(|tool| entry(tool.describe())).collect())
        }
        "prompts/list" => list(
            params,
            "prompts",
            prompts::all(server).iter().map(|prompt| entry(prompt.describe())).collect(),
        ),
        "resources/list" => list(params, "resources", resources::list()),
        "resources/templates/list" => list(params, "resourceTemplates", resources::templates()),
        "resources/read" => {
            let uri = known(server, params)?;
            Ok(json!({ "contents": resources::read(server, uri) }))
        }
        "resources/subscribe" => {
            lock(&session.watched).insert(known(server, params)?.to_owned());
            Ok(json!({}))
        }
        "resources/unsubscribe" => {
            lock(&session.watched).remove(params["uri"].as_str().unwrap_or_default());
            Ok(json!({}))
        }
        "logging/setLevel" => {
            let level = params["level"].as_str().and_then(LogLevel::parse);
            *lock(&session.log_level) = level.ok_or_else(|| Fault::invalid("Unknown log level"))?;
            Ok(json!({}))
        }
        "completion/complete" => completion::complete(server, params),
        "tools/call" => calls::call(server, session, params, out).await,
        "prompts/get" => calls::get(server, session, params, out).await,
        _ if method.starts_with("tasks/") && revision == Revision::V2025_11_25 => {
            tasks::serve(server, session, method, params, out).await
        }
        _ => Err(Fault::unknown_method(method)),
    }
}

/// One page, because all fits on one.
fn list(params: &Value, member: &str, entries: Value) -> Result<Value, Fault> {
    if params["cursor"].is_null() {
        Ok(json!({ member: entries }))
    } else {
        Err(Fault::invalid("Unknown cursor"))
    }
}

/// The URI in the parameters, if there is such a resource.
fn known<'a>(server: &Everything, params: &'a Value) -> Result<&'a str, Fault> {
    let uri = params["uri"].as_str().ok_or_else(|| Fault::invalid("uri is missing"))?;
    let found = resources::read(server, uri).is_some();
    found.then_some(uri).ok_or_else(|| Fault::new(-32002, "Resource not found").with(json!({ "uri": uri })))
}
