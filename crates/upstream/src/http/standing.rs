//! What a refusal says of the session that it came in.

use doorward_model::json::{Document, Value};

use crate::inbound::number;

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It goes on.
    Open,
    /// The server no longer knows it, and has not looked at the request.
    Gone,
    /// It is that, or something is wrong with the request.
    Doubtful,
}

/// How a session stands after request `id` was refused in it, with this JSON-RPC error if any.
///
/// The rule is 404; servers grown from a widely copied example say 400 with one of two codes
/// instead, and older ones of the Python SDK just 400. A refusal that names the request is an
/// answer to it, unless it has such a code.
pub(crate) fn standing(id: u64, status: u16, message: Option<&Document>) -> Standing {
    let root = message.map(Document::root);
    let is_answer = root.and_then(|root| root.get("id")).and_then(number) == Some(id);
    let code = root.and_then(|root| root.get("error")?.get("code")).and_then(Value::as_i64);
    let is_said = matches!(code, Some(-32000 | -32001));
    match (status, is_answer, is_said) {
        (404, false, _) | (404, true, true) | (400, false, true) => Standing::Gone,
        (400, false, false) => Standing::Doubtful,
        _ => Standing::Open,
    }
}
