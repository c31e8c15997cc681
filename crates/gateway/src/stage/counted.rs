//! Whether a call that was sent counts against quotas.
//!
//! It does, unless it is known that its server did nothing: what a quota is for cannot be
//! taken back, and a client must not get it twice by breaking off at the right moment. So a
//! result counts, an error of the tool's own, a timeout, and a connection that broke once
//! the request may have arrived.

use doorward_model::json::Value;
use doorward_upstream::{Answer, UpstreamError};
use doorward_wire::error;

use crate::ask::Sent;

/// Whether the server is known to have done nothing.
pub(super) fn did_nothing(sent: &Result<Sent, UpstreamError>) -> bool {
    match sent {
        Ok(Sent::Answer(answer)) => is_turned_down(answer),
        // It wants to know more first; nobody told it.
        Ok(Sent::Asks(..) | Sent::Unanswered(_)) => true,
        // Its call is under way.
        Ok(Sent::Suspended(_)) => false,
        Ok(Sent::Subscribed) => false,
        // Rounds of a call that was counted when it was sent; there is nothing to give back.
        Ok(Sent::Gone | Sent::Elsewhere | Sent::Failed(_)) => false,
        Err(error) => !error.may_have_run(),
    }
}

/// Whether the answer is an error that a server gives before it begins. Others may come
/// from the middle of its work: some SDKs say so when a tool fails.
fn is_turned_down(answer: &Answer) -> bool {
    let code = answer.message.root().get("error").and_then(|error| error.get("code"));
    let code = code.and_then(Value::as_i64).and_then(|code| i32::try_from(code).ok());
    code.is_some_and(|code| {
        matches!(
            code,
            error::PARSE_ERROR
                | error::INVALID_REQUEST
                | error::METHOD_NOT_FOUND
                | error::INVALID_PARAMS
                | error::RESOURCE_NOT_FOUND
                | error::HEADER_MISMATCH
                | error::MISSING_CAPABILITY
                | error::UNSUPPORTED_VERSION
                | error::URL_REQUIRED
        )
    })
}
