//! What a collector of traces learns of calls, and what it never learns; and that
//! calls do not depend on it.

use std::time::Duration;

use doorward::runtime;
use hyper::{Method, StatusCode};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use serde_json::{Value, json};

use crate::world::collector::{Collector, attribute, spans};
use crate::world::http::insert;
use crate::world::{self, ALICE, BOB, STAFF_MAY_ALL, Speaks, World, call};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const ARGUMENT: &str = "planted-argument-5d20";
const HEADER: &str = "planted-header-77aa";

const POLICIES: &str = "policies:
  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}]}
  - {id: guests, name: Guests, roles: [guest], rules: [{server: github, tool: echo, action: deny}, {action: allow}]}
";

async fn start(collector: &Collector, rest: &str, more: &[(&str, &str)]) -> World {
    let endpoint = collector.endpoint();
    let variables = [&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())], more].concat();
    World::start_in(&["github"], Speaks::Legacy, rest, &variables).await
}

fn traced(tool: &str, flags: &str) -> Value {
    let mut params = call(tool, json!({"text": ARGUMENT}));
    params["_meta"]["traceparent"] = json!(format!("00-{TRACE}-{PARENT}-{flags}"));
    params
}

/// The traces that servers were told of, in the order of the calls.
fn told(world: &World) -> Vec<String> {
    let received = world.recorders[0].received();
    let calls = received.iter().map(|message| message.json()).filter(|json| json["method"] == "tools/call");
    calls.map(|json| json["params"]["_meta"]["traceparent"].as_str().unwrap_or("none").to_owned()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_kind(spans: &[Span], kind: SpanKind) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == i32::from(kind)).collect()
}

fn told_by(span: &Span, keys: &[&str]) -> String {
    let values: Vec<_> = keys.iter().map(|key| attribute(span, key)).collect();
    values.join(" ")
}

/// One line of `/metrics`.
async fn metric(world: &World, name: &str) -> Option<u64> {
    let client = world.modern("/metrics", ALICE);
    let answer = client.raw(Method::GET, &client.headers(), bytes::Bytes::new()).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// Waits until a counter has reached a number.
async fn counted(world: &World, name: &str, least: u64) {
    for _ in 0..600 {
        if metric(world, name).await.is_some_and(|count| count >= least) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} does not reach {least}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_call_is_two_spans_between_those_of_its_caller_and_its_server() {
    let collector = Collector::start(&[]).await;
    let headers = format!("x-api-key={HEADER}");
    let more = [("OTEL_EXPORTER_OTLP_HEADERS", headers.as_str()), ("OTEL_SERVICE_NAME", "gate-7")];
    let world = start(&collector, POLICIES, &more).await;
    let answer = world.modern("/mcp", ALICE).request("tools/call", traced("github__echo", "01")).await;
    assert_eq!(answer.summary(), "200 ok");
    let record = world.records()[0].clone();
    let told = told(&world);
    world.stop().await;

    let batches = collector.batches();
    assert_eq!(batches.len(), 1, "what waits is sent at shutdown, at once");
    assert_eq!(batches[0].path, "/v1/traces");
    assert_eq!(batches[0].headers["content-type"], "application/x-protobuf");
    assert_eq!(batches[0].headers["x-api-key"], HEADER);
    assert!(batches[0].body.windows(6).any(|text| text == b"gate-7"), "the service is named");
    let spans = collector.spans();
    let [server] = of_kind(&spans, SpanKind::Server)[..] else { panic!("{spans:?}") };
    let [client] = of_kind(&spans, SpanKind::Client)[..] else { panic!("{spans:?}") };
    assert_eq!(spans.len(), 2);
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!((&client.trace_id, &client.parent_span_id), (&server.trace_id, &server.span_id));
    assert_ne!(client.span_id, server.span_id);
    assert_eq!(
        told,
        [format!("00-{TRACE}-{}-01", hex(&client.span_id))],
        "the server hangs below the client span"
    );
    assert_eq!((server.name.as_str(), client.name.as_str()), ("tools/call echo", "tools/call echo"));
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.start_time_unix_nano < client.end_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    assert_eq!((&server.status, &client.status), (&None, &None));
    let common = ["mcp.method.name", "gen_ai.tool.name", "gen_ai.operation.name", "doorward.server.id"];
    assert_eq!(told_by(client, &common), "tools/call echo execute_tool github");
    assert_eq!(told_by(server, &common), "tools/call echo execute_tool github");
    let own =
        ["doorward.verdict", "doorward.layer", "doorward.rule", "doorward.outcome", "network.transport"];
    assert_eq!(told_by(server, &own), "allow rules rules/staff#/rules/0 success tcp");
    assert_eq!(attribute(server, "mcp.protocol.version"), "2026-07-28");
    assert_eq!(attribute(server, "doorward.call.id"), record["id"].as_str().unwrap_or("no id"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_call_is_one_span_that_says_by_which_rule() {
    let collector = Collector::start(&[]).await;
    let world = start(&collector, POLICIES, &[]).await;
    let bob = world.modern("/mcp", BOB);
    let mut headers = bob.headers();
    insert(&mut headers, "mcp-method", "tools/call");
    insert(&mut headers, "mcp-name", "github__echo");
    insert(&mut headers, "traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    let mut params = call("github__echo", json!({"text": ARGUMENT}));
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let denied = bob.raw(Method::POST, &headers, message.to_string().into()).await;
    assert!(denied.text().starts_with("[POLICY DENIED]"), "{}", denied.text());
    let unknown = bob.call(&format!("github__{ARGUMENT}"), json!({})).await;
    assert_eq!(unknown.summary(), "200 -32602");
    assert_eq!(told(&world), Vec::<String>::new());
    world.stop().await;

    let spans = collector.spans();
    let [denied, unknown] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(denied.kind, i32::from(SpanKind::Server));
    assert_eq!((hex(&denied.trace_id), hex(&denied.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(denied.name, "tools/call echo");
    let keys = ["doorward.verdict", "doorward.layer", "doorward.rule", "doorward.outcome", "error.type"];
    assert_eq!(told_by(denied, &keys), "deny rules rules/guests#/rules/0 denied denied");
    assert_eq!(denied.status.as_ref().map(|status| status.code), Some(SpanStatus::Error.into()));
    assert_eq!(unknown.name, "tools/call", "what callers make up names no span");
    assert_eq!(told_by(unknown, &["doorward.verdict", "doorward.outcome"]), "hide denied");
    assert!(unknown.parent_span_id.is_empty() && unknown.trace_id.iter().any(|byte| *byte != 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_arguments_results_sessions_or_keys_is_exported() {
    let collector = Collector::start(&[]).await;
    let headers = format!("x-api-key={HEADER}");
    let world = start(&collector, POLICIES, &[("OTEL_EXPORTER_OTLP_HEADERS", &headers)]).await;
    let legacy = world.legacy("/mcp", ALICE).await;
    assert_eq!(legacy.call("github__echo", json!({"text": ARGUMENT})).await.summary(), "200 ok");
    assert_eq!(legacy.call(&format!("github__{ARGUMENT}"), json!({})).await.summary(), "200 -32602");
    assert_eq!(
        world.modern("/mcp", BOB).call("github__echo", json!({"text": ARGUMENT})).await.summary(),
        "200 ok"
    );
    let uri = format!("wiki://{ARGUMENT}");
    let read = world.modern("/mcp/github", ALICE).request("resources/read", json!({"uri": uri})).await;
    assert_eq!(read.summary(), "200 ok");
    let nested = json!({"tool": "echo", "args": json!({"text": ARGUMENT}).to_string()});
    let mut nested = call("call", nested);
    nested["_meta"]["traceparent"] = json!(format!("00-{TRACE}-{PARENT}-01"));
    let answer = world.modern("/mcp/_gateway", ALICE).request("tools/call", nested).await;
    assert!(answer.text().contains(ARGUMENT), "{}", answer.text());
    let session = legacy.session().to_owned();
    world.stop().await;

    let spans = collector.spans();
    assert_eq!(of_kind(&spans, SpanKind::Server).len(), 5);
    let nested = spans.iter().filter(|span| hex(&span.trace_id) == TRACE);
    assert_eq!(nested.count(), 2, "the meta tool's call belongs to the trace of who asked for it");
    for batch in collector.batches() {
        for secret in [ARGUMENT, HEADER, ALICE, BOB, &session, "recorder-session"] {
            let found = batch.body.windows(secret.len()).any(|text| text == secret.as_bytes());
            assert!(!found, "{secret} was exported");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_waits_for_ends_its_spans_as_cancelled() {
    let collector = Collector::start(&[]).await;
    let world = start(&collector, POLICIES, &[]).await;
    world.recorders[0].offer("hang");
    let alice = world.modern("/mcp", ALICE);
    let waiting = tokio::spawn(async move { alice.call("github__hang", json!({})).await });
    while world.recorders[0].calls().is_empty() {
        assert!(!waiting.is_finished(), "the call hangs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    waiting.abort();
    assert!(waiting.await.is_err());
    world.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 2, "{spans:?}");
    for span in &spans {
        assert_eq!(told_by(span, &["gen_ai.tool.name", "error.type"]), "hang cancelled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sampled_is_not_exported_and_the_server_is_told() {
    let collector = Collector::start(&[]).await;
    let world = start(&collector, POLICIES, &[]).await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.request("tools/call", traced("github__echo", "00")).await.summary(), "200 ok");
    let off = [("OTEL_TRACES_SAMPLER", "always_off")];
    let quiet = start(&collector, POLICIES, &off).await;
    let alice = quiet.modern("/mcp", ALICE);
    assert_eq!(alice.request("tools/call", traced("github__echo", "01")).await.summary(), "200 ok");
    for world in [world, quiet] {
        let told = told(&world);
        assert!(told[0].starts_with(&format!("00-{TRACE}-")) && told[0].ends_with("-00"), "{told:?}");
        world.stop().await;
    }
    assert_eq!(collector.batches().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_a_busy_collector_refused_arrives_once() {
    let collector = Collector::start(&[StatusCode::SERVICE_UNAVAILABLE]).await;
    let world = start(&collector, STAFF_MAY_ALL, &[("OTEL_BSP_SCHEDULE_DELAY", "1")]).await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    let batches = collector.received(2).await;
    assert_eq!(batches[0].body, batches[1].body, "the very same batch");
    counted(&world, "doorward_spans_exported_total", 2).await;
    assert_eq!(metric(&world, "doorward_spans_dropped_total{reason=\"undelivered\"}").await, Some(0));
    world.stop().await;
    assert_eq!(collector.batches().len(), 2, "and then no more");
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_collector_does_not_want_is_not_sent_again() {
    let collector = Collector::start(&[StatusCode::BAD_REQUEST]).await;
    let world = start(&collector, STAFF_MAY_ALL, &[("OTEL_BSP_SCHEDULE_DELAY", "1")]).await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.call("github__echo", json!({"n": 1})).await.summary(), "200 ok");
    counted(&world, "doorward_spans_dropped_total{reason=\"undelivered\"}", 2).await;
    assert_eq!(alice.call("github__echo", json!({"n": 2})).await.summary(), "200 ok");
    world.stop().await;
    let batches = collector.batches();
    assert_eq!(batches.len(), 2);
    assert_ne!(spans(&batches[0])[0].span_id, spans(&batches[1])[0].span_id, "the second call's");
}

#[tokio::test(flavor = "multi_thread")]
async fn full_batches_are_sent_without_waiting_for_the_delay() {
    let collector = Collector::start(&[]).await;
    let more = [("OTEL_BSP_SCHEDULE_DELAY", "3600000"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")];
    let world = start(&collector, STAFF_MAY_ALL, &more).await;
    let alice = world.modern("/mcp", ALICE);
    for _ in 0..2 {
        assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    }
    assert_eq!(spans(&collector.received(1).await[0]).len(), 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_without_the_collector() {
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let endpoint = format!("http://{nobody}");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "100"),
    ];
    let world = World::start_in(&["github"], Speaks::Legacy, STAFF_MAY_ALL, &variables).await;
    let alice = world.modern("/mcp", ALICE);
    for _ in 0..20 {
        assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    }
    counted(&world, "doorward_spans_dropped_total{reason=\"undelivered\"}", 40).await;
    assert_eq!(metric(&world, "doorward_spans_exported_total").await, Some(0));
    assert_eq!(world.records().len(), 20);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_is_collected() {
    let world = World::start_in(&["github"], Speaks::Legacy, STAFF_MAY_ALL, &[]).await;
    assert_eq!(world.modern("/mcp", ALICE).call("github__echo", json!({})).await.summary(), "200 ok");
    assert!(metric(&world, "doorward_sessions").await.is_some(), "there are metrics");
    assert_eq!(metric(&world, "doorward_spans_exported_total").await, None);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_that_is_not_spoken_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, world::configuration(folder.path(), &[], STAFF_MAY_ALL)).expect("written");
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    let refused = runtime::start(&config, world::surroundings(&variables)).await.err().expect("refused");
    assert_eq!(
        refused.to_string(),
        "OTEL_EXPORTER_OTLP_PROTOCOL: `grpc` is not supported: use http/protobuf"
    );
    assert!(!folder.path().join("data").exists(), "and leaves nothing behind");
}
