//! Can a policy single out one action, and one argument of it?

use serde_json::{Value, json};

use super::client::CLIENTS;
use super::stage::SERVER;
use super::{Answer, Question, Seen, Stage};

const QUESTION: Question = Question {
    name: "precise",
    asks: "Can one action be withheld while the others stay, and one argument be capped?",
};

/// `get_issue` is there and `delete_repository` is not; a refund of 100 goes through, one of
/// 101 does not, wherever in the arguments the amount stands.
pub async fn precise(stage: &Stage) -> Answer {
    QUESTION.answered(look(stage).await)
}

async fn look(stage: &Stage) -> Seen {
    let [about, ..] = &CLIENTS;
    let client = stage.client(&format!("/mcp/{SERVER}"), about).await?;
    let listed = client.tools().await?;
    if listed != ["create_refund", "echo", "get_issue"] {
        return Ok(Err(format!("listed are: {}", listed.join(", "))));
    }
    let cases: [(&str, Option<Value>, &str); 8] = [
        ("get_issue", Some(json!({"number": 7})), "allow"),
        ("get_issue", None, "allow"),
        ("delete_repository", Some(json!({})), "deny"),
        ("create_refund", Some(json!({"amount": 100})), "allow"),
        ("create_refund", Some(json!({"amount": 101})), "deny"),
        ("create_refund", None, "deny"),
        ("create_refund", Some(json!({"amount": 1, "lines": [{"amount": 100}]})), "allow"),
        ("create_refund", Some(json!({"amount": 1, "lines": [{"amount": 100}, {"amount": 101}]})), "deny"),
    ];
    let earlier = stage.received().len();
    for (tool, arguments, expected) in &cases {
        let said = client.call(tool, arguments.as_ref()).await?;
        if said.verdict != *expected {
            let arguments = arguments.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
            return Ok(Err(format!("{tool} with {arguments} is answered with {}", said.verdict)));
        }
    }
    let allowed = cases.iter().filter(|(_, _, expected)| *expected == "allow").count();
    let received = stage.received().len() - earlier;
    if received != allowed {
        return Ok(Err(format!("{allowed} calls were allowed, and {received} reached the server")));
    }
    Ok(Ok("get_issue is listed and called, delete_repository is neither; a refund of 100 goes through, one of 101 does not, nor one with 101 in its second line, nor one without arguments".to_owned()))
}
