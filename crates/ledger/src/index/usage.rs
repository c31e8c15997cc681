//! What calls cost: how many there were, how many failed, how long they took.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::filter::Status;

/// Which numbers are reported (`metering` in the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// How many calls.
    pub calls: bool,
    /// How long they took.
    pub latency: bool,
    /// How many failed.
    pub errors: bool,
}

impl Dimensions {
    /// All of them.
    pub const ALL: Self = Self { calls: true, latency: true, errors: true };
}

/// What some calls cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    /// Calls that were sent to a server.
    pub calls: u64,
    /// Of those, how many failed.
    pub errors: u64,
    /// Calls that a rule refused.
    pub denied: u64,
    /// Calls that a limit refused.
    pub limited: u64,
    /// Mean time in milliseconds, rounded.
    pub average_ms: u64,
    /// Percentiles 50, 95 and 99 of the time, in milliseconds.
    pub percentiles_ms: [f64; 3],
    /// When the newest of all these calls was received.
    pub last: Option<String>,
    durations_us: Vec<u64>,
}

/// What calls cost, altogether and apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// All calls.
    pub all: Sum,
    /// Calls by server and tool.
    pub by_server_tool: BTreeMap<(String, String), Sum>,
    /// Calls by consumer.
    pub by_consumer: BTreeMap<String, u64>,
    /// Calls by person, where there was one.
    pub by_person: BTreeMap<String, u64>,
}

/// One call, as usage counts it.
pub(super) struct Counted {
    pub outcome: Option<String>,
    pub server: String,
    pub tool: String,
    pub duration_us: u64,
    pub consumer: String,
    pub person: Option<String>,
    pub time: String,
}

impl Sum {
    fn add(&mut self, status: Status, duration_us: u64, time: &str) {
        match status {
            Status::Denied => self.denied += 1,
            Status::RateLimited => self.limited += 1,
            Status::Success | Status::Error => {
                self.calls += 1;
                self.errors += u64::from(status == Status::Error);
                self.durations_us.push(duration_us);
            }
        }
        // Times are texts of one length, so they compare as times do.
        if self.last.as_deref().is_none_or(|last| last < time) {
            self.last = Some(time.to_owned());
        }
    }

    fn finish(&mut self) {
        let mut durations = std::mem::take(&mut self.durations_us);
        if durations.is_empty() {
            return;
        }
        durations.sort_unstable();
        let count = durations.len();
        let sum: u64 = durations.iter().sum();
        self.average_ms = ((sum as f64 / count as f64) / 1_000.0).round() as u64;
        for (slot, share) in self.percentiles_ms.iter_mut().zip([0.50, 0.95, 0.99]) {
            // Nearest rank.
            let rank = ((count as f64 * share).ceil() as usize).clamp(1, count);
            *slot = durations[rank - 1] as f64 / 1_000.0;
        }
    }
}

impl Usage {
    pub(super) fn add(&mut self, call: Counted) {
        let status = Status::of(call.outcome.as_deref());
        self.all.add(status, call.duration_us, &call.time);
        let apart = self.by_server_tool.entry((call.server, call.tool)).or_default();
        apart.add(status, call.duration_us, &call.time);
        if matches!(status, Status::Success | Status::Error) {
            *self.by_consumer.entry(call.consumer).or_default() += 1;
            if let Some(person) = call.person {
                *self.by_person.entry(person).or_default() += 1;
            }
        }
    }

    pub(super) fn finish(&mut self) {
        self.all.finish();
        self.by_server_tool.values_mut().for_each(Sum::finish);
    }

    /// Calls by server.
    pub fn by_server(&self) -> BTreeMap<&str, u64> {
        self.counted(|(server, _)| server)
    }

    /// Calls by tool, over all servers.
    pub fn by_tool(&self) -> BTreeMap<&str, u64> {
        self.counted(|(_, tool)| tool)
    }

    fn counted(&self, name: impl Fn(&(String, String)) -> &str) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for (place, sum) in self.by_server_tool.iter().filter(|(_, sum)| sum.calls > 0) {
            *counts.entry(name(place)).or_default() += sum.calls;
        }
        counts
    }

    /// As JSON, the members of the older shape first; only what `dimensions` names.
    pub fn to_json(&self, dimensions: Dimensions) -> Value {
        let Sum { calls, errors, denied, limited, average_ms, percentiles_ms: [p50, p95, p99], last, .. } =
            &self.all;
        let mut apart: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
        for ((server, tool), sum) in self.by_server_tool.iter().filter(|(_, sum)| sum.calls > 0) {
            apart.entry(server).or_default().insert(tool, sum.calls);
        }
        let error_rate = if *calls == 0 { 0.0 } else { *errors as f64 / *calls as f64 };
        let mut answer = Map::new();
        let mut put = |is_reported: bool, key: &str, value: Value| {
            if is_reported {
                answer.insert(key.to_owned(), value);
            }
        };
        let Dimensions { calls: of_calls, latency, errors: of_errors } = dimensions;
        put(of_calls, "totalCalls", json!(calls));
        put(of_errors, "totalErrors", json!(errors));
        put(latency, "avgLatencyMs", json!(average_ms));
        put(of_calls, "byServer", json!(self.by_server()));
        put(of_calls, "byTool", json!(self.by_tool()));
        put(of_calls, "byServerTool", json!(apart));
        put(of_calls, "byConsumer", json!(self.by_consumer));
        put(of_calls, "byPerson", json!(self.by_person));
        put(of_calls, "denied", json!(denied));
        put(of_calls, "rateLimited", json!(limited));
        put(of_calls, "lastCall", json!(last));
        put(of_errors, "errorRate", json!(error_rate));
        put(latency, "p50LatencyMs", json!(p50));
        put(latency, "p95LatencyMs", json!(p95));
        put(latency, "p99LatencyMs", json!(p99));
        Value::Object(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let mut usage = Usage::default();
        for (outcome, tool, duration_us, second) in [
            ("success", "echo", 2_000, 1),
            ("tool_error", "echo", 4_000, 3),
            ("denied", "echo", 9_000, 2),
            ("quota_exceeded", "pay", 9_000, 5),
        ] {
            usage.add(Counted {
                outcome: Some(outcome.to_owned()),
                server: "s".to_owned(),
                tool: tool.to_owned(),
                duration_us,
                consumer: "agent".to_owned(),
                person: None,
                time: format!("2026-01-01T00:00:0{second}.000000Z"),
            });
        }
        usage.finish();
        usage
    }

    #[test]
    fn refused_calls_are_counted_apart_and_cost_no_time() {
        let usage = usage();
        let Sum { calls, errors, denied, limited, average_ms, .. } = usage.all;
        assert_eq!((calls, errors, denied, limited, average_ms), (2, 1, 1, 1, 3));
        assert_eq!(usage.by_server(), [("s", 2)].into());
        assert_eq!(usage.by_tool(), [("echo", 2)].into(), "of `pay` nothing was sent");
        assert_eq!(usage.by_consumer, [("agent".to_owned(), 2)].into());
        assert_eq!(usage.all.last.as_deref(), Some("2026-01-01T00:00:05.000000Z"));
        let echo = &usage.by_server_tool[&("s".to_owned(), "echo".to_owned())];
        assert_eq!(echo.last.as_deref(), Some("2026-01-01T00:00:03.000000Z"));
        assert_eq!(echo.percentiles_ms, [2.0, 4.0, 4.0]);
    }

    #[test]
    fn only_the_dimensions_that_are_named_are_reported() {
        let keys = |dimensions| match usage().to_json(dimensions) {
            Value::Object(answer) => answer.keys().cloned().collect::<Vec<_>>(),
            other => unreachable!("{other}"),
        };
        let none = Dimensions { calls: false, latency: false, errors: false };
        assert_eq!(keys(none), [""; 0]);
        assert_eq!(keys(Dimensions { errors: true, ..none }), ["totalErrors", "errorRate"]);
        let latency = ["avgLatencyMs", "p50LatencyMs", "p95LatencyMs", "p99LatencyMs"];
        assert_eq!(keys(Dimensions { latency: true, ..none }), latency);
        assert_eq!(keys(Dimensions::ALL).len(), 15);
    }
}
