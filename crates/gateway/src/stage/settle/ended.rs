//! How a call ended, read from what came back.

use std::borrow::Cow;

use bytes::Bytes;
use doorward_model::json::{Document, Value};
use doorward_model::{Operation, Outcome};
use doorward_upstream::{Answer, UpstreamError};
use doorward_wire::adapt::{self, Completeness};
use doorward_wire::{Era, RpcError, error, level};

use super::Settled;
use super::words::coded;
use crate::ask::{Failure, Fault, Sent};
use crate::codes;
use crate::rename;
use crate::stage::resolve::Resolved;
use crate::tasks::{self, Sought};

/// How an answered call ended.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) settled: Settled,
    pub(super) error: Option<String>,
    /// The code of the error that the server answered with.
    pub(super) code: Option<i32>,
    /// The stable word for what went wrong (`docs/reference/error-codes.md`).
    pub(super) word: Option<Cow<'static, str>>,
    /// What the record digests and, where so configured, keeps.
    pub(super) recorded: Option<Bytes>,
}

/// How a call ended, and the answer where its server gave one.
pub(super) async fn outcome_of(
    sent: Result<Sent, UpstreamError>,
    resolved: &Resolved<'_>,
) -> (Option<Answer>, Ended) {
    let asked = resolved.asked();
    match sent {
        Ok(Sent::Answer(answer)) => {
            let mut ended = ended(&answer, resolved);
            if let (Settled::Result(text), Outcome::Success | Outcome::ToolError) =
                (&ended.settled, ended.outcome)
                && tasks::sought(resolved) == Sought::Extension
            {
                // On the heap: rare, and every call would have room for it.
                let kept = Box::pin(tasks::kept(resolved, text)).await;
                ended.settled = Settled::Result(kept);
            }
            (Some(answer), ended)
        }
        Ok(Sent::Subscribed) => (None, subscribed()),
        Ok(Sent::Asks(result, answer)) => (answer, asks(result)),
        Ok(Sent::Suspended(result)) => (None, asks(result)),
        Ok(Sent::Unanswered(error)) => (None, unanswered(error, resolved.operation())),
        Ok(Sent::Gone) => (None, gone(EXPIRED, codes::EXPIRED, resolved.operation())),
        Ok(Sent::Elsewhere) => (None, gone(ELSEWHERE, codes::ELSEWHERE, resolved.operation())),
        Ok(Sent::Failed(failure)) => (None, failed(failure, asked.era(), resolved.operation())),
        Err(error) => (None, failed(Failure::from(&error), asked.era(), resolved.operation())),
    }
}

fn ended(answer: &Answer, resolved: &Resolved<'_>) -> Ended {
    let (asked, operation) = (resolved.asked(), resolved.operation());
    let server = &resolved.server().id;
    let root = answer.message.root();
    if let Some(said) = root.get("result") {
        let revision = asked.incoming.revision;
        let without_nulls = level::without_nulls(operation, said, revision);
        let result = without_nulls.as_ref().map_or(said, Document::root);
        let is_task = match adapt::completeness(result) {
            Completeness::Complete | Completeness::InputRequired => tasks::is_core(resolved, result),
            Completeness::Task
                if asked.abilities.has_tasks() || tasks::sought(resolved) == Sought::Extension =>
            {
                true
            }
            Completeness::Task | Completeness::Other => {
                return broken("the server answers in a way that was not asked for", operation);
            }
        };
        let is_error = result.get("isError").and_then(Value::as_bool) == Some(true);
        let outcome =
            if is_error && operation == Operation::ToolsCall { Outcome::ToolError } else { Outcome::Success };
        let cacheable =
            matches!(operation, Operation::ResourcesRead | Operation::SkillsGet | Operation::DirectoryRead);
        let mut text = adapt::result_for(asked.era(), result, cacheable);
        if level::differs(result, revision) {
            text = Cow::Owned(level::result(operation, &text, revision).into_owned());
        }
        let text = rename::outward(&asked.incoming.arrival.surface, server, operation, text);
        let (outcome, text) = if is_task {
            (Outcome::Pending, tasks::begun(resolved, answer, &text))
        } else {
            (outcome, text.into_owned())
        };
        return Ended {
            outcome,
            settled: Settled::Result(text),
            error: None,
            code: None,
            word: None,
            recorded: Some(answer.message.slice(said)),
        };
    }
    let Some(error) = root.get("error") else {
        return broken("the server's answer holds neither result nor error", operation);
    };
    let code = error.get("code").and_then(Value::as_i64);
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    let code = translated(
        code.and_then(|code| i32::try_from(code).ok()).unwrap_or(error::INTERNAL),
        asked.era(),
        operation,
    );
    let mut failure = match code {
        error::MISSING_CAPABILITY => RpcError::bad_request(code, message.as_ref()),
        _ => RpcError::answer(code, message.as_ref()),
    };
    failure.data = error.get("data").map(|data| data.raw().to_owned());
    Ended {
        outcome: Outcome::UpstreamError,
        error: Some(format!("{code}: {message}")),
        code: Some(code),
        word: None,
        settled: Settled::Failed(failure),
        recorded: Some(answer.message.slice(error)),
    }
}

/// A server's error code in the era of the client.
fn translated(code: i32, era: Era, operation: Operation) -> i32 {
    match (code, era, operation) {
        (error::RESOURCE_NOT_FOUND, Era::Modern, _) => error::INVALID_PARAMS,
        (error::INVALID_PARAMS, Era::Legacy, Operation::ResourcesRead | Operation::ResourcesSubscribe) => {
            error::RESOURCE_NOT_FOUND
        }
        // What only makes sense between the gateway and its server.
        (error::HEADER_MISMATCH | error::UNSUPPORTED_VERSION, _, _) => error::INTERNAL,
        // What a server lacks, only a client of its era can mend.
        (error::MISSING_CAPABILITY, Era::Legacy, _) => error::INTERNAL,
        (code, _, _) => code,
    }
}

/// There is no more to it.
fn subscribed() -> Ended {
    let settled = Settled::Result("{}".to_owned());
    Ended { outcome: Outcome::Success, settled, error: None, code: None, word: None, recorded: None }
}

/// The call ends here, and is made again.
fn asks(result: String) -> Ended {
    Ended {
        outcome: Outcome::InputRequired,
        recorded: Some(Bytes::from(result.clone())),
        settled: Settled::Result(result),
        error: None,
        code: None,
        word: None,
    }
}

/// What the server needed to know, the client did not say.
fn unanswered(failure: RpcError, operation: Operation) -> Ended {
    let settled = match operation {
        // What the client could declare, it must hear as an error.
        Operation::ToolsCall if failure.code != error::MISSING_CAPABILITY => {
            unavailable(&failure.message, codes::UNANSWERED.into(), operation)
        }
        _ => Settled::Failed(failure.clone()),
    };
    Ended {
        outcome: Outcome::UpstreamError,
        settled,
        error: Some(failure.message),
        code: None,
        word: Some(codes::UNANSWERED.into()),
        recorded: None,
    }
}

/// The client came back too late. The call is not made anew: it may have acted already.
const EXPIRED: &str = "the interaction has expired: make the call again from the start, without requestState";

const ELSEWHERE: &str = "the interaction goes on at another replica of the gateway, which cannot be reached: \
    make the call again in a moment";

fn gone(text: &'static str, code: &'static str, operation: Operation) -> Ended {
    let settled = match operation {
        Operation::ToolsCall => unavailable(text, code.into(), operation),
        _ => Settled::Failed(RpcError::answer(error::INVALID_PARAMS, text)),
    };
    let (error, word) = (Some(text.to_owned()), Some(code.into()));
    Ended { outcome: Outcome::Timeout, settled, error, code: None, word, recorded: None }
}

fn broken(text: &str, operation: Operation) -> Ended {
    Ended {
        outcome: Outcome::UpstreamError,
        settled: unavailable(text, codes::BROKEN.into(), operation),
        error: Some(text.to_owned()),
        code: None,
        word: Some(codes::BROKEN.into()),
        recorded: None,
    }
}

fn failed(Failure { text, fault, code: word }: Failure, era: Era, operation: Operation) -> Ended {
    let outcome = if fault == Fault::Timeout { Outcome::Timeout } else { Outcome::UpstreamError };
    let (settled, code) = match fault {
        Fault::NotOffered => {
            (Settled::Failed(RpcError::answer(error::METHOD_NOT_FOUND, text.as_str())), None)
        }
        Fault::Refused(code) => {
            let code = translated(code, era, operation);
            (Settled::Failed(RpcError::answer(code, text.as_str())), Some(code))
        }
        Fault::Timeout | Fault::Server => (unavailable(&text, word.clone(), operation), None),
    };
    Ended { outcome, settled, error: Some(text), code, word: Some(word), recorded: None }
}

/// A tool call fails in words that a model can act on; everything else as an error.
fn unavailable(text: &str, code: Cow<'static, str>, operation: Operation) -> Settled {
    if operation == Operation::ToolsCall {
        Settled::Unavailable { text: text.to_owned(), code }
    } else {
        Settled::Failed(RpcError::answer(error::INTERNAL, text).with_data(coded(&code)))
    }
}
