//! One request to a server, and its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::Document;
use doorward_model::{Caller, Departure};
use doorward_wire::log::Logs;
use tokio::sync::mpsc;

use crate::inbound;
use crate::question::Question;

/// A request as the gateway wants it sent. The link adds its own id, the
/// metadata the server's era asks for, and the headers.
#[derive(Clone, Debug, Default)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a str,
    /// The members of `params` as JSON text, without braces and without `_meta`:
    /// `"name":"echo","arguments":{}`. May be empty.
    pub members: Bytes,
    /// The members of `params._meta` to send on, as JSON text. Must hold neither
    /// `progressToken` nor keys that MCP itself owns. May be empty.
    pub meta: &'a str,
    /// What the call is about: a tool's or prompt's name, a resource's URI. Goes
    /// into `Mcp-Name`.
    pub target: Option<&'a str>,
    /// Whom the call is made for: calls of one affinity share a session.
    pub affinity: &'a str,
    /// Who makes it; `None` for the gateway itself, and for what goes on with an earlier call.
    pub caller: Option<&'a Arc<Caller>>,
    /// What the client says of itself, a JSON object; empty for the gateway's own.
    pub client_info: &'a str,
    /// What a server may know of the client's capabilities, a JSON object; empty for none.
    /// Calls with the same text share a session with a server of the legacy era.
    pub capabilities: &'a str,
    /// Which log messages are wanted.
    pub logs: Logs,
    /// How long the answer may take; `None` is the server's own timeout.
    pub deadline: Option<Duration>,
    /// Where notifications that belong to this call go, each one message.
    pub notify: Option<mpsc::Sender<Bytes>>,
    /// Told when the server hangs up before its answer and offers the rest on request: after
    /// how long.
    pub hung_up: Option<mpsc::Sender<Duration>>,
    /// The token, as JSON, that progress is to be reported under. Needs `notify`.
    pub progress_token: Option<&'a str>,
    /// Where a server of the legacy era asks what it needs to know; without it, it is told
    /// that nobody answers.
    pub questions: Option<mpsc::Sender<Question>>,
    /// What a server of the stateless era asked for, when the call is made again.
    pub round: Option<Round<'a>>,
    /// The task whose result is waited for, as the server calls it: what it asks meanwhile
    /// says so (2025-11-25).
    pub task: Option<&'a str>,
    /// The [`Answer::place`] of the call that made what this one is about.
    pub place: Option<u64>,
    /// What the call makes is to be found again for so long: the session, or the child, that it
    /// is made in does not end of idleness.
    pub keeps: Option<Duration>,
    /// Told when the request begins to leave, after everything that comes before it: starting
    /// the server, opening a session, waiting until a child reads its input. It can call that off until then.
    pub departure: Option<&'a Arc<Departure>>,
    /// `Mcp-Param-*` headers: full names with their plain values (2026-07-28).
    pub extra_headers: &'a [(String, String)],
}

impl Call<'_> {
    /// The request leaves now. If not, it must not any more.
    pub(crate) fn leaves(&self) -> bool {
        self.departure.is_none_or(|departure| departure.leave())
    }
}

/// The further members of `params` of a call that is made again (2026-07-28,
/// multi-round-trip requests).
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// `inputResponses`, a JSON object; empty for none.
    pub responses: &'a str,
    /// `requestState`, as the server issued it.
    pub state: Option<&'a str>,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The response: strictly read, indexed as deep as the entries of `result`'s
    /// lists, with the link's own id.
    pub message: Document,
    /// The HTTP status it came with, where there is one.
    pub status: Option<u16>,
    /// The length of the message in bytes.
    pub bytes: usize,
    /// How long the server took, without the time to open a link.
    pub upstream_time: Duration,
    /// Which of several links to the server it came over: what a child process keeps, no
    /// other has.
    pub place: u64,
}

impl Answer {
    /// An answer that another process got and passes on; `None` when it is none.
    pub fn again(message: Bytes, status: Option<u16>, upstream_time: Duration, place: u64) -> Option<Self> {
        let bytes = message.len();
        let message = inbound::parse(message).ok()?;
        Some(Self { message, status, bytes, upstream_time, place })
    }
}
