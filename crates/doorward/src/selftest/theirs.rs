//! The policies of a configuration, examined in a gateway of the test's own: is the same
//! caller told the same twice, and by whichever client?

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::client::{CLIENTS, Client, Said};
use super::one_policy::alike;
use super::{Answer, Question, Setup, Stage};
use crate::config::Config;
use crate::runtime::{rego_source, role_policy};

const SAME: Question = Question {
    name: "yours-deterministic",
    asks: "Do your policies give an identical call an identical verdict?",
};
const ONE: Question =
    Question { name: "yours-one-policy", asks: "Do your policies say the same whichever client is used?" };
/// Bounds on what is tried, so that a large configuration takes seconds.
const SERVERS: usize = 8;
const TOOLS: usize = 24;
const ROLES: usize = 8;
/// The role of a caller whom no policy knows.
const NOBODY: &str = "doorward-selftest-nobody";

/// Asks about every server, tool and role that the policies name, as far as the bounds go.
///
/// # Errors
/// When no gateway can be started with these policies.
pub async fn theirs(config: &Config, program: &Path) -> anyhow::Result<Vec<Answer>> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::start(setup(config, program, folder.path())?).await?;
    let answers = vec![SAME.answered(same(&stage).await), ONE.answered(one(&stage).await)];
    stage.stop().await;
    Ok(answers)
}

async fn same(stage: &Stage) -> super::Seen {
    let [about, ..] = &CLIENTS;
    let mut asked = 0;
    for role in roles(stage) {
        let client = stage.client_as(&role, "/mcp", about).await?;
        let mut calls = calls(stage);
        let first = ask(&client, &calls).await?;
        calls.reverse();
        let mut second = ask(&client, &calls).await?;
        second.reverse();
        asked += calls.len();
        if let Some(((tool, one), (_, two))) = first.iter().zip(&second).find(|(one, two)| one != two) {
            return Ok(Err(format!("{tool} as {role} is answered with {one:?}, and then with {two:?}")));
        }
    }
    Ok(Ok(format!("{asked} calls, made twice in opposite order")))
}

async fn one(stage: &Stage) -> super::Seen {
    let mut seen = Vec::new();
    for about in &CLIENTS {
        let mut said = Vec::new();
        for role in roles(stage) {
            let client = stage.client_as(&role, "/mcp", about).await?;
            said.push((format!("tools/list as {role}"), client.tools().await?.join(", ")));
            for (tool, answer) in ask(&client, &calls(stage)).await? {
                said.push((format!("{tool} as {role}"), format!("{} {}", answer.verdict, answer.because)));
            }
        }
        seen.push((about.name, said));
    }
    Ok(alike(&seen))
}

async fn ask(client: &Client, calls: &[String]) -> anyhow::Result<Vec<(String, Said)>> {
    let mut said = Vec::with_capacity(calls.len());
    for tool in calls {
        said.push((tool.clone(), client.call(tool, Some(&json!({"amount": 1}))).await?));
    }
    Ok(said)
}

fn roles(stage: &Stage) -> Vec<String> {
    let keys = stage.config().auth.keys.iter();
    keys.flat_map(|key| key.settings.roles.iter().cloned()).collect()
}

fn calls(stage: &Stage) -> Vec<String> {
    let config = stage.config();
    let servers = config.servers.iter().map(|server| server.id.as_str());
    let tools = tools(config);
    servers.flat_map(|server| tools.iter().map(move |tool| format!("{server}__{tool}"))).collect()
}

/// Names that the rules speak of; a star stands for something.
fn tools(config: &Config) -> Vec<String> {
    let named = config.policies.iter().flat_map(|policy| &policy.rules).filter_map(|rule| rule.tool.as_ref());
    let mut tools: BTreeSet<_> = named
        .map(|glob| glob.replace(['*', '?'], "x"))
        .filter(|name| name.chars().all(|it| it.is_ascii_alphanumeric() || "_-.".contains(it)))
        .collect();
    tools.extend(super::dummy::TOOLS.map(str::to_owned));
    tools.into_iter().filter(|name| !name.is_empty()).take(TOOLS).collect()
}

fn setup(config: &Config, program: &Path, folder: &Path) -> anyhow::Result<Setup> {
    let named = config.servers.iter().filter(|server| server.enabled).map(|server| server.id.to_string());
    let mut servers: Vec<_> = named.take(SERVERS).collect();
    if servers.is_empty() {
        servers.push(super::stage::SERVER.to_owned());
    }
    let roles = config.policies.iter().flat_map(|policy| policy.roles.iter().cloned());
    let mut roles: BTreeSet<_> = roles.filter(|role| role != "*").take(ROLES).collect();
    roles.insert(NOBODY.to_owned());
    let mut rego = Vec::new();
    for (at, policy) in config.rego_policies.iter().enumerate() {
        let mode = rego_source(policy).mode;
        let mut entry = json!({"name": policy.name, "source": policy.source, "mode": mode});
        if let Some(data) = &policy.data {
            let path = folder.join(format!("data-{at}.json"));
            std::fs::write(&path, data)?;
            entry["data"] = json!(path);
        }
        rego.push(entry);
    }
    let policies: Vec<_> = config.policies.iter().map(role_policy).collect();
    Ok(Setup {
        servers,
        tools: tools(config),
        roles: roles.into_iter().collect(),
        rest: json!({"policies": policies, "regoPolicies": rego}),
        ..Setup::bare(program)
    })
}
