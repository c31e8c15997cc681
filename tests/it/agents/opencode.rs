//! OpenCode: takes back every call that has been answered, which must change nothing.

use serde_json::json;

use super::claims::{Client, Played, check};
use super::script::{DOORS, for_model};
use super::sent::Sent;
use super::stage::{Stage, authorization, play};
use crate::world::ecosystem;
use crate::world::model::Model;

const OPENCODE: Client = Client {
    name: "OpenCode 1.18.33",
    label: ("opencode", "1.18.33"),
    tool: |door, tool| format!("{door}_{tool}"),
    unknown: "Model tried to call unavailable tool",
    asks: false,
    forms: false,
};

#[tokio::test(flavor = "multi_thread")]
async fn opencode_acts_on_what_it_is_told() {
    let stage = Stage::set().await;
    let model = Model::start(for_model(OPENCODE.tool)).await;
    let mut servers = json!({});
    for (door, path) in DOORS {
        servers[door] = if path == "stdio" {
            json!({"type": "local", "command": stage.pipe(), "timeout": 60_000})
        } else {
            let headers = json!({"Authorization": authorization()});
            json!({"type": "remote", "url": stage.url(path), "headers": headers, "oauth": false, "timeout": 60_000})
        };
    }
    let provider = json!({
        "npm": "@ai-sdk/openai-compatible", "models": {"scripted": {"tool_call": true}},
        "options": {"baseURL": format!("{}/v1", model.url()), "apiKey": "none"},
    });
    let config =
        json!({"provider": {"scripted": provider}, "autoupdate": false, "share": "disabled", "mcp": servers});
    stage.write("work/opencode.json", &config.to_string());
    // It would fetch a library for plugins that it has not got.
    stage.write(".config/opencode/node_modules/.none", "");
    let lock = json!({"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}});
    stage.write(".config/opencode/package-lock.json", &lock.to_string());
    let mut command = stage.command(&ecosystem::agent("opencode"), &model);
    command.args(["run", "--print-logs", "--pure", "--model", "scripted/scripted", "Play the script."]);
    for variable in ["MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "AUTOUPDATE"] {
        command.env(format!("OPENCODE_DISABLE_{variable}"), "1");
    }
    play(command, &model).await;
    stage.front.left().await;
    for (_, path) in &DOORS[..3] {
        let sent = Sent::to(&stage, path);
        let (calls, cancelled) = (sent.count("tools/call"), sent.count("notifications/cancelled"));
        assert_eq!(calls, cancelled, "it takes back what was answered");
    }
    check(stage, &OPENCODE, &Played::from(&model)).await;
}
