//! Tasks of a client and a server of one era: passed on as they are, but for their names.

use bytes::Bytes;
use doorward_model::Operation;
use doorward_model::json::{Document, Limits, Numbers, Value, push_string, quoted};
use doorward_upstream::{Answer, Call, UpstreamError};
use doorward_wire::edit::Edits;
use doorward_wire::error::INTERNAL;
use doorward_wire::log::Logs;
use doorward_wire::task::RELATED;
use doorward_wire::{Era, RpcError, adapt, level};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use super::handle::{Form, Task};
use super::put;
use super::waiting::QUESTIONS;
use crate::ask::bounded;
use crate::pipeline::Asked;
use crate::rename;
use crate::stage::resolve::Resolved;
use crate::stage::send::identity;

/// Passes a request about a task on to its server.
pub(super) async fn answer(asked: &Asked<'_>, task: &Task) -> Result<String, RpcError> {
    let known = identity(asked);
    let mut call = Call {
        members: members(asked, &task.id),
        logs: Logs::None,
        // A result is waited for; the task's own life is the server's to bound.
        deadline: (asked.request.method == "tasks/result").then_some(asked.gateway.settings.asks.longest),
        caller: Some(asked.caller),
        ..task.request(&asked.request.method, &known.client_info, &known.meta)
    };
    if task.form == Form::Extension {
        // Each request of that era stands by itself.
        (call.affinity, call.capabilities) = (known.affinity, &known.capabilities);
    }
    let answer = if asked.request.method == "tasks/result" && asked.abilities.can_be_asked() {
        asking(asked, task, call).await
    } else {
        asked.gateway.upstreams.call(&task.server, call).await
    };
    let answer = answer.map_err(|error| RpcError::answer(INTERNAL, error.to_string()))?;
    let said = super::result(&answer)?;
    let is_result = asked.request.method == "tasks/result";
    let without_nulls = is_result
        .then(|| level::without_nulls(Operation::ToolsCall, said, asked.incoming.revision))
        .flatten();
    let said = without_nulls.as_ref().map_or(said, Document::root);
    let result = adapt::result_for(asked.era(), said, false);
    let surface = &asked.incoming.arrival.surface;
    let result = rename::outward(surface, &task.server, Operation::ToolsCall, result);
    Ok(shown(&result, |id| (id == task.id).then(|| task.handle.clone())))
}

/// Waits for the result of a task; what its server asks meanwhile is put to the client.
async fn asking(asked: &Asked<'_>, task: &Task, call: Call<'_>) -> Result<Answer, UpstreamError> {
    let (sender, mut questions) = mpsc::channel(QUESTIONS);
    let call = Call { questions: Some(sender), ..call };
    let mut working = std::pin::pin!(asked.gateway.upstreams.call(&task.server, call));
    let mut open = FuturesUnordered::new();
    let mut count = 0;
    loop {
        tokio::select! {
            answer = &mut working => return answer,
            Some(question) = questions.recv() => {
                count += 1;
                bounded(count, &task.server)?;
                open.push(put::relay(asked, task, question));
            }
            Some(()) = open.next(), if !open.is_empty() => {}
        }
    }
}

/// The handle of a task that was just made.
pub(super) fn begun(resolved: &Resolved<'_>, place: u64, text: &str) -> String {
    let asked = resolved.asked();
    let known = identity(asked);
    shown(text, |id| {
        let form = if asked.era() == Era::Modern { Form::Extension } else { Form::Core };
        let task = Task {
            affinity: known.affinity.to_owned(),
            capabilities: known.capabilities.to_string(),
            place,
            ..Task::of(resolved, id.to_owned(), form)
        };
        task.sealed(asked).map(|task| task.handle)
    })
}

/// The members of `params` for the server, under its own name of the task.
fn members(asked: &Asked<'_>, task: &str) -> Bytes {
    let mut out = String::new();
    let members = asked.request.params.into_iter().flat_map(Value::members);
    for (key, value) in members.filter(|(key, _)| key != "_meta") {
        if !out.is_empty() {
            out.push(',');
        }
        push_string(&mut out, &key);
        out.push(':');
        if key == "taskId" { push_string(&mut out, task) } else { out.push_str(value.raw()) }
    }
    Bytes::from(out)
}

/// A result, JSON text, with every task in it under its handle. One without is nobody's.
fn shown(result: &str, handle: impl Fn(&str) -> Option<String>) -> String {
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    let Ok(document) = Document::parse(Bytes::copy_from_slice(result.as_bytes()), &limits) else {
        return result.to_owned();
    };
    let root = document.root();
    let related = root.get("_meta").and_then(|meta| meta.get(RELATED));
    let mut edits = Edits::new(&document);
    for holder in [Some(root), root.get("task"), related].into_iter().flatten() {
        if let Some(id) = holder.get("taskId")
            && let Some(own) = id.as_str()
        {
            edits.replace(id, quoted(&handle(&own).unwrap_or_default()));
        }
    }
    edits.made().into_owned()
}
