//! Codex: knows the tools of a server as a group, can be asked for forms and pages, and ends its
//! sessions. It speaks 2026-07-28 if it is told to.

use serde_json::json;

use super::claims::{Client, Played, check};
use super::script::{DOORS, for_model};
use super::stage::{Stage, authorization, play};
use crate::world::ecosystem;
use crate::world::model::Model;

const CODEX: Client = Client {
    name: "Codex 0.169.0",
    label: ("codex-mcp-client", "0.169.0"),
    tool: |door, tool| format!("mcp__{door}/{tool}"),
    unknown: "unsupported call",
    asks: false,
    forms: true,
};

const MODERN: Client = Client { name: "Codex 0.169.0, `mcp_2026_07_28`", ..CODEX };

#[tokio::test(flavor = "multi_thread")]
async fn codex_acts_on_what_it_is_told() {
    act(&CODEX, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_of_the_modern_era_acts_on_what_it_is_told() {
    act(&MODERN, "mcp_2026_07_28 = true\n").await;
}

async fn act(client: &Client, features: &str) {
    let stage = Stage::set().await;
    let model = Model::start(for_model(client.tool)).await;
    let mut config = format!(
        "model = \"scripted\"\nmodel_provider = \"scripted\"\ncheck_for_update_on_startup = false\nanalytics.enabled = false\nfeedback.enabled = false\n\n[features]\nplugins = false\n{features}\n[model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{}/v1\"\nwire_api = \"responses\"\n",
        model.url()
    );
    for (door, path) in DOORS {
        // It would begin its first turn without a server that is not there within two seconds.
        config += &format!("\n[mcp_servers.{door}]\nrequired = true\nstartup_timeout_sec = 60\n");
        config += &if path == "stdio" {
            let [command, arguments @ ..] = stage.pipe();
            format!("command = \"{command}\"\nargs = {}\n", json!(arguments))
        } else {
            let headers = format!("{{ Authorization = \"{}\" }}", authorization());
            format!("url = \"{}\"\nhttp_headers = {headers}\n", stage.url(path))
        };
    }
    stage.write(".codex/config.toml", &config);
    let mut command = stage.command(&ecosystem::agent("codex"), &model);
    command.args(["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]);
    command.arg("Play the script.");
    play(command, &model).await;
    check(stage, client, &Played::from(&model)).await;
}
