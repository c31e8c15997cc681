//! From the queue to the collector: batches, attempts, and what is said about them.
//!
//! A batch is given up when its time is over, when the collector does not want it, or
//! when the gateway stops; it is then counted. Lines are logged only when the state of
//! the collector changes, so that one that is down does not fill the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::{Door, EgressError, Outgoing, Replay};
use doorward_gateway::CallSpan;
use doorward_model::Random;
use http::{HeaderValue, Method, StatusCode, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::settings::Settings;
use super::{Counts, otlp};

/// Wait before the second attempt; each further wait is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait, unless the collector asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How large an answer may be.
const LARGEST: usize = 64 << 10;

/// Sends spans until it is stopped.
pub(super) struct Exporter {
    door: Door,
    settings: Settings,
    counts: Arc<Counts>,
    random: Arc<dyn Random>,
    stopped: watch::Receiver<bool>,
    health: Health,
}

/// What was last said of the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    /// It takes batches, but not every span.
    Choosy,
    Failing,
}

/// What became of one attempt.
enum Attempt {
    /// Taken, but for this many spans.
    Taken { rejected: u64 },
    /// Not taken; a later attempt may have better luck.
    Later { problem: String, after: Option<Duration> },
    /// Not taken, and never will be.
    Never { problem: String },
}

impl Exporter {
    pub(super) fn new(
        door: Door,
        settings: Settings,
        counts: Arc<Counts>,
        random: Arc<dyn Random>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self { door, settings, counts, random, stopped, health: Health::Well }
    }

    /// Exports what comes out of the queue. Ends when told to stop, with the queue empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Box<CallSpan>>) {
        let most = self.settings.batch.spans;
        let mut waiting = Vec::new();
        while self.gather(&mut queue, &mut waiting).await {
            while !waiting.is_empty() {
                let rest = waiting.split_off(waiting.len().min(most));
                let batch = std::mem::replace(&mut waiting, rest);
                self.deliver(batch).await;
            }
        }
    }

    /// Fills `waiting` until it is a batch, its first span has waited long enough, or
    /// there is nothing left to wait for. False if there is nothing at all.
    async fn gather(&mut self, queue: &mut mpsc::Receiver<Box<CallSpan>>, waiting: &mut Vec<Span>) -> bool {
        let batch = self.settings.batch;
        let mut arrived = Vec::new();
        let mut due: Option<Instant> = None;
        loop {
            let due_now = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                count = queue.recv_many(&mut arrived, batch.spans) => {
                    if count == 0 {
                        return !waiting.is_empty();
                    }
                    arrived.drain(..).for_each(|call| otlp::push(*call, waiting));
                    if waiting.len() >= batch.spans {
                        return true;
                    }
                    due.get_or_insert_with(|| Instant::now() + batch.delay);
                }
                () = due_now => return true,
                // Whether told to or left alone: what is still waiting is the last.
                _ = self.stopped.wait_for(|stop| *stop), if !queue.is_closed() => queue.close(),
            }
        }
    }

    async fn deliver(&mut self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        let body = Bytes::from(otlp::request(&self.settings.resource, spans).encode_to_vec());
        let until = Instant::now() + self.settings.batch.within;
        let mut pause = FIRST_PAUSE;
        loop {
            // Whoever is stopped between two attempts still makes the second.
            let last = *self.stopped.borrow();
            let after = match self.attempt(body.clone()).await {
                Attempt::Taken { rejected } => {
                    let rejected = rejected.min(count);
                    add(&self.counts.exported, count - rejected);
                    add(&self.counts.rejected, rejected);
                    match rejected {
                        0 => self.becomes(Health::Well, ""),
                        _ => self.becomes(Health::Choosy, &format!("{rejected} of {count} spans")),
                    }
                    return;
                }
                Attempt::Never { problem } => {
                    self.becomes(Health::Failing, &problem);
                    break;
                }
                Attempt::Later { problem, after } => {
                    self.becomes(Health::Failing, &problem);
                    after.unwrap_or_else(|| self.jittered(pause))
                }
            };
            if last || after >= until.saturating_duration_since(Instant::now()) {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                _ = self.stopped.wait_for(|stop| *stop) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        add(&self.counts.undelivered, count);
    }

    async fn attempt(&self, body: Bytes) -> Attempt {
        let within = self.settings.attempt;
        match tokio::time::timeout(within, self.post(body)).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(error)) => Attempt::Later { problem: error.to_string(), after: None },
            Err(_) => {
                let problem = format!("no answer within {} ms", within.as_millis());
                Attempt::Later { problem, after: None }
            }
        }
    }

    async fn post(&self, body: Bytes) -> Result<Attempt, EgressError> {
        let mut headers = self.settings.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("doorward/", env!("CARGO_PKG_VERSION"))),
        );
        let outgoing = Outgoing {
            method: Method::POST,
            path: self.settings.target.path().clone(),
            headers,
            body,
            // Sent again by the loop above only, which counts.
            replay: Replay::Harmful,
            answer_within: None,
        };
        let response = self.door.send(outgoing).await?;
        let problem = format!("it answers {}", response.status);
        let after = response.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        match response.status {
            status if status.is_success() => {
                let answer = response.body.collect(LARGEST).await?;
                // A collector that answers in another format has taken the batch, too.
                let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
                let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
                Ok(Attempt::Taken { rejected: u64::try_from(rejected).unwrap_or_default() })
            }
            // Those that the OTLP specification calls retryable.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                response.body.release().await;
                Ok(Attempt::Later { problem, after })
            }
            _ => {
                response.body.release().await;
                Ok(Attempt::Never { problem })
            }
        }
    }

    /// Between half of `pause` and all of it, so that many gateways do not come back
    /// at the same moment.
    fn jittered(&self, pause: Duration) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        pause / 2 + (pause / 2) * u32::from(byte[0]) / 255
    }

    /// Logs a change, once.
    fn becomes(&mut self, health: Health, detail: &str) {
        if self.health == health {
            return;
        }
        self.health = health;
        let target = &self.settings.target;
        match health {
            Health::Well => {
                tracing::info!(target: "doorward::telemetry", "the collector at {target} takes spans again");
            }
            Health::Choosy => {
                tracing::warn!(target: "doorward::telemetry", "the collector at {target} rejects {detail}");
            }
            Health::Failing => tracing::warn!(
                target: "doorward::telemetry",
                "the collector at {target} takes no spans: {detail}; calls go on, and what cannot wait is dropped"
            ),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
