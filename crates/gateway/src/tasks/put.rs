//! Putting what a task wants to know to a client of the legacy era, which waits for its result.

use doorward_model::json::Document;
use doorward_upstream::Question;
use doorward_wire::task::related;

use super::handle::Task;
use crate::ask::client::{self, NoAnswer};
use crate::ask::{evidence, reread};
use crate::pipeline::Asked;

/// Asks the client, on behalf of the task; `params` and the result are JSON text.
pub(super) async fn put(
    asked: &Asked<'_>,
    task: &Task,
    method: &str,
    params: &str,
) -> Result<String, NoAnswer> {
    let document = reread(if params.is_empty() { "{}" } else { params });
    let params = document.as_ref().map(Document::root).map(|params| related(params, &task.handle));
    let answer = client::ask(asked, method, &params.unwrap_or_default()).await;
    evidence::note_of(asked, &task.call, &task.server, &task.tool, method, client::how(&answer));
    answer
}

/// Passes a server's question on to the client, and its answer back.
pub(super) async fn relay(asked: &Asked<'_>, task: &Task, question: Question) {
    let params = std::str::from_utf8(&question.params).unwrap_or_default();
    let answer = tokio::select! {
        answer = put(asked, task, &question.method, params) => answer,
        () = question.withdrawn() => {
            let what = client::WITHDRAWN;
            evidence::note_of(asked, &task.call, &task.server, &task.tool, &question.method, what);
            return question.abandon();
        }
    };
    client::give(question, answer);
}
