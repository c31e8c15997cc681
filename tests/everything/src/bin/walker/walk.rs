//! The way through everything there is.

use serde_json::{Value, json};

use crate::client::Client;
use crate::{Result, form};

/// Whose schema another tool wants to see.
const FOCAL: &str = "json_schema_2020_12_tool";

/// Uses every tool, resource and prompt. A refusal is no failure: some are wanted.
pub async fn walk(client: &mut Client, context: &Value) -> Result<()> {
    let tools = list(client, "tools").await?;
    for tool in &tools {
        let arguments = arguments(tool, &tools, context);
        client
            .request("tools/call", json!({"name": tool["name"], "arguments": arguments}), Some(tool))
            .await?;
    }
    for resource in list(client, "resources").await? {
        client.request("resources/read", json!({"uri": resource["uri"]}), None).await?;
    }
    for prompt in list(client, "prompts").await? {
        client.request("prompts/get", json!({"name": prompt["name"]}), None).await?;
    }
    Ok(())
}

async fn list(client: &mut Client, kind: &str) -> Result<Vec<Value>> {
    let answer = client.request(&format!("{kind}/list"), json!({}), None).await?;
    Ok(answer["result"][kind].as_array().cloned().unwrap_or_default())
}

/// What the scenario wants a tool to be called with, or else something that fits.
fn arguments(tool: &Value, tools: &[Value], context: &Value) -> Value {
    let calls = context["toolCalls"].as_array();
    if let Some(call) = calls.into_iter().flatten().find(|call| call["name"] == tool["name"]) {
        return call["arguments"].clone();
    }
    let focal = tools.iter().find(|tool| tool["name"] == FOCAL);
    match focal {
        Some(focal) if tool["name"] == "json_schema_echo" => json!({"schema": focal["inputSchema"]}),
        _ => form::arguments(tool),
    }
}
