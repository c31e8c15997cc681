//! The meta tools of `/mcp/_gateway` and of `serve --stdio --surface meta`: the
//! gateway seen as an MCP server. Each answers with one text block of JSON, and
//! each shows its caller only what that caller may see.

mod audit;
mod invoke;
mod presented;
mod readings;
mod servers;
mod tools;

use presented::Who;
pub(crate) use readings::Readings;

use std::borrow::Cow;
use std::sync::Arc;

use doorward_model::json::{Value, quoted};
use doorward_wire::{Abilities, Era, RpcError};

use crate::allowance;
use crate::pipeline::Asked;
use crate::reply::Reply;

/// One meta tool.
struct MetaTool {
    name: &'static str,
    description: &'static str,
    /// `properties` of the input schema, JSON text.
    properties: &'static str,
    /// `required`, JSON text.
    required: &'static str,
}

const API_KEY: &str = r#""apiKey":{"type":"string","description":"Key of the caller, in place of what the connection presents"}"#;

const TOOLS: [MetaTool; 8] = [
    MetaTool {
        name: "call",
        description: "Call a tool of a registered server, through policy and audit",
        properties: r#""tool":{"type":"string","description":"Tool name to call"},"args":{"type":"string","default":"{}","description":"Tool arguments as JSON string"},"serverId":{"type":"string","description":"Server that has the tool, where several do"}"#,
        required: r#"["tool"]"#,
    },
    MetaTool {
        name: "list_tools",
        description: "List the tools that the caller may use",
        properties: "",
        required: "[]",
    },
    MetaTool {
        name: "list_servers",
        description: "List the servers within the caller's reach and their status",
        properties: "",
        required: "[]",
    },
    MetaTool {
        name: "server_status",
        description: "Health of the servers within the caller's reach",
        properties: "",
        required: "[]",
    },
    MetaTool {
        name: "audit_log",
        description: "Records of decided calls, newest first; without the scope audit.read only the caller's own",
        properties: r#""consumerId":{"type":"string"},"serverId":{"type":"string"},"tool":{"type":"string"},"status":{"type":"string","enum":["success","error","denied","rate-limited"]},"from":{"type":"string","description":"RFC 3339 time, inclusive"},"to":{"type":"string","description":"RFC 3339 time, exclusive"},"limit":{"type":"integer","minimum":1,"maximum":1000,"default":50}"#,
        required: "[]",
    },
    MetaTool {
        name: "audit_verify",
        description: "Check the whole audit log: hashes, order and signed checkpoints",
        properties: "",
        required: "[]",
    },
    MetaTool {
        name: "audit_stats",
        description: "How many calls there were, by status and server",
        properties: "",
        required: "[]",
    },
    MetaTool {
        name: "usage",
        description: "Calls, errors and latency, by server and tool",
        properties: r#""consumerId":{"type":"string"}"#,
        required: "[]",
    },
];

/// The entries of `tools/list`, comma separated.
pub(crate) fn definitions() -> String {
    let mut out = String::new();
    for tool in &TOOLS {
        if !out.is_empty() {
            out.push(',');
        }
        let comma = if tool.properties.is_empty() { "" } else { "," };
        out.push_str(&format!(
            r#"{{"name":"{}","description":{},"inputSchema":{{"type":"object","properties":{{{}{comma}{API_KEY}}},"required":{}}}}}"#,
            tool.name,
            quoted(tool.description),
            tool.properties,
            tool.required
        ));
    }
    out
}

/// Why a meta tool has no JSON to show.
pub(crate) enum Failure {
    /// Shown as `isError` text: the input does not fit.
    Input(String),
    /// An error of the protocol itself.
    Protocol(RpcError),
}

/// Answers `tools/call` on the meta endpoint.
pub(crate) async fn call(asked: Box<Asked<'_>>) -> Reply {
    let params = asked.request.params;
    let arguments = params.and_then(|params| params.get("arguments")).filter(|value| value.is_object());
    let presented;
    let mut asked: Box<Asked<'_>> = asked;
    match presented::who(&asked, arguments).await {
        Who::Connected => {}
        Who::Presented(caller) => {
            presented = caller;
            asked.caller = &presented;
        }
        Who::Nobody => {
            let text = text_result(r#"{"error":"Authentication failed"}"#, false, asked.era());
            return Reply::result(asked.request.id.raw(), &text);
        }
    }
    // What is called through a tool of the gateway cannot ask whoever called that.
    asked.abilities = Cow::Owned(Abilities::default());
    asked.declared = Arc::default();
    let era = asked.era();
    let id = asked.request.id.raw().to_owned();
    let name = params.and_then(|params| params.get("name")).and_then(Value::as_str).unwrap_or_default();
    // A call has limits of its own.
    if name != "call"
        && let Err(reply) = allowance::take(&asked)
    {
        return reply;
    }
    let answer = match name.as_ref() {
        "call" => invoke::call(asked, arguments).await,
        "list_tools" => tools::list(asked).await,
        "list_servers" => Ok(servers::list(&asked)),
        "server_status" => Ok(servers::status(&asked)),
        "audit_log" => audit::log(&asked, arguments).await,
        "audit_verify" => audit::verify(&asked).await,
        "audit_stats" => audit::stats(&asked).await,
        "usage" => audit::usage(&asked, arguments).await,
        unknown => Err(Failure::Protocol(RpcError::unknown_tool(unknown))),
    };
    match answer {
        Ok(text) => Reply::result(&id, &text_result(&text, false, era)),
        Err(Failure::Input(text)) => Reply::result(&id, &text_result(&text, true, era)),
        Err(Failure::Protocol(error)) => Reply::error(Some(&id), &error),
    }
}

fn text_result(text: &str, is_error: bool, era: Era) -> String {
    let complete = if era == Era::Modern { r#""resultType":"complete","# } else { "" };
    let error = if is_error { r#","isError":true"# } else { "" };
    format!(r#"{{{complete}"content":[{{"type":"text","text":{}}}]{error}}}"#, quoted(text))
}

/// A string argument; absent and empty are the same.
fn text<'a>(arguments: Option<Value<'a>>, key: &str) -> Option<Cow<'a, str>> {
    arguments?.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// Writes JSON with two spaces of indentation, as people and models read it.
fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
