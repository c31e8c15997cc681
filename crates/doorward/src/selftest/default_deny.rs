//! With no policy written, is everything denied?

use serde_json::json;

use super::client::{CLIENTS, Client};
use super::{Answer, Question, Seen, Stage};

const QUESTION: Question =
    Question { name: "default-deny", asks: "With no policy written, is everything denied?" };

/// A caller who is known, and a server that is there, and nothing that allows anything.
pub async fn default_deny(stage: &Stage) -> Answer {
    QUESTION.answered(look(stage).await)
}

async fn look(stage: &Stage) -> Seen {
    let mut calls = 0;
    for client in &CLIENTS {
        let known = stage.client("/mcp", client).await?;
        let listed = known.tools().await?;
        if !listed.is_empty() {
            return Ok(Err(format!("{} is shown {}", client.name, listed.join(", "))));
        }
        for server in &stage.config().servers {
            for tool in super::dummy::TOOLS {
                let said = known.call(&format!("{}__{tool}", server.id), Some(&json!({}))).await?;
                let is_default =
                    ["default_deny", "no rule allows"].iter().any(|words| said.because.contains(words));
                if said.verdict != "deny" || !is_default {
                    return Ok(Err(format!("{tool} is answered with {} {}", said.verdict, said.because)));
                }
                calls += 1;
            }
        }
    }
    // The newer era has no session, so that a list is the first thing that is asked.
    let [modern, ..] = &CLIENTS;
    let stranger = Client::open(stage.address(), "/mcp", "", modern).await?.status().await?;
    if stranger != 401 {
        return Ok(Err(format!("a caller without a key is answered with HTTP {stranger}")));
    }
    let received = stage.received().len();
    if received > 0 {
        return Ok(Err(format!("{received} calls reached the server")));
    }
    Ok(Ok(format!(
        "{calls} calls of a known caller denied by default_deny, no tool listed, a stranger sent away with 401, nothing reached the server"
    )))
}
