//! A message that is well-formed and goes beyond a bound: an integer that JavaScript would
//! round, nested too deeply, too many values. It is answered under its id, with HTTP 200: a
//! client that sees another status may take its session for broken and end it.
//!
//! Such a message is never worked on. It is read a second time, far enough to know whose answer
//! it is; what lies deeper is not looked into. A body without a single reading (no JSON, a key
//! twice, half a surrogate pair) has no id to rely on and gets 400.

use bytes::Bytes;
use doorward_model::Operation;
use doorward_model::json::{Document, Limits, Numbers, ParseError, Problem};
use doorward_wire::RpcError;
use doorward_wire::error::{INVALID_PARAMS, PARSE_ERROR};
use doorward_wire::message::Message;

use crate::codes;
use crate::receive::{self, Arrival, Unreadable};
use crate::stage::settle::coded;

/// How far the second reading looks: the envelope, `params` and what is in `_meta`.
const ENVELOPE: usize = 3;
/// How many times over a bound a message may be and still be answered under its id.
const OVER: usize = 64;

/// The answer to a body that was refused for `error`.
pub(crate) fn refusal(body: Bytes, arrival: &Arrival, limits: &Limits, error: &ParseError) -> Unreadable {
    let unreadable =
        || Unreadable::without_id(RpcError::bad_request(PARSE_ERROR, format!("Parse error: {error}")));
    if remedy(&error.problem, limits).is_none() {
        return unreadable();
    }
    let envelope = Limits {
        depth: limits.depth.saturating_mul(OVER),
        values: limits.values.saturating_mul(OVER),
        index_depth: ENVELOPE,
        numbers: Numbers::Exact,
    };
    let Ok(document) = Document::parse(body, &envelope) else { return unreadable() };
    let revision = match receive::read(&document, arrival) {
        Ok((revision, ..)) => revision,
        Err(unreadable) => return unreadable,
    };
    let request = match Message::read(&document) {
        // An id that JavaScript would round is nobody's.
        Ok(Message::Request(request)) if request.id.unsafe_integers().next().is_none() => request,
        _ => return unreadable(),
    };
    Unreadable {
        id: Some(request.id.raw().to_owned()),
        error: beyond(error, limits),
        tool: (request.method == Operation::ToolsCall.as_str()).then(|| revision.era()),
    }
}

/// What whoever sent such a message is told.
pub(crate) fn beyond(error: &ParseError, limits: &Limits) -> RpcError {
    let remedy = remedy(&error.problem, limits).unwrap_or_default();
    let message = format!("the request goes beyond a bound: {error}; {remedy}");
    RpcError::answer(INVALID_PARAMS, message).with_data(coded(codes::BOUNDS))
}

/// What to do about it; `None` where this is no bound.
fn remedy(problem: &Problem, limits: &Limits) -> Option<String> {
    match problem {
        Problem::IntegerRange => Some("write such a number as a string".to_owned()),
        Problem::TooDeep => Some(format!("{} levels are the most", limits.depth)),
        Problem::TooMany => Some(format!("{} values are the most, so send fewer at once", limits.values)),
        _ => None,
    }
}
