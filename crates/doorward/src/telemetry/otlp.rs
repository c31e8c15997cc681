//! Calls in the words of OTLP and of the semantic conventions for MCP and GenAI.

use std::collections::BTreeMap;

use doorward_gateway::{CallSpan, Failure};
use doorward_model::{CapabilityKind, Operation};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// Flags of a recorded span (opentelemetry-proto, `SpanFlags`): sampled, and it is
/// known whether the parent is somebody else's.
const SAMPLED: u32 = 0x101;
/// The parent is somebody else's.
const REMOTE_PARENT: u32 = 0x200;

/// Adds the one or two spans of a call.
pub(super) fn push(call: CallSpan, out: &mut Vec<Span>) {
    let started = call.started.as_micros().saturating_mul(1_000);
    let mut attributes = vec![text("mcp.method.name", call.operation.as_str())];
    let mut name = call.operation.to_string();
    if let Some((key, target)) = named(&call) {
        attributes.push(text(key, target));
        name = format!("{name} {target}");
    }
    if call.operation == Operation::ToolsCall {
        attributes.push(text("gen_ai.operation.name", "execute_tool"));
    }
    if let Some(server) = &call.server {
        attributes.push(text("doorward.server.id", server.as_str()));
    }
    let trace_state = call.trace_state.clone().unwrap_or_default();
    let ended = |from: u64, duration: std::time::Duration| {
        from.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    };
    if let Some(relay) = &call.relay {
        let from = ended(started, relay.after);
        let mut attributes = attributes.clone();
        let status = fail(relay.failure, &mut attributes);
        out.push(Span {
            trace_id: call.trace_id.to_vec(),
            span_id: relay.span.to_vec(),
            parent_span_id: call.span.to_vec(),
            trace_state: trace_state.clone(),
            flags: SAMPLED,
            name: name.clone(),
            kind: SpanKind::Client.into(),
            start_time_unix_nano: from,
            end_time_unix_nano: ended(from, relay.duration),
            attributes,
            status,
            ..Span::default()
        });
    }
    let status = fail(call.failure, &mut attributes);
    attributes.push(text("mcp.protocol.version", call.revision));
    attributes.push(text("network.transport", if call.piped { "pipe" } else { "tcp" }));
    attributes.push(text("doorward.call.id", call.call.to_string()));
    attributes.push(text("doorward.outcome", call.outcome.as_str()));
    if let Some((verdict, layer)) = call.verdict {
        attributes.push(text("doorward.verdict", verdict.as_str()));
        attributes.push(text("doorward.layer", layer.as_str()));
    }
    if let Some(rule) = call.rule {
        attributes.push(text("doorward.rule", rule));
    }
    out.push(Span {
        trace_id: call.trace_id.to_vec(),
        span_id: call.span.to_vec(),
        parent_span_id: call.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        trace_state,
        flags: if call.parent.is_some() { SAMPLED | REMOTE_PARENT } else { SAMPLED },
        name,
        kind: SpanKind::Server.into(),
        start_time_unix_nano: started,
        end_time_unix_nano: ended(started, call.duration),
        attributes,
        status,
        ..Span::default()
    });
}

/// What goes into one request.
pub(super) fn request(resource: &BTreeMap<String, String>, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let attributes = resource.iter().map(|(name, value)| text(name, value.as_str())).collect();
    let scope = InstrumentationScope {
        name: "doorward".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    }
}

/// The target, if a span may be named after it: tools and prompts are few, resources
/// are not.
fn named(call: &CallSpan) -> Option<(&'static str, &str)> {
    let (kind, name) = call.target.as_ref()?;
    match kind {
        CapabilityKind::Tool => Some(("gen_ai.tool.name", name)),
        CapabilityKind::Prompt => Some(("gen_ai.prompt.name", name)),
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => None,
    }
}

/// Adds why it failed. The status has no description: messages of servers and
/// reasons of policies may quote arguments.
fn fail(failure: Option<Failure>, attributes: &mut Vec<KeyValue>) -> Option<Status> {
    match failure? {
        Failure::Word(word) => attributes.push(text("error.type", word)),
        Failure::Code(code) => {
            attributes.push(text("error.type", code.to_string()));
            attributes.push(text("rpc.response.status_code", code.to_string()));
        }
    }
    Some(Status { message: String::new(), code: StatusCode::Error.into() })
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
