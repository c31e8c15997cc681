//! What is counted, in the Prometheus text format.

mod configuration;
mod requests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use doorward_model::{Operation, Outcome, ServerId, Verdict};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::span::Spans;
use configuration::Configuration;
use requests::Requests;

/// Labels of one kind of call. Tool names come from definitions and never from
/// callers, so that a caller cannot make series without end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    server: String,
    tool: String,
    verdict: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabels {
    server: String,
}

/// Labels of the time at a server, with names from definitions as above.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    server: String,
    tool: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// All metrics of one gateway.
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    overhead: Histogram,
    upstream: Family<TimeLabels, Histogram, fn() -> Histogram>,
    refused: Family<ReasonLabels, Counter>,
    unrecorded: Counter,
    calls_unrecorded: Counter,
    sessions: Gauge,
    suspended: Gauge,
    started: Gauge<f64, AtomicU64>,
    up: Family<ServerLabels, Gauge>,
    configuration: Configuration,
    requests: Requests,
}

/// What is counted at the moment it is asked for.
pub struct Now {
    /// Open sessions.
    pub sessions: usize,
    /// Calls that wait for their client.
    pub suspended: usize,
    /// Each server that is in service, and whether it could be reached when that was last tried.
    pub servers: Vec<(ServerId, bool)>,
}

/// Upper bounds in seconds, 50 µs to 30 s.
const BOUNDS: [f64; 15] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

impl Metrics {
    /// Metrics at zero. Spans are counted if somebody collects them.
    pub fn new(started_seconds: f64, spans: Option<Arc<dyn Spans>>) -> Self {
        let mut registry = Registry::with_prefix("doorward");
        let metrics = Self {
            calls: Family::default(),
            overhead: histogram(),
            upstream: Family::new_with_constructor(histogram),
            refused: Family::default(),
            unrecorded: Counter::default(),
            calls_unrecorded: Counter::default(),
            sessions: Gauge::default(),
            suspended: Gauge::default(),
            started: Gauge::default(),
            up: Family::default(),
            configuration: Configuration::new(started_seconds),
            requests: Requests::new(),
            registry: Registry::default(),
        };
        metrics.started.set(started_seconds);
        registry.register(
            "calls",
            "Decided calls by server, tool, verdict and outcome",
            metrics.calls.clone(),
        );
        registry.register_with_unit(
            "gateway_overhead",
            "Time a call spent in the gateway itself, without its server",
            Unit::Seconds,
            metrics.overhead.clone(),
        );
        registry.register_with_unit(
            "upstream_duration",
            "Time a call spent waiting for its server",
            Unit::Seconds,
            metrics.upstream.clone(),
        );
        registry.register(
            "refused_requests",
            "Requests turned away before any decision",
            metrics.refused.clone(),
        );
        registry.register(
            "refused_requests_without_entry",
            "Requests turned away that have no entry of their own in the log, but are counted in one",
            metrics.unrecorded.clone(),
        );
        registry.register(
            "refused_calls_without_entry",
            "Refused calls that have no entry of their own in the log, but are counted in one",
            metrics.calls_unrecorded.clone(),
        );
        registry.register("sessions", "Open sessions of the legacy era", metrics.sessions.clone());
        let what = "Calls that wait for their client to come back with answers";
        registry.register("suspended_calls", what, metrics.suspended.clone());
        registry.register_with_unit(
            "start_time",
            "When the gateway started",
            Unit::Seconds,
            metrics.started.clone(),
        );
        let what = "1 if the server could be reached when that was last tried or was not needed yet, else 0";
        registry.register("server_up", what, metrics.up.clone());
        metrics.configuration.register(&mut registry);
        metrics.requests.register(&mut registry);
        if let Some(spans) = spans {
            registry.register_collector(Box::new(SpanCounters(spans)));
        }
        Self { registry, ..metrics }
    }

    /// Counts a call that has ended.
    pub fn call(&self, server: Option<&ServerId>, tool: &str, verdict: Verdict, outcome: Outcome) {
        let labels = CallLabels {
            server: server.map_or("", ServerId::as_str).to_owned(),
            tool: tool.to_owned(),
            verdict: verdict.as_str(),
            outcome: outcome.as_str(),
        };
        self.calls.get_or_create(&labels).inc();
    }

    /// Notes where the time of a call went.
    pub fn timing(
        &self,
        server: &ServerId,
        tool: &str,
        operation: Operation,
        overhead: Duration,
        upstream: Duration,
    ) {
        self.overhead.observe(overhead.as_secs_f64());
        let labels = TimeLabels {
            server: server.as_str().to_owned(),
            tool: tool.to_owned(),
            method: operation.as_str(),
        };
        self.upstream.get_or_create(&labels).observe(upstream.as_secs_f64());
    }

    /// Counts a request that was turned away at the door.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { reason }).inc();
    }

    /// Counts such a request that gets no entry of its own in the log.
    pub fn unrecorded(&self) {
        self.unrecorded.inc();
    }

    /// Counts a refused call that gets no entry of its own in the log.
    pub fn call_unrecorded(&self) {
        self.calls_unrecorded.inc();
    }

    /// Counts a request or a notification of a known caller.
    pub fn came(&self, method: &str) {
        self.requests.came(method);
    }

    /// Counts a known caller's answer to a question.
    pub fn answered(&self) {
        self.requests.answered();
    }

    /// Notes whether the configuration on disk is in force, and when that was found out.
    pub fn reloaded(&self, is_in_force: bool, now_seconds: f64) {
        self.configuration.reloaded(is_in_force, now_seconds);
    }

    /// The text of `/metrics`.
    pub fn render(&self, now: Now) -> String {
        self.sessions.set(i64::try_from(now.sessions).unwrap_or(i64::MAX));
        self.suspended.set(i64::try_from(now.suspended).unwrap_or(i64::MAX));
        // Servers that are gone have no state.
        self.up.clear();
        for (server, is_up) in now.servers {
            let labels = ServerLabels { server: server.as_str().to_owned() };
            self.up.get_or_create(&labels).set(i64::from(is_up));
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// What became of spans, asked of whoever collects them.
struct SpanCounters(Arc<dyn Spans>);

impl std::fmt::Debug for SpanCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpanCounters")
    }
}

impl Collector for SpanCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.counts();
        let exported = encoder.encode_descriptor(
            "spans_exported",
            "Spans that the collector took",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(counts.exported).encode(exported)?;
        let mut dropped = encoder.encode_descriptor(
            "spans_dropped",
            "Spans that never reached the collector, by reason",
            None,
            MetricType::Counter,
        )?;
        let reasons = [
            ("queue_full", counts.queue_full),
            ("undelivered", counts.undelivered),
            ("rejected", counts.rejected),
        ];
        for (reason, count) in reasons {
            ConstCounter::new(count).encode(dropped.encode_family(&ReasonLabels { reason })?)?;
        }
        Ok(())
    }
}
