//! Whether a caller may make one more request that is no call: a list, a ping, a new session,
//! a meta tool. Calls have limits of their own (stage 5).

use doorward_ledger::EventRecord;
use doorward_limit::Exceeded;
use doorward_model::{Decision, Layer};

use crate::pipeline::Asked;
use crate::reply::Reply;
use crate::session::principal;
use crate::stage::settle::too_many;

/// Why the request is refused, in metrics and in the log.
const REASON: &str = "request_limit";

/// Counts the request.
///
/// # Errors
/// The answer, when its caller has had too many.
pub(crate) fn take(asked: &Asked<'_>) -> Result<(), Reply> {
    let requests = &asked.snapshot.rulebook.requests;
    requests.take(|| principal(asked.caller)).map_err(|exceeded| refuse(asked, &exceeded))
}

fn refuse(asked: &Asked<'_>, exceeded: &Exceeded) -> Reply {
    note(asked);
    let mut decision = Decision::deny(Layer::Limit, exceeded.to_string());
    decision.rule = Some(exceeded.name.clone());
    // On its own endpoint, a model has called a tool of the gateway's.
    let is_tool_call = asked.request.method == "tools/call";
    too_many(asked.request.id.raw(), asked.era(), is_tool_call, &decision, exceeded.retry_after)
}

/// Counts it, and leaves an entry about it if its caller has not had too many.
fn note(asked: &Asked<'_>) {
    let (gateway, caller) = (asked.gateway, asked.caller);
    gateway.metrics.refused(REASON);
    if !gateway.refusals.has_entry(caller, REASON.to_owned()) {
        return gateway.metrics.unrecorded();
    }
    let method: String = asked.request.method.chars().take(64).collect();
    let detail = format!("{:?}: {method:?}", caller.consumer());
    let ip = asked.incoming.arrival.ip;
    gateway.refused(EventRecord { reason: REASON, ip, detail: Some(&detail), ..EventRecord::default() });
}
