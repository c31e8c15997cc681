//! Whether a call that was sent counts against quotas.
//!
//! It does, unless it is known that its server did nothing: what a quota is for cannot be
//! taken back, and a client must not get it twice by breaking off at the right moment. So a
//! result counts, an error of the tool's own, a timeout, and a connection that broke once
//! the request may have arrived. What failed before the request left, while its server was
//! being started, say, does not.

use doorward_model::Departure;
use doorward_upstream::{Answer, UpstreamError};
use doorward_wire::error;

use crate::answer;
use crate::ask::Sent;

/// Whether the server is known to have done nothing.
pub(super) fn did_nothing(sent: &Result<Sent, UpstreamError>, departure: &Departure) -> bool {
    // Whatever ended well has left, even if nobody said so.
    let has_left = if sent.is_ok() { departure.leave() } else { !departure.call_off() };
    match sent {
        Ok(Sent::Answer(answer)) => is_turned_down(answer),
        // It wants to know more first; nobody told it.
        Ok(Sent::Asks(..) | Sent::Unanswered(_)) => true,
        // Its call is under way.
        Ok(Sent::Suspended(_)) => false,
        Ok(Sent::Subscribed) => false,
        // Rounds of a call that was counted when it was sent, and calls that were ended once they
        // had asked: there is nothing to give back.
        Ok(Sent::Gone | Sent::Elsewhere | Sent::Failed(_)) => false,
        Err(error) => !has_left || !error.may_have_run(),
    }
}

/// Whether the answer is an error that a server gives before it begins. Others may come
/// from the middle of its work: some SDKs say so when a tool fails.
fn is_turned_down(said: &Answer) -> bool {
    let code = said.message.root().get("error").and_then(answer::code);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use doorward_model::ServerId;

    use super::*;

    #[test]
    fn only_what_cannot_have_been_done_is_given_back() {
        let server = || ServerId::try_from("github").expect("an id");
        let limit = Duration::from_secs(1);
        let cases = [
            // error                                                             may have been done
            (UpstreamError::Timeout { method: "tools/call".into(), limit }, true),
            (UpstreamError::Exited { server: server() }, true),
            (UpstreamError::Status { server: server(), status: 502 }, true),
            (UpstreamError::Protocol { server: server(), detail: "it broke off", cause: None }, true),
            (UpstreamError::TooLarge { server: server(), limit: 1 }, true),
            (UpstreamError::Unavailable { server: server() }, false),
            (UpstreamError::Busy { server: server() }, false),
            (UpstreamError::Restarting { server: server(), retry_in: limit }, false),
            (UpstreamError::Silent { server: server(), retry_in: limit }, false),
            (UpstreamError::AuthRequired { server: server(), status: 401, challenge: None }, false),
        ];
        for (error, may_have_been_done) in cases {
            let told = error.to_string();
            let sent = Err(error);
            let departure = Departure::default();
            assert!(departure.leave());
            assert_eq!(did_nothing(&sent, &departure), !may_have_been_done, "{told}");
            let departure = Departure::default();
            assert!(did_nothing(&sent, &departure), "before it left: {told}");
            assert!(!departure.leave(), "and now it does not");
        }
        let departure = Departure::default();
        assert!(!did_nothing(&Ok(Sent::Subscribed), &departure));
        assert!(!departure.call_off(), "what ended well has left");
    }
}
