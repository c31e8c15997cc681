//! What a limit permits.

use std::time::Duration;

use crate::key::KeyTemplate;

/// One rate limit.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Named in refusals and records.
    pub name: String,
    /// Who shares a bucket.
    pub key: KeyTemplate,
    /// Glob over the servers it speaks of; all when `None`.
    pub server: Option<String>,
    /// Glob over tool names, prompt names and URIs; all when `None`.
    pub tool: Option<String>,
    /// Calls in a period, kept up forever. Zero counts as one.
    pub max: u32,
    /// The period.
    pub per: Per,
    /// Calls at once after a pause. Zero counts as one.
    pub burst: u32,
    /// For the default limit: a grant's own rate, in calls a minute, takes the place
    /// of `max`, and that many times it, rounded up, the place of `burst`.
    pub override_by_grant: Option<f64>,
}

/// What `max` is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
}

impl Per {
    fn duration(self) -> Duration {
        match self {
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
        }
    }
}

/// A rate as a bucket needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds in which one call is refilled, rounded down: less than a
    /// thousand-millionth in the caller's favour.
    pub(crate) interval: u64,
    /// How far the bucket may be drawn: the refill time of all calls but one.
    pub(crate) tolerance: u64,
}

impl Rate {
    pub(crate) fn new(max: u32, per: Per, burst: u32) -> Self {
        let period = u64::try_from(per.duration().as_nanos()).unwrap_or(u64::MAX);
        let interval = (period / u64::from(max.max(1))).max(1);
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst.saturating_sub(1))) }
    }
}

impl RateLimit {
    /// The rate for a grant, which may have a rate of its own.
    pub(crate) fn rate_for(&self, grant_rate: Option<u32>) -> Rate {
        match (self.override_by_grant, grant_rate.filter(|rate| *rate > 0)) {
            (Some(times), Some(rate)) => {
                // Saturating is right: no finite burst is that large.
                let burst = (f64::from(rate) * times).ceil().max(1.0) as u32;
                Rate::new(rate, Per::Minute, burst)
            }
            _ => Rate::new(self.max, self.per, self.burst),
        }
    }
}
