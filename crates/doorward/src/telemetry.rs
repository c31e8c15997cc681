//! OpenTelemetry: spans of calls on their way to a collector.
//!
//! A call leaves its span in a bounded queue and goes on; a task of its own takes
//! them out, in batches. Whatever the collector does, calls do not notice: what does
//! not fit is dropped and counted. Nothing here runs unless the environment names a
//! collector.

mod export;
mod otlp;
mod sampler;
pub mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use doorward_egress::{Client, Reach, Rules};
use doorward_gateway::{CallSpan, SpanCounts, Spans};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::runtime::Surroundings;
use export::Exporter;
use sampler::Sampler;
use settings::Settings;

/// How long the last spans may take at shutdown.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// The task that exports spans. Dropped, it sends what is waiting and ends by itself.
pub struct Telemetry {
    stop: watch::Sender<bool>,
    exporting: JoinHandle<()>,
    spans: Arc<Queue>,
}

/// Starts to export spans, if the environment says where to.
///
/// # Errors
/// When a variable cannot be understood; nothing is passed over in silence.
pub fn start(surroundings: &Surroundings) -> anyhow::Result<Option<Telemetry>> {
    let Some(settings) = Settings::read(&|name| (surroundings.variables)(name))? else { return Ok(None) };
    let client = Client::new(doorward_egress::Settings::default(), Arc::clone(&surroundings.clock));
    // The operator wrote `http://` where that is meant, as collectors nearby are
    // commonly reached.
    let rules = Rules { reach: Reach::Anywhere, allow_insecure_http: true };
    let door = client.door(settings.target.clone(), rules).context("the OTLP endpoint")?;
    if !settings.headers.is_empty() && !settings.target.is_tls() && !settings.target.is_loopback() {
        tracing::warn!(
            target: "doorward::telemetry",
            "the OTLP headers are sent to {} unencrypted", settings.target
        );
    }
    tracing::info!(target: "doorward::telemetry", "spans of calls are exported to {}", settings.target);
    let (sender, queue) = mpsc::channel(settings.batch.queue);
    let (stop, stopped) = watch::channel(false);
    let spans = Arc::new(Queue { sender, sampler: settings.sampler, counts: Arc::default() });
    let random = Arc::clone(&surroundings.random);
    let exporter = Exporter::new(door, settings, Arc::clone(&spans.counts), random, stopped);
    Ok(Some(Telemetry { stop, exporting: tokio::spawn(exporter.run(queue)), spans }))
}

impl Telemetry {
    /// Where calls leave their spans.
    pub fn spans(&self) -> Arc<dyn Spans> {
        Arc::<Queue>::clone(&self.spans)
    }

    /// Sends what is waiting, for a few seconds at most.
    pub async fn stop(mut self) {
        // Without a receiver the task has ended already.
        let _ = self.stop.send(true);
        if tokio::time::timeout(FLUSH_WITHIN, &mut self.exporting).await.is_err() {
            self.exporting.abort();
            tracing::warn!(target: "doorward::telemetry", "the last spans could not be sent in time");
        }
    }
}

/// The near end of the queue.
struct Queue {
    sender: mpsc::Sender<Box<CallSpan>>,
    sampler: Sampler,
    counts: Arc<Counts>,
}

impl Spans for Queue {
    fn samples(&self, trace_id: &[u8; 16], parent: Option<bool>) -> bool {
        self.sampler.samples(trace_id, parent)
    }

    fn record(&self, call: Box<CallSpan>) {
        if let Err(full) = self.sender.try_send(call) {
            self.counts.queue_full.fetch_add(full.into_inner().count(), Ordering::Relaxed);
        }
    }

    fn counts(&self) -> SpanCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SpanCounts {
            exported: read(&self.counts.exported),
            queue_full: read(&self.counts.queue_full),
            undelivered: read(&self.counts.undelivered),
            rejected: read(&self.counts.rejected),
        }
    }
}

/// What has become of spans; see [`SpanCounts`].
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    queue_full: AtomicU64,
    undelivered: AtomicU64,
    rejected: AtomicU64,
}

#[cfg(test)]
mod tests {
    use doorward_gateway::Relay;
    use doorward_model::clock::Fixed;
    use doorward_model::{CallId, Operation, Outcome, Timestamp};

    use super::*;

    /// A call that somebody denied, or that was relayed.
    pub(super) fn call(relayed: bool) -> Box<CallSpan> {
        let started = Timestamp::from_micros(1_700_000_000_000_000);
        let relay = Relay {
            span: [2; 8],
            after: Duration::from_micros(3),
            duration: Duration::from_micros(40),
            failure: None,
        };
        Box::new(CallSpan {
            call: CallId::new(started, &Fixed::new(1)),
            trace_id: [9; 16],
            parent: None,
            trace_state: None,
            span: [1; 8],
            started,
            duration: Duration::from_micros(50),
            operation: Operation::ToolsCall,
            revision: "2026-07-28",
            piped: false,
            server: None,
            target: None,
            verdict: None,
            rule: None,
            outcome: Outcome::Success,
            failure: None,
            relay: relayed.then_some(relay),
        })
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_by_the_span() {
        let (sender, mut receiver) = mpsc::channel(2);
        let spans = Queue { sender, sampler: Sampler::default(), counts: Arc::default() };
        for relayed in [true, true, true, false] {
            spans.record(call(relayed));
        }
        assert_eq!(spans.counts(), SpanCounts { queue_full: 3, ..SpanCounts::default() });
        assert!(receiver.try_recv().is_ok());
        spans.record(call(true));
        assert_eq!(spans.counts().queue_full, 3, "there is room again");
    }
}
