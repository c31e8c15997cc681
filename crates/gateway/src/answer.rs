//! What a server answered to a request that is no call.

use doorward_model::json::Value;
use doorward_upstream::Answer;
use doorward_wire::RpcError;
use doorward_wire::error::INTERNAL;

/// The result of an answer, or its error.
pub(crate) fn result(answer: &Answer) -> Result<Value<'_>, RpcError> {
    let root = answer.message.root();
    if let Some(result) = root.get("result") {
        return Ok(result);
    }
    let error = root.get("error");
    let message = error.and_then(|error| error.get("message")).and_then(Value::as_str).unwrap_or_default();
    Err(RpcError::answer(error.and_then(code).unwrap_or(INTERNAL), message))
}

/// The code of an error, if it is one that JSON-RPC could give.
pub(crate) fn code(error: Value<'_>) -> Option<i32> {
    error.get("code").and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok())
}
