//! Stage 7 of 8: who answers?
//!
//! What goes out is cut from the bytes that were judged: the members of `params`
//! as they came, with the name replaced by the server's own and `_meta` written anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::{Value, push_string};
use doorward_model::{Caller, CapabilityKind, Departure, Operation};
use doorward_registry::Mirrored;
use doorward_upstream::{Call, UpstreamError};
use doorward_wire::Era;
use doorward_wire::log::{Level, Logs};

use crate::ask::state::{Resume, Round};
use crate::ask::{self, Sent};
use crate::mailbox::Mailbox;
use crate::pipeline::Asked;
use crate::session;
use crate::stage::commit::Ready;
use crate::stage::resolve::Resolved;
use crate::standpoint::Standpoint;
use crate::subscriptions::Held;
use crate::tasks;

/// A call that came back, one way or another.
pub(crate) struct Answered<'a> {
    ready: Ready<'a>,
    sent: Result<Sent, UpstreamError>,
    /// How long it was away, which is the server's time where the server gave no answer that says.
    away: Duration,
}

/// Relays the call to its server and waits.
pub(crate) async fn send(mut ready: Ready<'_>) -> Answered<'_> {
    let departure = departure(&mut ready);
    let resolved = ready.permitted().resolved();
    let span = resolved.asked().span.as_ref();
    if let Some(span) = span {
        span.sent();
    }
    let left = resolved.asked().gateway.clock.elapsed();
    let sent = relay(resolved, departure).await;
    let away = resolved.asked().gateway.clock.elapsed().saturating_sub(left);
    if let Some(span) = span {
        span.answered();
    }
    Answered { ready, sent, away }
}

/// Subscribes at the server, for the stream of this mailbox, whose reader looks from here.
pub(crate) async fn subscribe<'a>(
    mut ready: Ready<'a>,
    patience: Duration,
    mailbox: &Arc<Mailbox>,
    standpoint: impl Fn() -> Arc<Standpoint>,
) -> (Answered<'a>, Option<Held>) {
    // What subscribes for all is told by none of them when it does.
    if departure(&mut ready).is_some_and(|departure| !departure.leave()) {
        let server = ready.permitted().resolved().server().id.clone();
        let sent = Err(UpstreamError::Unavailable { server });
        return (Answered { ready, sent, away: Duration::ZERO }, None);
    }
    let resolved = ready.permitted().resolved();
    let asked = resolved.asked();
    let gateway = asked.gateway;
    let (server, uri) = (&resolved.server().id, resolved.target());
    let held = gateway.subscriptions.hold(server, uri, resolved.offered(), mailbox, &standpoint);
    {
        // Whatever changes from now on goes through this one too. What changed since the
        // decision, the rules or what its client may do, has gone through all that was held then.
        let in_force = gateway.snapshot();
        let from = standpoint();
        let is_elsewhere = !Arc::ptr_eq(&from.caller, asked.caller) || from.ip != asked.incoming.arrival.ip;
        if is_elsewhere || !Arc::ptr_eq(&in_force, &asked.snapshot) {
            held.revise(&in_force, gateway.clock.now());
        }
    }
    let left = gateway.clock.elapsed();
    let subscribing = gateway.upstreams.subscribe(server, uri);
    let (sent, held) = match tokio::time::timeout(patience, subscribing).await {
        Ok(Ok(share)) => {
            held.attach(share);
            (Ok(Sent::Subscribed), Some(held))
        }
        Ok(Err(error)) => (Err(error), None),
        Err(_) => {
            let method = resolved.operation().as_str().into();
            (Err(UpstreamError::Timeout { method, limit: patience }), None)
        }
    };
    let away = gateway.clock.elapsed().saturating_sub(left);
    (Answered { ready, sent, away }, held)
}

/// Who wants to know when the call leaves, if quotas count it.
fn departure(ready: &mut Ready<'_>) -> Option<Arc<Departure>> {
    ready.reservation().as_ref().map(|reservation| Arc::clone(reservation.departure()))
}

async fn relay(resolved: &Resolved<'_>, departure: Option<Arc<Departure>>) -> Result<Sent, UpstreamError> {
    ask::relay(resolved, Outgoing { departure, ..Outgoing::new(resolved) }).await
}

/// What is written anew for the server, whatever becomes of the call.
pub(crate) struct Outgoing {
    members: Bytes,
    meta: String,
    client_info: String,
    capabilities: Arc<str>,
    /// Arguments that the server wants to see in headers as well.
    headers: Vec<(String, String)>,
    /// What was answered to what its server asked: `inputResponses`, JSON text.
    responses: String,
    /// How long what the call makes is to be found again.
    keeps: Option<Duration>,
    departure: Option<Arc<Departure>>,
}

impl Outgoing {
    fn new(resolved: &Resolved<'_>) -> Self {
        let Identity { meta, client_info, mut capabilities, .. } = identity(resolved.asked());
        if let Some(other) = tasks::capabilities(resolved) {
            capabilities = other.into();
        }
        let keeps = tasks::keeps(resolved);
        Self {
            members: members(resolved),
            meta,
            client_info,
            capabilities,
            headers: headers(resolved),
            responses: resolved.round().map(Round::asked_for).unwrap_or_default(),
            keeps,
            departure: None,
        }
    }

    /// The call as its server is to get it.
    pub(crate) fn call<'c>(&'c self, resolved: &'c Resolved<'_>) -> Call<'c> {
        let asked = resolved.asked();
        Call {
            method: resolved.operation().as_str(),
            members: self.members.clone(),
            meta: &self.meta,
            target: named(resolved),
            affinity: &asked.affinity,
            caller: Some(asked.caller),
            client_info: &self.client_info,
            capabilities: &self.capabilities,
            logs: logs(asked),
            deadline: None,
            progress_token: asked.meta.progress_token.map(Value::raw),
            notify: asked.notify.clone(),
            hung_up: asked.hung_up.clone(),
            questions: None,
            task: None,
            place: None,
            keeps: self.keeps,
            departure: self.departure.as_ref(),
            round: resolved.round().and_then(|round| match &round.resume {
                Resume::Server { state, .. } => {
                    Some(doorward_upstream::Round { responses: &self.responses, state: state.as_deref() })
                }
                Resume::Suspended(_) => {
                    Some(doorward_upstream::Round { responses: &self.responses, state: None })
                }
                Resume::Unasked => None,
            }),
            extra_headers: &self.headers,
        }
    }

    /// The same without the request it came from, which it may outlive.
    pub(crate) fn owned(self, resolved: &Resolved<'_>) -> Owned {
        let asked = resolved.asked();
        let call = self.call(resolved);
        Owned {
            method: resolved.operation().as_str(),
            target: call.target.map(str::to_owned),
            affinity: call.affinity.to_owned(),
            caller: Arc::clone(asked.caller),
            logs: call.logs,
            progress_token: asked.notify.as_ref().and(call.progress_token).map(str::to_owned),
            responses: call.round.map(|round| round.responses.to_owned()),
            state: call.round.and_then(|round| round.state).map(str::to_owned),
            outgoing: self,
        }
    }
}

/// What a server is told of whoever calls.
pub(crate) struct Identity<'a> {
    pub meta: String,
    pub client_info: String,
    pub capabilities: Arc<str>,
    pub affinity: &'a str,
}

/// Who calls, as servers may know it.
pub(crate) fn identity<'a>(asked: &'a Asked<'_>) -> Identity<'a> {
    Identity {
        meta: meta(asked),
        client_info: client_info(asked),
        capabilities: Arc::clone(&asked.declared),
        affinity: &asked.affinity,
    }
}

/// A call that stands by itself.
pub(crate) struct Owned {
    outgoing: Outgoing,
    method: &'static str,
    target: Option<String>,
    affinity: String,
    caller: Arc<Caller>,
    logs: Logs,
    progress_token: Option<String>,
    responses: Option<String>,
    state: Option<String>,
}

impl Owned {
    /// The call, without whoever listens to it.
    pub(crate) fn call(&self) -> Call<'_> {
        Call {
            method: self.method,
            members: self.outgoing.members.clone(),
            meta: &self.outgoing.meta,
            target: self.target.as_deref(),
            affinity: &self.affinity,
            caller: Some(&self.caller),
            client_info: &self.outgoing.client_info,
            capabilities: &self.outgoing.capabilities,
            logs: self.logs,
            progress_token: self.progress_token.as_deref(),
            extra_headers: &self.outgoing.headers,
            keeps: self.outgoing.keeps,
            departure: self.outgoing.departure.as_ref(),
            round: self
                .responses
                .as_deref()
                .map(|responses| doorward_upstream::Round { responses, state: self.state.as_deref() }),
            ..Call::default()
        }
    }
}

/// `Mcp-Param-*` towards the server.
fn headers(resolved: &Resolved<'_>) -> Vec<(String, String)> {
    let mirrored = resolved.capability().map_or(&[][..], |capability| &capability.headers);
    let said = |mirrored: &Mirrored| Some((mirrored.header.clone(), mirrored.value(resolved.arguments())?));
    mirrored.iter().filter_map(said).collect()
}

/// The value of `Mcp-Name` towards the server.
fn named<'r>(resolved: &'r Resolved<'_>) -> Option<&'r str> {
    match resolved.operation() {
        Operation::ToolsCall | Operation::PromptsGet | Operation::ResourcesRead => Some(resolved.target()),
        Operation::ResourcesSubscribe
        | Operation::CompletionComplete
        | Operation::SkillsGet
        | Operation::DirectoryRead => None,
    }
}

/// The members of `params` for the server, without braces and without `_meta`.
fn members(resolved: &Resolved<'_>) -> Bytes {
    let Some(params) = resolved.asked().request.params else { return Bytes::new() };
    let mut out = String::with_capacity(params.span().len());
    let known = known(resolved.operation());
    let key_of_name = match resolved.operation() {
        Operation::ToolsCall | Operation::PromptsGet => "name",
        Operation::ResourcesRead
        | Operation::ResourcesSubscribe
        | Operation::SkillsGet
        | Operation::DirectoryRead => "uri",
        Operation::CompletionComplete => "ref",
    };
    for (key, value) in
        params.members().filter(|(key, value)| known.contains(&key.as_ref()) && !value.is_null())
    {
        if !out.is_empty() {
            out.push(',');
        }
        push_string(&mut out, &key);
        out.push(':');
        match key.as_ref() {
            "ref" => push_reference(&mut out, resolved, value),
            "argument" => push_members(&mut out, value, &["name", "value"]),
            "context" => push_members(&mut out, value, &["arguments"]),
            key if key == key_of_name => push_string(&mut out, resolved.target()),
            _ => out.push_str(value.raw()),
        }
    }
    if let Some(task) = tasks::param(resolved) {
        out.push(',');
        out.push_str(&task);
    }
    Bytes::from(out)
}

/// The members of `params` that MCP has for an operation, but for those that are written anew:
/// `_meta`, `task`, and what belongs to a round. No policy looks at any other, and no record shows
/// it, so no server gets it.
fn known(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::ToolsCall | Operation::PromptsGet => &["name", "arguments"],
        Operation::ResourcesRead | Operation::ResourcesSubscribe | Operation::SkillsGet => &["uri"],
        Operation::DirectoryRead => &["uri", "cursor"],
        Operation::CompletionComplete => &["ref", "argument", "context"],
    }
}

/// The members of these names, as they came.
fn push_members(out: &mut String, object: Value<'_>, names: &[&str]) {
    out.push('{');
    for (at, (key, value)) in object.members().filter(|(key, _)| names.contains(&key.as_ref())).enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, &key);
        out.push(':');
        out.push_str(value.raw());
    }
    out.push('}');
}

/// `ref` with the name or URI that the server knows.
fn push_reference(out: &mut String, resolved: &Resolved<'_>, reference: Value<'_>) {
    let renamed = if resolved.kind() == CapabilityKind::Prompt { "name" } else { "uri" };
    out.push('{');
    let known = ["type", "title", renamed];
    for (at, (key, value)) in reference.members().filter(|(key, _)| known.contains(&key.as_ref())).enumerate()
    {
        if at > 0 {
            out.push(',');
        }
        push_string(out, &key);
        out.push(':');
        if key == renamed { push_string(out, resolved.target()) } else { out.push_str(value.raw()) }
    }
    out.push('}');
}

/// Members of `params._meta` for the server: the trace. Nothing that the caller wrote there goes on.
fn meta(asked: &Asked<'_>) -> String {
    let mut out = String::from(r#""traceparent":""#);
    out.push_str(&asked.trace.child(asked.call));
    out.push('"');
    if let Some(state) = &asked.trace.state {
        out.push_str(r#","tracestate":"#);
        push_string(&mut out, state);
    }
    out
}

/// Which log messages the client wants: it says so once a session, or with each request.
fn logs(asked: &Asked<'_>) -> Logs {
    let level = match &asked.incoming.session {
        Some(session) => session.log_level(),
        None => asked.meta.log_level.as_deref().and_then(Level::parse),
    };
    match (level, asked.era()) {
        (Some(level), _) => Logs::From(level),
        (None, Era::Legacy) => Logs::Any,
        (None, Era::Modern) => Logs::None,
    }
}

/// The client as it described itself, in either era.
fn client_info(asked: &Asked<'_>) -> String {
    match (asked.era(), asked.meta.client_info, &asked.incoming.session) {
        (Era::Modern, Some(info), _) => session::client_info(info),
        (_, _, Some(session)) => session.opening.client_info.clone(),
        _ => String::new(),
    }
}

impl<'a> Answered<'a> {
    pub(crate) fn into_parts(self) -> (Ready<'a>, Result<Sent, UpstreamError>, Duration) {
        (self.ready, self.sent, self.away)
    }
}
