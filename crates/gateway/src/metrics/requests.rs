//! How many messages came, by method.
//!
//! Methods that nobody knows are counted together, so that a caller cannot make series without
//! end. The counters are made once: a message costs one addition.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Every method that is counted by its name.
const METHODS: [&str; 27] = [
    "tools/call",
    "tools/list",
    "initialize",
    "ping",
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "resources/subscribe",
    "resources/unsubscribe",
    "resources/directory/read",
    "completion/complete",
    "logging/setLevel",
    "server/discover",
    "subscriptions/listen",
    "skills/list",
    "skills/get",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/cancel",
    "tasks/update",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
}

/// Counters, one a method.
pub(super) struct Requests {
    all: Family<Labels, Counter>,
    known: [Counter; METHODS.len()],
    other: Counter,
    responses: Counter,
}

impl Requests {
    pub(super) fn new() -> Self {
        let all: Family<Labels, Counter> = Family::default();
        let counter = |method| all.get_or_create_owned(&Labels { method });
        let (known, other, responses) = (METHODS.map(counter), counter("other"), counter("(response)"));
        Self { known, other, responses, all }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let what = "Messages from callers that are known, by method";
        registry.register("messages", what, self.all.clone());
    }

    /// Counts a request or a notification.
    pub(super) fn came(&self, method: &str) {
        let known = METHODS.iter().position(|known| *known == method);
        known.map_or(&self.other, |at| &self.known[at]).inc();
    }

    /// Counts an answer to a question.
    pub(super) fn answered(&self) {
        self.responses.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_nobody_knows_are_counted_together() {
        let requests = Requests::new();
        for method in ["ping", "ping", "x/1", "x/2", "", "tools/list"] {
            requests.came(method);
        }
        requests.answered();
        let count = |method| requests.all.get_or_create(&Labels { method }).get();
        let counts = ["ping", "tools/list", "tools/call", "other", "(response)"].map(count);
        assert_eq!(counts, [2, 1, 0, 3, 1]);
    }
}
