//! Writing messages to servers: one buffer each, no trees.

use bytes::Bytes;
use doorward_model::json;
use doorward_wire::Revision;
use doorward_wire::log::Logs;

use crate::call::{Call, Round};

/// A request of the era with sessions: metadata only where there is something to
/// say, `params` only where there is anything.
pub(crate) fn legacy(id: u64, call: &Call<'_>) -> Vec<u8> {
    let mut out = open(id, call);
    let token = wants_progress(call);
    if call.members.is_empty() && call.meta.is_empty() && !token {
        out.push(b'}');
        return out;
    }
    out.extend_from_slice(b",\"params\":{");
    out.extend_from_slice(&call.members);
    if token || !call.meta.is_empty() {
        if !call.members.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(b"\"_meta\":{");
        push_meta(&mut out, id, call, token);
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
    out
}

/// A request of the stateless era, which describes itself.
pub(crate) fn modern(id: u64, call: &Call<'_>, own_info: &str) -> Vec<u8> {
    let mut out = open(id, call);
    out.extend_from_slice(b",\"params\":{");
    out.extend_from_slice(&call.members);
    if !call.members.is_empty() {
        out.push(b',');
    }
    if let Some(round) = &call.round {
        push_round(&mut out, round);
    }
    out.extend_from_slice(b"\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"");
    out.extend_from_slice(Revision::V2026_07_28.as_str().as_bytes());
    out.extend_from_slice(b"\",\"io.modelcontextprotocol/clientCapabilities\":");
    out.extend_from_slice(if call.capabilities.is_empty() { "{}" } else { call.capabilities }.as_bytes());
    let info = if call.client_info.is_empty() { own_info } else { call.client_info };
    out.extend_from_slice(b",\"io.modelcontextprotocol/clientInfo\":");
    out.extend_from_slice(info.as_bytes());
    if let Logs::From(level) = call.logs {
        out.extend_from_slice(b",\"io.modelcontextprotocol/logLevel\":\"");
        out.extend_from_slice(level.as_str().as_bytes());
        out.push(b'"');
    }
    let token = wants_progress(call);
    if token || !call.meta.is_empty() {
        out.push(b',');
        push_meta(&mut out, id, call, token);
    }
    out.extend_from_slice(b"}}}");
    out
}

/// `notifications/cancelled` for a request of ours.
pub(crate) fn cancelled(id: u64) -> Bytes {
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"nobody waits for the answer any more"}}}}"#
    ))
}

/// `notifications/initialized`
pub(crate) const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// `notifications/roots/list_changed`
pub(crate) const ROOTS_CHANGED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;

/// The members of the `initialize` request of the newest revision with sessions.
///
/// The gateway itself answers no questions; `capabilities`, a JSON object or empty, are
/// those of the clients whose session it is.
pub(crate) fn initialize_members(client_info: &str, capabilities: &str) -> Bytes {
    let capabilities = if capabilities.is_empty() { "{}" } else { capabilities };
    Bytes::from(format!(
        r#""protocolVersion":"{}","capabilities":{capabilities},"clientInfo":{client_info}"#,
        Revision::NEWEST_LEGACY
    ))
}

/// Whether progress is asked for: only where it can be passed on.
pub(crate) fn wants_progress(call: &Call<'_>) -> bool {
    call.progress_token.is_some() && call.notify.is_some()
}

fn open(id: u64, call: &Call<'_>) -> Vec<u8> {
    let length = call.members.len()
        + call.meta.len()
        + call.method.len()
        + call.client_info.len()
        + call.capabilities.len();
    let mut out = Vec::with_capacity(length + 320);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    push_number(&mut out, id);
    out.extend_from_slice(b",\"method\":");
    if call
        .method
        .bytes()
        .all(|c| matches!(c, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'_' | b'-' | b'.'))
    {
        out.push(b'"');
        out.extend_from_slice(call.method.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(json::quoted(call.method).as_bytes());
    }
    out
}

fn push_round(out: &mut Vec<u8>, round: &Round<'_>) {
    if !round.responses.is_empty() {
        out.extend_from_slice(b"\"inputResponses\":");
        out.extend_from_slice(round.responses.as_bytes());
        out.push(b',');
    }
    if let Some(state) = round.state {
        out.extend_from_slice(b"\"requestState\":");
        out.extend_from_slice(json::quoted(state).as_bytes());
        out.push(b',');
    }
}

fn push_meta(out: &mut Vec<u8>, id: u64, call: &Call<'_>, token: bool) {
    if token {
        // The request's own id: unique for as long as the request lives.
        out.extend_from_slice(b"\"progressToken\":");
        push_number(out, id);
        if !call.meta.is_empty() {
            out.push(b',');
        }
    }
    out.extend_from_slice(call.meta.as_bytes());
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of ten is a digit.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use doorward_wire::log::Level;
    use tokio::sync::mpsc;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_legacy_request_says_no_more_than_it_must() {
        let plain = Call { method: "tools/list", ..Call::default() };
        assert_eq!(text(legacy(7, &plain)), r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#);
        let (notify, _keep) = mpsc::channel(1);
        let full = Call {
            method: "tools/call",
            members: Bytes::from_static(br#""name":"echo","arguments":{}"#),
            meta: r#""traceparent":"00-x""#,
            notify: Some(notify),
            progress_token: Some("\"mine\""),
            client_info: r#"{"name":"c"}"#,
            ..Call::default()
        };
        assert_eq!(
            text(legacy(1203, &full)),
            r#"{"jsonrpc":"2.0","id":1203,"method":"tools/call","params":{"name":"echo","arguments":{},"_meta":{"progressToken":1203,"traceparent":"00-x"}}}"#
        );
        let only_meta = Call { members: Bytes::new(), notify: None, ..full.clone() };
        assert_eq!(
            text(legacy(0, &only_meta)),
            r#"{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{"_meta":{"traceparent":"00-x"}}}"#
        );
    }

    #[test]
    fn a_modern_request_describes_itself() {
        let call = Call {
            method: "odd \"method\"",
            logs: Logs::From(Level::Info),
            meta: r#""a/b":1"#,
            ..Call::default()
        };
        assert_eq!(
            text(modern(u64::MAX, &call, r#"{"name":"gate"}"#)),
            r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"odd \"method\"","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"gate"},"io.modelcontextprotocol/logLevel":"info","a/b":1}}}"#
        );
        let call = Call {
            method: "tools/call",
            members: Bytes::from_static(br#""name":"x""#),
            client_info: r#"{"name":"c"}"#,
            capabilities: r#"{"elicitation":{}}"#,
            round: Some(Round { responses: r#"{"k":{}}"#, state: Some("s\"") }),
            ..Call::default()
        };
        assert_eq!(
            text(modern(1, &call, "{}")),
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","inputResponses":{"k":{}},"requestState":"s\"","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"io.modelcontextprotocol/clientInfo":{"name":"c"}}}}"#
        );
    }
}
