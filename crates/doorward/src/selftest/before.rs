//! Is a call decided before it runs, or after?

use std::collections::BTreeSet;
use std::sync::Arc;

use doorward_model::Random;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::client::{CLIENTS, Client};
use super::dummy::{MARK, Received};
use super::stage::SERVER;
use super::{Answer, Effort, Question, Seen, Stage};
use crate::system::SystemRandom;

const QUESTION: Question =
    Question { name: "before", asks: "Is a call decided and recorded before it runs, on every surface?" };
/// Calls under way at once.
const AT_ONCE: usize = 16;
const TOOLS: [&str; 5] = ["echo", "get_issue", "delete_repository", "create_refund", "no_such_tool"];

/// Makes calls that nobody chose, on all surfaces. The server has to receive exactly those
/// that were allowed, and to find each one's decision in the log when it arrives.
pub async fn before(stage: &Stage, effort: Effort) -> Answer {
    QUESTION.answered(look(stage, effort).await)
}

async fn look(stage: &Stage, effort: Effort) -> Seen {
    let earlier = stage.received().len();
    let clients = surfaces(stage).await?;
    let (mut making, mut allowed, mut denied) = (JoinSet::new(), BTreeSet::new(), 0);
    for at in 0..effort.calls {
        let clients = Arc::clone(&clients);
        let mark = format!("mark-{at}-{:016x}", number());
        making.spawn(async move {
            let (surface, client) = &clients[at % clients.len()];
            let (tool, arguments) = surface.call(&mark);
            client.call(&tool, Some(&arguments)).await.map(|said| (mark, said))
        });
        if making.len() >= AT_ONCE || at + 1 == effort.calls {
            let keep = if at + 1 == effort.calls { 0 } else { AT_ONCE - 1 };
            while making.len() > keep {
                let Some(made) = making.join_next().await else { break };
                match made?? {
                    (mark, said) if said.verdict == "allow" => {
                        allowed.insert(mark);
                    }
                    (_, said) if matches!(said.verdict.as_str(), "deny" | "unknown") => denied += 1,
                    (_, said) => return Ok(Err(format!("a call was answered with {said:?}"))),
                }
            }
        }
    }
    let received = stage.received().split_off(earlier);
    Ok(judge(&received, &allowed, denied))
}

fn judge(received: &[Received], allowed: &BTreeSet<String>, denied: usize) -> Result<String, String> {
    if let Some(early) = received.iter().find(|received| !received.recorded) {
        return Err(format!("{} reached the server before its decision was in the log", early.tool));
    }
    let arrived: BTreeSet<_> = received.iter().map(|received| received.mark.clone()).collect();
    if arrived.len() != received.len() {
        return Err("a call reached the server twice".to_owned());
    }
    if let Some(mark) = arrived.difference(allowed).next() {
        let tool = received.iter().find(|received| received.mark == *mark).map_or("?", |it| it.tool.as_str());
        return Err(format!("{tool} reached the server though it was not allowed"));
    }
    if arrived.len() != allowed.len() {
        return Err(format!("of {} allowed calls, {} reached the server", allowed.len(), arrived.len()));
    }
    if allowed.is_empty() || denied == 0 {
        return Err(format!("{} calls were allowed and {denied} refused: too few of a kind", allowed.len()));
    }
    Ok(format!(
        "{} allowed calls on 3 surfaces reached the server, each after its decision lay in the log; {denied} refused ones did not",
        allowed.len()
    ))
}

#[derive(Clone, Copy)]
enum Surface {
    Aggregate,
    Server,
    Meta,
}

impl Surface {
    /// A tool and arguments, drawn by lot.
    fn call(self, mark: &str) -> (String, Value) {
        let tool = TOOLS[usize::try_from(number() % TOOLS.len() as u64).unwrap_or(0)];
        let amount = i64::try_from(number() % 400).unwrap_or(0) - 100;
        let mut arguments = json!({MARK: mark, "amount": amount});
        match number() % 4 {
            0 => arguments["lines"] = json!([{"amount": amount}, {"amount": 1}]),
            1 => arguments["note"] = json!(format!("{:x} é \" \\ {{}}", number())),
            2 => arguments["deep"] = json!({"a": [[{"b": [amount, null, true, 1.5]}]]}),
            _ => {}
        }
        match self {
            Self::Aggregate => (format!("{SERVER}__{tool}"), arguments),
            Self::Server => (tool.to_owned(), arguments),
            Self::Meta => {
                ("call".to_owned(), json!({"tool": tool, "serverId": SERVER, "args": arguments.to_string()}))
            }
        }
    }
}

type Clients = Arc<Vec<(Surface, Client)>>;

async fn surfaces(stage: &Stage) -> anyhow::Result<Clients> {
    let mut clients = Vec::new();
    for about in &CLIENTS {
        clients.push((Surface::Aggregate, stage.client("/mcp", about).await?));
        clients.push((Surface::Server, stage.client(&format!("/mcp/{SERVER}"), about).await?));
        clients.push((Surface::Meta, stage.client("/mcp/_gateway", about).await?));
    }
    Ok(Arc::new(clients))
}

fn number() -> u64 {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_call_too_many_too_few_or_too_early_is_found() {
        let received = |mark: &str, recorded| Received { tool: "echo".into(), mark: mark.into(), recorded };
        let allowed: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        let (a, b) = (received("a", true), received("b", true));
        assert!(judge(&[a.clone(), b.clone()], &allowed, 1).is_ok());
        let cases = [
            (vec![a.clone(), received("b", false)], "before its decision"),
            (vec![a.clone(), b.clone(), a.clone()], "twice"),
            (vec![a.clone(), b.clone(), received("c", true)], "not allowed"),
            (vec![a.clone()], "of 2 allowed calls, 1"),
        ];
        for (received, words) in cases {
            let said = judge(&received, &allowed, 1).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
        assert!(judge(&[a, b], &allowed, 0).is_err(), "nothing was refused");
        assert!(judge(&[], &BTreeSet::new(), 9).is_err(), "nothing was allowed");
    }
}
