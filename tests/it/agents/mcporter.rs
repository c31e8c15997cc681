//! mcporter: a command line through which agents call tools from their shell, one process a call.

use serde_json::{Value, json};

use super::claims::{Client, Played, check};
use super::script::{DOORS, calls};
use super::stage::{Stage, authorization, play, run};
use crate::world::ecosystem;
use crate::world::model::{Model, Told};

const MCPORTER: Client = Client {
    name: "mcporter 0.12.3",
    label: ("mcporter", "0.12.3"),
    tool: |door, tool| format!("{door}/{tool}"),
    unknown: "Unknown tool",
    asks: true,
    forms: false,
};

#[tokio::test(flavor = "multi_thread")]
async fn mcporter_says_what_it_is_told() {
    let stage = Stage::set().await;
    let model = Model::start(Vec::new()).await;
    let mut servers = json!({});
    for (door, path) in DOORS {
        servers[door] = if path == "stdio" {
            let [command, arguments @ ..] = stage.pipe();
            json!({"command": command, "args": arguments})
        } else {
            json!({"url": stage.url(path), "headers": {"Authorization": authorization()}})
        };
    }
    stage.write("work/config/mcporter.json", &json!({"mcpServers": servers, "imports": []}).to_string());
    let mcporter = |arguments: &[&str]| {
        let mut command = stage.command(&ecosystem::node_22(), &model);
        command.arg(ecosystem::agent("mcporter")).args(arguments);
        command
    };
    let at = async |door: &'static str| {
        let listed: Value =
            serde_json::from_str(&play(mcporter(&["list", door, "--json"]), &model).await).expect("JSON");
        let tools = listed["tools"].as_array().expect("tools").iter();
        let offered: Vec<_> =
            tools.map(|tool| format!("{door}/{}", tool["name"].as_str().expect("a name"))).collect();
        let mut told = Vec::new();
        for call in calls().into_iter().filter(|call| call.door == door) {
            let (tool, arguments) = (format!("{door}.{}", call.tool()), call.arguments().to_string());
            let ended = run(mcporter(&["call", &tool, "--args", &arguments])).await;
            told.push(Told { text: ended.out + &ended.errors, is_error: Some(!ended.success) });
        }
        (offered, told)
    };
    // Most of its time it waits, so all doors are walked at once.
    let all = futures_util::future::join_all(DOORS.map(|(door, _)| at(door))).await;
    let (offered, told): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let played = Played {
        offered: offered.into_iter().flatten().collect(),
        told: told.into_iter().flatten().collect(),
    };
    check(stage, &MCPORTER, &played).await;
}
