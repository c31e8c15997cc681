//! Stable words for what goes wrong between a decision and its answer, beside those of
//! `UpstreamError::code` (`docs/reference/error-codes.md`).

/// The server broke the protocol in its answer.
pub(crate) const BROKEN: &str = "upstream-protocol";
/// The client did not answer what the server asked.
pub(crate) const UNANSWERED: &str = "question-unanswered";
/// The client came back to a call that is not waited for any more.
pub(crate) const EXPIRED: &str = "interaction-expired";
/// The call goes on at a replica that cannot be reached.
pub(crate) const ELSEWHERE: &str = "interaction-elsewhere";
/// The server has a question, and there is no place for its call to wait in.
pub(crate) const FULL: &str = "interactions-full";
/// Too much is under way.
pub(crate) const OVERLOADED: &str = "overloaded";
/// The caller has not read the answers before this one.
pub(crate) const UNREAD: &str = "answers-unread";
/// The call could not be recorded.
pub(crate) const UNRECORDED: &str = "log-unwritable";
/// The message is well-formed and goes beyond a bound.
pub(crate) const BOUNDS: &str = "request-bounds";
