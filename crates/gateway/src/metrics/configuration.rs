//! What is counted about reading the configuration again.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// How reloads went.
pub(super) struct Configuration {
    reloads: Family<Outcome, Counter>,
    successful: Gauge,
    in_force_since: Gauge<f64, AtomicU64>,
    rejected_since: Gauge<f64, AtomicU64>,
}

impl Configuration {
    /// Nothing was read again yet; what is in force is so since the start.
    pub(super) fn new(started_seconds: f64) -> Self {
        let new = Self {
            reloads: Family::default(),
            successful: Gauge::default(),
            in_force_since: Gauge::default(),
            rejected_since: Gauge::default(),
        };
        for outcome in ["success", "failure"] {
            // At zero from the start, so that the first one is an increase.
            drop(new.reloads.get_or_create(&Outcome { outcome }));
        }
        new.successful.set(1);
        new.in_force_since.set(started_seconds);
        new
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let what = "Times that changed files were read, by outcome";
        registry.register("config_reloads", what, self.reloads.clone());
        let what = "1 if the configuration on disk is in force, 0 if the last reload failed";
        registry.register("config_last_reload_successful", what, self.successful.clone());
        let what = "When the configuration on disk was last found valid and in force";
        registry.register_with_unit(
            "config_last_success_timestamp",
            what,
            Unit::Seconds,
            self.in_force_since.clone(),
        );
        let what = "Since when the configuration on disk is not what is in force; 0 if it is";
        registry.register_with_unit(
            "config_rejected_since",
            what,
            Unit::Seconds,
            self.rejected_since.clone(),
        );
    }

    /// Notes how a reload went, and when.
    pub(super) fn reloaded(&self, is_in_force: bool, now_seconds: f64) {
        let outcome = if is_in_force { "success" } else { "failure" };
        self.reloads.get_or_create(&Outcome { outcome }).inc();
        self.successful.set(i64::from(is_in_force));
        if is_in_force {
            self.in_force_since.set(now_seconds);
            self.rejected_since.set(0.0);
        } else if self.rejected_since.inner().load(Ordering::Relaxed) == 0 {
            // Later failures are about the same file, or about the next attempt to mend it.
            self.rejected_since.set(now_seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_says_since_when_and_a_success_ends_it() {
        let configuration = Configuration::new(100.0);
        let now = |configuration: &Configuration| {
            (
                configuration.successful.get(),
                configuration.in_force_since.get(),
                configuration.rejected_since.get(),
            )
        };
        assert_eq!(now(&configuration), (1, 100.0, 0.0));
        configuration.reloaded(false, 110.0);
        configuration.reloaded(false, 120.0);
        assert_eq!(now(&configuration), (0, 100.0, 110.0));
        configuration.reloaded(true, 130.0);
        assert_eq!(now(&configuration), (1, 130.0, 0.0));
        configuration.reloaded(false, 140.0);
        assert_eq!(now(&configuration), (0, 130.0, 140.0));
    }
}
