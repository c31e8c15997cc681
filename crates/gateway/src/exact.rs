//! Integers beyond ±(2^53−1). JavaScript rounds them and so acts on another number, which is
//! why a message that holds one is refused, unless it is a call of a server whose entry says
//! `numbers: exact`.
//!
//! Whose call it is shows only when it is resolved. Until then the refusal travels with the
//! message ([`Incoming::unless_exact`](crate::receive::Incoming)), so that whoever may not know
//! of such a server gets the very bytes that everybody gets where there is none
//! ([`bounds`](crate::bounds)).

use doorward_model::Operation;
use doorward_model::json::Document;
use doorward_registry::Server;
use doorward_wire::Era;
use doorward_wire::message::Message;

use crate::snapshot::Snapshot;
use crate::surface::Surface;

/// Whether there is a server that takes such integers.
pub(crate) fn is_taken_by_any(snapshot: &Snapshot) -> bool {
    snapshot.registry.servers().iter().any(|server| is_taken_by(server))
}

/// Whether this server takes them.
pub(crate) fn is_taken_by(server: &Server) -> bool {
    server.enabled && server.exact_numbers
}

/// Whether a message is a call and holds such integers only where they are passed on as they
/// came, and mean nothing to the gateway: not in ids, cursors, tokens or metadata.
pub(crate) fn is_only_passed_on(document: &Document, era: Era, surface: &Surface) -> bool {
    let Ok(Message::Request(request)) = Message::read(document) else { return false };
    let Some(params) = request.params.filter(|_| *surface != Surface::Gateway) else { return false };
    let members = passed_on(Operation::from_method(&request.method), era).iter();
    let passed_on = members.filter_map(|member| params.get(member)).map(|it| it.unsafe_integers().count());
    passed_on.sum::<usize>() == document.root().unsafe_integers().count()
}

/// The members of `params` whose insides belong to the server.
fn passed_on(operation: Option<Operation>, era: Era) -> &'static [&'static str] {
    match (operation, era) {
        (Some(Operation::ToolsCall | Operation::PromptsGet), Era::Legacy) => &["arguments"],
        // Only this era makes calls again, with the answers to what was asked meanwhile.
        (Some(Operation::ToolsCall | Operation::PromptsGet), Era::Modern) => &["arguments", "inputResponses"],
        (Some(Operation::ResourcesRead), Era::Modern) => &["inputResponses"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Limits, Numbers};

    use super::*;

    #[test]
    fn only_what_is_passed_on_may_hold_them() {
        const N: &str = "9007199254740993";
        let cases = [
            // method, params, in the legacy era, in the modern one
            ("tools/call", r#"{"name":"t","arguments":{"a":[{"b":N}]}}"#, true, true),
            ("prompts/get", r#"{"name":"t","arguments":{"a":N}}"#, true, true),
            ("tools/call", r#"{"name":"t","inputResponses":{"q":{"content":{"a":N}}}}"#, false, true),
            ("resources/read", r#"{"uri":"u","inputResponses":{"q":{"content":{"a":N}}}}"#, false, true),
            ("resources/read", r#"{"uri":"u","arguments":{"a":N}}"#, false, false),
            ("tools/call", r#"{"name":"t","arguments":{"a":N},"_meta":{"progressToken":N}}"#, false, false),
            ("tools/call", r#"{"name":"t","arguments":{},"_meta":{"x":N}}"#, false, false),
            ("tools/call", r#"{"name":"t","arguments":{},"task":{"ttl":N}}"#, false, false),
            ("tools/call", r#"{"name":"t","other":{"arguments":{"a":N}}}"#, false, false),
            ("tools/call", r#"{"name":N,"arguments":{}}"#, false, false),
            ("completion/complete", r#"{"ref":{},"argument":{"value":N}}"#, false, false),
            ("tasks/update", r#"{"taskId":"t","inputResponses":{"a":N}}"#, false, false),
            ("tools/list", r#"{"cursor":N}"#, false, false),
            ("no/such/method", r#"{"arguments":{"a":N}}"#, false, false),
        ];
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let judged = |id: &str, method: &str, params: &str, era, surface: &Surface| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
            let document = Document::parse(Bytes::from(text.replace('N', N)), &limits).expect("valid");
            is_only_passed_on(&document, era, surface)
        };
        for (method, params, legacy, modern) in cases {
            for (era, expected) in [(Era::Legacy, legacy), (Era::Modern, modern)] {
                let judged = |id, surface| judged(id, method, params, era, surface);
                assert_eq!(judged("1", &Surface::Aggregate), expected, "{era:?} {method} {params}");
                assert!(!judged("N", &Surface::Aggregate), "an id is the gateway's own");
                assert!(!judged("1", &Surface::Gateway), "and so are the arguments of meta tools");
            }
        }
    }

    #[test]
    fn what_is_no_request_is_no_call() {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        for text in [
            r#"{"jsonrpc":"2.0","method":"tools/call","params":{"arguments":{"a":9007199254740993}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"arguments":{"a":9007199254740993}}}"#,
        ] {
            let document = Document::parse(Bytes::from(text), &limits).expect("valid");
            for era in [Era::Legacy, Era::Modern] {
                assert!(!is_only_passed_on(&document, era, &Surface::Aggregate), "{text}");
            }
        }
    }
}
