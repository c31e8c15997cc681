//! The input document: an inquiry as canonical JSON (RFC 8785).
//!
//! Every member is there in every document, empty where there is nothing to say,
//! so that a policy's `not` never meets an undefined value of ours. The document
//! is what Rego sees as `input`, what records digest, and what
//! [`simulate`](crate::simulate()) reads.

use doorward_model::json::{canonical, push_ip, push_number, push_string};

use crate::facts::{Context, Inquiry, Kind, SessionFacts};
use crate::prepared::Prepared;

/// Members of the input document, in canonical order.
pub(crate) const MEMBERS: [&str; 16] = [
    "agent",
    "approval",
    "arguments",
    "backend",
    "context",
    "definition",
    "identity",
    "limits",
    "operation",
    "prompt",
    "resource",
    "scopes",
    "server",
    "session",
    "tool",
    "user",
];

/// The definition of a capability that nobody knows.
pub(crate) const NO_DEFINITION: &str = r#"{"annotations":{},"fingerprint":"","reviewed_by":"","risk":""}"#;

/// Writes the document of an inquiry, in one pass.
pub(crate) fn write(inquiry: &Inquiry<'_>, caller: &Prepared) -> String {
    let mut out = String::with_capacity(1_024);
    out.push_str("{\"agent\":");
    push_string(&mut out, &caller.agent);
    out.push_str(",\"approval\":null,\"arguments\":");
    match inquiry.known_arguments() {
        Some(arguments) => out.push_str(&canonical(arguments)),
        None => out.push_str("{}"),
    }
    out.push_str(",\"backend\":");
    push_string(&mut out, inquiry.server.id.as_str());
    out.push_str(",\"context\":");
    context(&mut out, inquiry.context);
    out.push_str(",\"definition\":");
    out.push_str(inquiry.definition.map_or(NO_DEFINITION, |definition| &definition.text));
    out.push_str(",\"identity\":");
    out.push_str(&caller.identity_text);
    out.push_str(",\"limits\":");
    limits(&mut out, inquiry.limits);
    out.push_str(",\"operation\":");
    push_string(&mut out, inquiry.operation.as_str());
    out.push_str(",\"prompt\":");
    push_string(&mut out, inquiry.target.named_as(Kind::Prompt));
    out.push_str(",\"resource\":{\"uri\":");
    push_string(&mut out, inquiry.target.named_as(Kind::Resource));
    out.push_str("},\"scopes\":");
    out.push_str(&caller.scopes_text);
    out.push_str(",\"server\":");
    out.push_str(&inquiry.server.text);
    out.push_str(",\"session\":");
    session(&mut out, inquiry.session);
    out.push_str(",\"tool\":");
    push_string(&mut out, inquiry.target.named_as(Kind::Tool));
    out.push_str(",\"user\":");
    push_string(&mut out, &caller.user);
    out.push('}');
    out
}

/// Appends a list of texts.
pub(crate) fn push_texts<T: AsRef<str>>(out: &mut String, texts: &[T]) {
    out.push('[');
    for (at, text) in texts.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, text.as_ref());
    }
    out.push(']');
}

fn context(out: &mut String, context: &Context<'_>) {
    out.push_str("{\"client\":{\"name\":");
    push_string(out, &context.client.name);
    out.push_str(",\"version\":");
    push_string(out, &context.client.version);
    out.push_str("},\"ip\":\"");
    if let Some(ip) = context.ip {
        push_ip(out, ip);
    }
    out.push_str("\",\"origin\":");
    push_string(out, context.origin);
    out.push_str(",\"time\":\"");
    out.push_str(std::str::from_utf8(&context.time.to_ascii()).unwrap_or_default());
    out.push_str("\"}");
}

fn limits(out: &mut String, limits: &[(String, u64)]) {
    out.push('{');
    let mut sorted: Vec<_> = limits.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    // The last of equal names counts, as it does in the value that Rego sees.
    let mut counters = sorted.into_iter().peekable();
    let mut first = true;
    while let Some((name, count)) = counters.next() {
        if counters.peek().is_some_and(|(next, _)| next == name) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_number(out, *count);
    }
    out.push('}');
}

fn session(out: &mut String, session: Option<&SessionFacts>) {
    out.push_str("{\"calls\":[");
    for (at, call) in session.map(|session| session.calls.as_slice()).unwrap_or_default().iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str("{\"backend\":");
        push_string(out, &call.backend);
        out.push_str(",\"labels\":");
        push_texts(out, &call.labels);
        out.push_str(",\"tool\":");
        push_string(out, &call.tool);
        out.push_str(",\"verdict\":");
        push_string(out, &call.verdict);
        out.push('}');
    }
    out.push_str("],\"id\":");
    push_string(out, session.map_or("", |session| &session.id));
    out.push_str(",\"labels\":");
    push_texts(out, session.map(|session| session.labels.as_slice()).unwrap_or_default());
    out.push('}');
}
