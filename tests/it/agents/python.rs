//! Frameworks from PyPI, each with the scripted model that it has or a script's own hand.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::claims::{Client, Played, check};
use super::script::{DOORS, calls};
use super::sent::Sent;
use super::stage::{Stage, authorization, play};
use crate::world::ecosystem;
use crate::world::model::{Model, Told};

const FASTMCP: Client = Client {
    name: "fastmcp 4.1.2",
    label: ("mcp", "0.1.0"),
    tool: |door, tool| format!("{door}/{tool}"),
    unknown: "Unknown tool",
    asks: true,
    forms: false,
};
const PYDANTIC_AI: Client =
    Client { name: "pydantic-ai 2.68.0", unknown: "Unknown tool name", asks: false, ..FASTMCP };
const OPENAI_AGENTS: Client =
    Client { name: "openai-agents 0.24.0", unknown: "not found", asks: false, ..FASTMCP };
const LANGCHAIN: Client = Client { name: "langchain-mcp-adapters 0.3.2", ..FASTMCP };

#[tokio::test(flavor = "multi_thread")]
async fn fastmcp_acts_on_what_it_is_told() {
    let stage = Stage::set().await;
    let played = walk(&stage, "python-sdk-2", "with_fastmcp.py").await;
    check(stage, &FASTMCP, &played).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pydantic_ai_acts_on_what_it_is_told() {
    let stage = Stage::set().await;
    let played = walk(&stage, "python-sdk-2", "with_pydantic_ai.py").await;
    check(stage, &PYDANTIC_AI, &played).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_agents_act_on_what_they_are_told() {
    let stage = Stage::set().await;
    let played = walk(&stage, "python-sdk-1", "with_openai_agents.py").await;
    check(stage, &OPENAI_AGENTS, &played).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchain_acts_on_what_it_is_told() {
    let stage = Stage::set().await;
    let played = walk(&stage, "python-sdk-1", "with_langchain.py").await;
    // One for the list, and one for every call.
    assert_eq!(Sent::to(&stage, "/mcp").count("initialize"), 7);
    check(stage, &LANGCHAIN, &played).await;
}

/// Runs a script of `tests/clients` in one of the environments.
async fn walk(stage: &Stage, environment: &str, script: &str) -> Played {
    let mut doors = json!({});
    for (door, path) in DOORS {
        doors[door] = if path == "stdio" {
            json!({"command": stage.pipe()})
        } else {
            json!({"url": stage.url(path), "authorization": authorization()})
        };
    }
    let calls = calls()
        .into_iter()
        .map(|call| json!({"door": call.door, "tool": call.tool(), "arguments": call.arguments()}));
    let plan = json!({"doors": doors, "calls": calls.collect::<Vec<_>>()});
    let model = Model::start(Vec::new()).await;
    let python = ecosystem::folder().join(environment).join("bin/python");
    let mut command = stage.command(&python, &model);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("clients").join(script)).arg(plan.to_string());
    let out = play(command, &model).await;
    let said: Value = serde_json::from_str(out.lines().last().unwrap_or_default()).expect("JSON");
    let words = |value: &Value| value.as_str().expect("a text").to_owned();
    let told = |it: &Value| Told { text: words(&it["text"]), is_error: it["is_error"].as_bool() };
    Played {
        offered: said["offered"].as_array().expect("tools").iter().map(words).collect(),
        told: said["told"].as_array().expect("answers").iter().map(told).collect(),
    }
}
