//! Claude Code: asks for its terms in a session, listens, and leaves without ending it.

use hyper::Method;
use serde_json::json;

use super::claims::{Client, Played, check};
use super::script::{DOORS, for_model};
use super::sent::Sent;
use super::stage::{Stage, authorization, play};
use crate::world::ecosystem;
use crate::world::model::Model;

const CLAUDE_CODE: Client = Client {
    name: "Claude Code 2.1.197",
    label: ("claude-code", "2.1.197"),
    tool: |door, tool| format!("mcp__{door}__{tool}"),
    unknown: "No such tool available",
    asks: false,
    forms: true,
};

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_acts_on_what_it_is_told() {
    let stage = Stage::set().await;
    let model = Model::start(for_model(CLAUDE_CODE.tool)).await;
    let mut servers = json!({});
    for (door, path) in DOORS {
        servers[door] = if path == "stdio" {
            let [command, arguments @ ..] = stage.pipe();
            json!({"type": "stdio", "command": command, "args": arguments})
        } else {
            json!({"type": "http", "url": stage.url(path), "headers": {"Authorization": authorization()}})
        };
    }
    let mut command = stage.command(&ecosystem::agent("claude"), &model);
    command
        .args(["--print", "Play the script.", "--strict-mcp-config", "--mcp-config"])
        .arg(json!({"mcpServers": servers}).to_string())
        .args(["--allowedTools", "mcp__all,mcp__old,mcp__new,mcp__pipe"])
        .env("ANTHROPIC_BASE_URL", model.url())
        .env("ANTHROPIC_API_KEY", "none")
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        // It would begin its first turn without servers that are not there within seconds.
        .env("MCP_CONNECTION_NONBLOCKING", "0")
        .env("MCP_TIMEOUT", "60000");
    play(command, &model).await;
    stage.front.left().await;
    for (_, path) in &DOORS[..3] {
        assert!(!Sent::to(&stage, path).made(&Method::DELETE), "it leaves its sessions open");
    }
    check(stage, &CLAUDE_CODE, &Played::from(&model)).await;
}
