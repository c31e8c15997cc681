//! Gemini CLI: never names the revision in a header, and shows its model a failed call whole.

use serde_json::json;
use tokio::process::Command;

use super::claims::{Client, Played, check};
use super::script::{DOORS, for_model};
use super::sent::Sent;
use super::stage::{Stage, authorization, play, run};
use crate::world::ecosystem;
use crate::world::model::Model;

const GEMINI_CLI: Client = Client {
    name: "Gemini CLI 0.61.0",
    label: ("gemini-cli-mcp-client", "0.61.0"),
    tool: |door, tool| format!("mcp_{door}_{tool}"),
    unknown: "not found. Did you mean",
    asks: false,
    forms: false,
};

#[tokio::test(flavor = "multi_thread")]
async fn gemini_cli_acts_on_what_it_is_told() {
    let stage = Stage::set().await;
    let model = Model::start(for_model(GEMINI_CLI.tool)).await;
    let mut command = gemini(&stage, &model);
    command.args(["--model", "gemini-2.5-flash", "--approval-mode", "yolo", "--skip-trust"]);
    command.args(["--prompt", "Play the script."]);
    play(command, &model).await;
    for (_, path) in &DOORS[..3] {
        assert!(!Sent::to(&stage, path).names_revision(), "it leaves the header out");
    }
    check(stage, &GEMINI_CLI, &Played::from(&model)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gemini_cli_says_that_it_is_connected() {
    let stage = Stage::set().await;
    let model = Model::start(Vec::new()).await;
    let mut command = gemini(&stage, &model);
    command.args(["mcp", "list"]);
    let ended = run(command).await;
    let said = ended.out + &ended.errors;
    assert_eq!(said.matches(" - Connected").count(), DOORS.len(), "{said}");
    assert_eq!(Sent::to(&stage, "/mcp").count("ping"), 1);
    stage.world.stop().await;
}

/// Its command line, with every door in its settings.
fn gemini(stage: &Stage, model: &Model) -> Command {
    let mut servers = json!({});
    for (door, path) in DOORS {
        servers[door] = if path == "stdio" {
            let [command, arguments @ ..] = stage.pipe();
            json!({"command": command, "args": arguments, "trust": true})
        } else {
            let headers = json!({"Authorization": authorization()});
            json!({"httpUrl": stage.url(path), "headers": headers, "trust": true})
        };
    }
    let settings = json!({
        "mcpServers": servers, "privacy": {"usageStatisticsEnabled": false},
        "general": {"enableAutoUpdate": false}, "security": {"auth": {"selectedType": "gemini-api-key"}},
    });
    stage.write(".gemini/settings.json", &settings.to_string());
    let mut command = stage.command(&ecosystem::agent("gemini"), model);
    command.env("GEMINI_API_KEY", "none").env("GOOGLE_GEMINI_BASE_URL", model.url());
    command.env("GEMINI_CLI_TRUST_WORKSPACE", "true");
    command
}
