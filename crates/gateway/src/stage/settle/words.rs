//! What the caller is told.

use std::time::Duration;

use doorward_model::decision::DEFAULT_DENY;
use doorward_model::json::{push_string, quoted};
use doorward_model::{Caller, CapabilityKind, Decision, Operation, Timestamp};
use doorward_wire::{Era, RpcError};

use super::Settled;
use crate::pipeline::Asked;
use crate::reply::{Reply, whole_seconds};
use crate::stage::Refused;
use crate::stage::resolve::Place;

/// JSON-RPC code of a refusal where no tool result can carry it. Outside the range
/// that JSON-RPC and MCP reserve.
const POLICY_DENIED: i32 = -31_403;

/// JSON-RPC code of a call over a rate limit or a quota.
pub(crate) const RATE_LIMITED: i32 = -31_429;

impl Settled {
    /// Puts the end of a call into an envelope.
    pub(crate) fn into_reply(self, id: &str, era: Era, operation: Operation) -> Reply {
        match self {
            Self::Result(result) => Reply::result(id, &result),
            Self::Failed(error) | Self::Unknown(error) => Reply::error(Some(id), &error),
            Self::Unavailable { text, code } => {
                let meta = format!(r#","_meta":{{"dev.doorward/error":{}}}"#, coded(&code));
                Reply::result(id, &error_result(&text, era, &meta))
            }
            Self::Beyond(error) if operation == Operation::ToolsCall => tool_failed(id, era, &error),
            Self::Beyond(error) => Reply::error(Some(id), &error),
            Self::Denied { decision, said, record } => {
                let data = decision_json(&decision, record.as_deref(), None);
                refused(id, era, operation == Operation::ToolsCall, POLICY_DENIED, &said, data)
            }
            Self::Limited { decision, record, retry_after, resets_at } => {
                let data = decision_json(&decision, record.as_deref(), Some((retry_after, resets_at)));
                limited(id, era, operation == Operation::ToolsCall, &decision, data, retry_after)
            }
        }
    }
}

/// The answer to a request that is no call, or to a meta tool, whose caller sends too many.
pub(crate) fn too_many(
    id: &str,
    era: Era,
    is_tool_call: bool,
    decision: &Decision,
    retry_after: Duration,
) -> Reply {
    let data = decision_json(decision, None, Some((retry_after, None)));
    limited(id, era, is_tool_call, decision, data, retry_after)
}

fn limited(
    id: &str,
    era: Era,
    is_tool_call: bool,
    decision: &Decision,
    data: String,
    retry_after: Duration,
) -> Reply {
    let said = decision.reasons.first().map_or("denied", String::as_str);
    let reply = refused(id, era, is_tool_call, RATE_LIMITED, said, data);
    Reply { retry_after: Some(retry_after), ..reply }
}

/// A refusal: a model reads it as the result of its tool, and everybody else as an
/// error. It is an answer like any other: some clients end their session at any status but 200.
fn refused(id: &str, era: Era, is_tool_call: bool, code: i32, said: &str, data: String) -> Reply {
    let text = format!("[POLICY DENIED] {said}");
    if !is_tool_call {
        return Reply::error(Some(id), &RpcError::answer(code, text).with_data(data));
    }
    let meta = format!(r#","_meta":{{"dev.doorward/decision":{data}}}"#);
    Reply::result(id, &error_result(&text, era, &meta))
}

/// The answer to a tool call that was refused before anything was decided: its model is told why.
pub(crate) fn tool_failed(id: &str, era: Era, error: &RpcError) -> Reply {
    let meta = match &error.data {
        Some(data) => format!(r#","_meta":{{"dev.doorward/error":{data}}}"#),
        None => String::new(),
    };
    Reply::result(id, &error_result(&error.message, era, &meta))
}

/// Why a call was denied: the first reason, or, where nothing allowed it, which rule is missing.
pub(super) fn why(asked: &Asked<'_>, place: &Place, decision: &Decision) -> String {
    match decision.reasons.first() {
        None => "denied".to_owned(),
        Some(reason) if reason == DEFAULT_DENY => missing(asked.caller, place),
        Some(reason) => reason.clone(),
    }
}

/// Which rule is missing, and for whom.
fn missing(caller: &Caller, place: &Place) -> String {
    let server = place.server.as_ref().map_or("", |server| server.id.as_str());
    let mut roles: Vec<_> = caller.grant.roles.iter().collect();
    roles.extend(caller.person.iter().flat_map(|person| &person.roles));
    roles.sort();
    roles.dedup();
    let roles: Vec<_> = roles.into_iter().map(|role| format!("`{role}`")).collect();
    let whom = match &roles[..] {
        [] => "a caller without roles".to_owned(),
        [role] => format!("the role {role}"),
        roles => format!("the roles {}", roles.join(", ")),
    };
    format!("no rule allows `{}` on `{server}` for {whom}", place.target)
}

/// A tool result that says what went wrong; `more` is JSON text of further members.
fn error_result(text: &str, era: Era, more: &str) -> String {
    let complete = if era == Era::Modern { r#""resultType":"complete","# } else { "" };
    let text = quoted(text);
    format!(r#"{{{complete}"content":[{{"type":"text","text":{text}}}],"isError":true{more}}}"#)
}

/// The stable word for what went wrong, as an object.
pub(crate) fn coded(code: &str) -> String {
    format!(r#"{{"code":{}}}"#, quoted(code))
}

/// What a refused caller may know of the decision; with `wait`, when there is room again.
fn decision_json(
    decision: &Decision,
    record: Option<&str>,
    wait: Option<(Duration, Option<Timestamp>)>,
) -> String {
    let mut out = format!(r#"{{"verdict":"{}","reasons":["#, decision.verdict);
    for (at, reason) in decision.reasons.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(&mut out, reason);
    }
    out.push_str(r#"],"rule":"#);
    match &decision.rule {
        Some(rule) => push_string(&mut out, rule),
        None => out.push_str("null"),
    }
    if let Some(record) = record {
        out.push_str(r#","record":"#);
        push_string(&mut out, record);
    }
    if let Some((retry_after, resets_at)) = wait {
        out.push_str(&format!(r#","retry_after":{}"#, whole_seconds(retry_after)));
        if let Some(at) = resets_at {
            out.push_str(r#","resets_at":"#);
            push_string(&mut out, &at.to_string());
        }
    }
    out.push('}');
    out
}

/// The words for what does not exist; the same for what is hidden or out of reach.
pub(super) fn unknown(refused: &Refused<'_>) -> RpcError {
    let name = &refused.place.offered;
    match refused.place.kind {
        Some(CapabilityKind::Prompt) => RpcError::unknown_prompt(name),
        Some(CapabilityKind::Resource | CapabilityKind::ResourceTemplate) => {
            RpcError::unknown_resource(name, refused.asked.era())
        }
        Some(CapabilityKind::Tool) | None => RpcError::unknown_tool(name),
    }
}
