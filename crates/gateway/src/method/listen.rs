//! `subscriptions/listen`: news of lists, for the modern era.

use bytes::Bytes;
use doorward_model::json::Value;
use doorward_wire::reply;
use tokio::sync::mpsc;

use crate::pipeline::Asked;
use crate::streams::Wants;

/// An open stream: its first message is the acknowledgement.
pub(crate) struct Listening {
    pub stream: mpsc::Receiver<Bytes>,
}

/// Opens the stream. Resource subscriptions are not relayed yet, so the
/// acknowledgement leaves them out, which is how a client learns it.
pub(crate) fn listen(asked: &Asked<'_>) -> Listening {
    let asked_for = asked.request.params.and_then(|params| params.get("notifications"));
    let wants =
        |key: &str| asked_for.and_then(|wanted| wanted.get(key)).and_then(Value::as_bool) == Some(true);
    let wants = Wants {
        tools: wants("toolsListChanged"),
        prompts: wants("promptsListChanged"),
        resources: wants("resourcesListChanged"),
    };
    let id = asked.request.id.raw();
    let surface = asked.incoming.arrival.surface.clone();
    let (outbox, stream) = asked.gateway.streams.listen(asked.caller.clone(), surface, wants, id);
    let honoured: Vec<_> = [
        ("toolsListChanged", wants.tools),
        ("promptsListChanged", wants.prompts),
        ("resourcesListChanged", wants.resources),
    ]
    .iter()
    .filter(|(_, wanted)| *wanted)
    .map(|(key, _)| format!(r#""{key}":true"#))
    .collect();
    let params = format!(
        r#"{{"notifications":{{{}}},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#,
        honoured.join(",")
    );
    // The stream is new and empty, so there is room.
    let _ = outbox.try_send(reply::notification("notifications/subscriptions/acknowledged", Some(&params)));
    Listening { stream }
}
