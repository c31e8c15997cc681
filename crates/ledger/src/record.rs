//! What an entry says. Everything is borrowed: writing a record copies it once,
//! into the log.

use std::net::IpAddr;

use crate::secrets::Secrets;
use doorward_model::json::Value;
use doorward_model::{CallId, ClientLabel, Outcome, Timestamp};

/// What was decided about one call, before anything was sent.
pub struct DecisionRecord<'a> {
    /// The call.
    pub call: CallId,
    /// When it was received.
    pub received: Timestamp,
    /// The MCP method.
    pub operation: &'a str,
    /// The server, where one was found.
    pub server: Option<&'a str>,
    /// The server's own name or URI for the target; what the client said where
    /// nothing was found.
    pub target: &'a str,
    /// The human.
    pub person: Option<&'a str>,
    /// The human's verified e-mail address.
    pub email: Option<&'a str>,
    /// The program.
    pub agent: Option<&'a str>,
    /// The grant.
    pub grant: &'a str,
    /// How the grant was proven.
    pub grant_kind: &'a str,
    /// The name that usage is counted under.
    pub consumer: &'a str,
    /// What the client calls itself.
    pub client: &'a ClientLabel,
    /// The session, in the legacy era.
    pub session: Option<&'a str>,
    /// The peer's address.
    pub ip: Option<IpAddr>,
    /// `mcp`, `stdio`, `cli` or `meta`.
    pub origin: &'a str,
    /// The definition that was judged.
    pub fingerprint: Option<&'a str>,
    /// The arguments that were judged.
    pub arguments: Option<Value<'a>>,
    /// `allow`, `deny`, `hide`, `approval_required` or `error`.
    pub verdict: &'a str,
    /// Why.
    pub reasons: &'a [String],
    /// The layer that decided.
    pub layer: &'a str,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// Digest of the policy bundle.
    pub bundle: &'a str,
    /// Digest of the input document.
    pub input_digest: &'a str,
    /// The input document, where it is to be kept.
    pub input: Option<&'a str>,
    /// What is known to be secret, and is masked in the preview of the arguments.
    pub secrets: Secrets<'a>,
    /// What evaluated the Rego policies.
    pub evaluator: &'a str,
    /// What shadow policies would have said.
    pub shadow: &'a [(String, String)],
    /// Counters that the decision read.
    pub limits: &'a [(String, u64)],
    /// The trace.
    pub trace_id: Option<&'a str>,
    /// The end, for a call that ends with its decision: outcome, duration in
    /// microseconds, error.
    pub terminal: Option<(Outcome, u64, Option<&'a str>)>,
}

/// How a call ended that was let through.
#[derive(Clone, Copy)]
pub struct OutcomeRecord<'a> {
    /// The end.
    pub outcome: Outcome,
    /// From receipt to answer, in microseconds.
    pub duration_us: u64,
    /// Of which spent waiting for the server.
    pub upstream_us: u64,
    /// Size of the request.
    pub bytes_in: u64,
    /// Size of the server's answer.
    pub bytes_out: u64,
    /// HTTP status of the server's answer.
    pub upstream_status: Option<u16>,
    /// The error, without secrets.
    pub error: Option<&'a str>,
    /// Its stable code: a word of `docs/reference/error-codes.md`, or the number that the
    /// server answered with.
    pub code: Option<&'a str>,
    /// What guardrails did.
    pub dlp: &'a str,
    /// The server's result, which is digested.
    pub result: Option<&'a [u8]>,
}

/// Something that is no call.
#[derive(Clone, Copy, Default)]
pub struct EventRecord<'a> {
    /// `started`, `stopped`, `reloaded`, `refused`, `recovered`, …
    pub kind: &'a str,
    /// When.
    pub time: Timestamp,
    /// Why.
    pub reason: &'a str,
    /// The peer, where there is one.
    pub ip: Option<IpAddr>,
    /// The grant of whoever caused it, where that is known.
    pub grant: Option<&'a str>,
    /// More, such as the digest of a configuration.
    pub detail: Option<&'a str>,
}
