//! What was asked, of whom, and what came of it, for the log. The words themselves are in
//! nobody's log: a person may have typed a password.

use doorward_ledger::EventRecord;
use doorward_model::ServerId;
use doorward_model::json::Value;

use super::reread;
use crate::pipeline::Asked;
use crate::stage::resolve::Resolved;

/// Leaves an entry about a question that a server asked.
pub(super) fn note(resolved: &Resolved<'_>, method: &str, how: &str) {
    let asked = resolved.asked();
    note_of(asked, &asked.call.to_string(), &resolved.server().id, resolved.target(), method, how);
}

/// The same about the question of a task that this call became.
pub(crate) fn note_of(
    asked: &Asked<'_>,
    call: &str,
    server: &ServerId,
    target: &str,
    method: &str,
    how: &str,
) {
    let detail = format!("call {call}, server {server}, target {target:?}: {how}");
    let (kind, time) = ("question", asked.gateway.clock.now());
    let ip = asked.incoming.arrival.ip;
    let event = EventRecord { kind, time, reason: method, ip, grant: None, detail: Some(&detail) };
    if let Err(error) = asked.gateway.ledger.event(&event) {
        tracing::error!(target: "doorward::ledger", %error, "a question could not be recorded");
    }
}

/// What an answer, JSON text, amounts to.
pub(crate) fn gist(result: &str) -> &'static str {
    let action = reread(result).and_then(|result| {
        let action = result.root().get("action").and_then(Value::as_str)?;
        ["accept", "decline", "cancel"].into_iter().find(|known| *known == action)
    });
    action.unwrap_or("answered")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_by_its_action_and_never_by_its_words() {
        let cases = [
            (r#"{"action":"accept","content":{"password":"x"}}"#, "accept"),
            (r#"{"action":"decline"}"#, "decline"),
            (r#"{"action":"anything"}"#, "answered"),
            (r#"{"roots":[]}"#, "answered"),
        ];
        for (result, expected) in cases {
            assert_eq!(gist(result), expected);
        }
    }
}
