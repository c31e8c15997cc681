//! Stage 8 of 8: who answers?
//!
//! What goes out is cut from the bytes that were judged: the members of `params`
//! as they came, with the name replaced by the server's own and `_meta` written anew.

use bytes::Bytes;
use doorward_model::json::{Value, push_string};
use doorward_model::{CapabilityKind, Operation};
use doorward_upstream::{Answer, Call, UpstreamError};
use doorward_wire::Era;

use crate::pipeline::Asked;
use crate::stage::commit::Ready;
use crate::stage::resolve::Resolved;

/// A call that came back, one way or another.
pub(crate) struct Answered<'a> {
    ready: Ready<'a>,
    answer: Result<Answer, UpstreamError>,
}

/// Relays the call to its server and waits.
pub(crate) async fn send(ready: Ready<'_>) -> Answered<'_> {
    let resolved = ready.permitted().resolved();
    let span = resolved.asked().span.as_ref();
    if let Some(span) = span {
        span.sent();
    }
    let answer = relay(resolved).await;
    if let Some(span) = span {
        span.answered();
    }
    Answered { ready, answer }
}

async fn relay(resolved: &Resolved<'_>) -> Result<Answer, UpstreamError> {
    let asked = resolved.asked();
    let client_info = client_info(asked);
    let meta = meta(asked);
    let call = Call {
        method: resolved.operation().as_str(),
        members: members(resolved),
        meta: &meta,
        target: named(resolved),
        affinity: &asked.caller.grant.id,
        client_info: &client_info,
        // Nothing that a server could ask back is relayed yet, so nothing is declared.
        capabilities: "{}",
        log_level: asked.meta.log_level.as_deref(),
        deadline: None,
        progress_token: asked.meta.progress_token.map(Value::raw),
        notify: asked.notify.clone(),
        extra_headers: &[],
    };
    asked.gateway.upstreams.call(&resolved.server().id, call).await
}

/// The value of `Mcp-Name` towards the server.
fn named<'r>(resolved: &'r Resolved<'_>) -> Option<&'r str> {
    match resolved.operation() {
        Operation::ToolsCall | Operation::PromptsGet | Operation::ResourcesRead => Some(resolved.target()),
        Operation::ResourcesSubscribe | Operation::CompletionComplete => None,
    }
}

/// The members of `params` for the server, without braces and without `_meta`.
fn members(resolved: &Resolved<'_>) -> Bytes {
    let Some(params) = resolved.asked().request.params else { return Bytes::new() };
    let mut out = String::with_capacity(params.span().len());
    let key_of_name = match resolved.operation() {
        Operation::ToolsCall | Operation::PromptsGet => "name",
        Operation::ResourcesRead | Operation::ResourcesSubscribe => "uri",
        Operation::CompletionComplete => "ref",
    };
    for (key, value) in params.members().filter(|(key, _)| key != "_meta") {
        if !out.is_empty() {
            out.push(',');
        }
        push_string(&mut out, &key);
        out.push(':');
        if key != key_of_name {
            out.push_str(value.raw());
        } else if key_of_name == "ref" {
            push_reference(&mut out, resolved, value);
        } else {
            push_string(&mut out, resolved.target());
        }
    }
    Bytes::from(out)
}

/// `ref` with the name or URI that the server knows.
fn push_reference(out: &mut String, resolved: &Resolved<'_>, reference: Value<'_>) {
    let renamed = if resolved.kind() == CapabilityKind::Prompt { "name" } else { "uri" };
    out.push('{');
    for (at, (key, value)) in reference.members().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, &key);
        out.push(':');
        if key == renamed { push_string(out, resolved.target()) } else { out.push_str(value.raw()) }
    }
    out.push('}');
}

/// Members of `params._meta` for the server: the caller's own, and the trace.
fn meta(asked: &Asked<'_>) -> String {
    let mut out = String::new();
    asked.meta.push_others(&mut out);
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(r#""traceparent":""#);
    out.push_str(&asked.trace.child(asked.call));
    out.push('"');
    if let Some(state) = &asked.trace.state {
        out.push_str(r#","tracestate":"#);
        push_string(&mut out, state);
    }
    out
}

/// The client as it described itself, in either era.
fn client_info(asked: &Asked<'_>) -> String {
    match (asked.era(), asked.meta.client_info, &asked.incoming.session) {
        (Era::Modern, Some(info), _) => info.raw().to_owned(),
        (_, _, Some(session)) => session.opening.client_info.clone(),
        _ => String::new(),
    }
}

impl<'a> Answered<'a> {
    pub(crate) fn into_parts(self) -> (Ready<'a>, Result<Answer, UpstreamError>) {
        (self.ready, self.answer)
    }
}
