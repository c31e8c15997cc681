//! All rate limits of a configuration, asked together.

use std::sync::Arc;
use std::time::Duration;

use doorward_model::{Clock, glob};

use crate::buckets::Buckets;
use crate::key::Subject;
use crate::rate::{Rate, RateLimit};

/// Buckets remembered for one limit at once.
const BUCKETS: usize = 131_072;

/// Rate limits with their buckets. Meant to outlive a reload that leaves the limits
/// as they were, so that nobody's bucket is refilled by one.
pub struct Limiter {
    limits: Vec<Limit>,
    clock: Arc<dyn Clock>,
}

struct Limit {
    config: RateLimit,
    buckets: Buckets<String>,
}

/// A call that came too soon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit `{name}` exceeded; try again in {} s", .retry_after.as_secs_f64().ceil().max(1.0))]
pub struct Exceeded {
    /// The limit that is used up, or the one that takes longest to recover.
    pub name: String,
    /// When every limit has room again, if nobody else calls.
    pub retry_after: Duration,
}

/// A limit that speaks of a call, with the call's bucket and rate.
struct Claim<'l> {
    limit: &'l Limit,
    key: String,
    rate: Rate,
}

impl Limiter {
    /// All buckets are full at first.
    pub fn new(limits: Vec<RateLimit>, clock: Arc<dyn Clock>) -> Self {
        let limits = limits.into_iter().map(|config| Limit { config, buckets: Buckets::new(BUCKETS) });
        Self { limits: limits.collect(), clock }
    }

    /// The limits as configured.
    pub fn limits(&self) -> impl Iterator<Item = &RateLimit> {
        self.limits.iter().map(|limit| &limit.config)
    }

    /// Takes one call from every limit that speaks of it.
    ///
    /// # Errors
    /// [`Exceeded`] when one of them has none left; then nothing was taken from any.
    pub fn take(&self, subject: &Subject<'_>) -> Result<(), Exceeded> {
        let now = nanos(&*self.clock);
        let claims: Vec<_> = self.limits.iter().filter_map(|limit| limit.claim(subject)).collect();
        // Asking all before taking from any: refusals then disturb nobody, and the
        // wait is long enough for the slowest. A lone limit is asked by taking.
        if claims.len() > 1 {
            let waits = claims.iter().filter_map(|claim| claim.wait(now).map(|wait| (wait, claim)));
            if let Some((wait, claim)) = waits.max_by_key(|(wait, _)| *wait) {
                return Err(claim.exceeded(wait));
            }
        }
        for (at, claim) in claims.iter().enumerate() {
            if let Err(wait) = claim.limit.buckets.take(&claim.key, claim.rate, now) {
                // Another call was faster since we asked.
                for taken in &claims[..at] {
                    taken.limit.buckets.give_back(&taken.key, taken.rate);
                }
                return Err(claim.exceeded(wait));
            }
        }
        Ok(())
    }
}

impl Limit {
    fn claim(&self, subject: &Subject<'_>) -> Option<Claim<'_>> {
        let matches = |wanted: &Option<String>, text: &str| {
            wanted.as_deref().is_none_or(|pattern| glob::matches(pattern, text))
        };
        let speaks =
            matches(&self.config.server, subject.server.as_str()) && matches(&self.config.tool, subject.tool);
        speaks.then(|| Claim {
            limit: self,
            key: self.config.key.key(subject),
            rate: self.config.rate_for(subject.caller.grant.rate_limit),
        })
    }
}

impl Claim<'_> {
    fn wait(&self, now: u64) -> Option<Duration> {
        self.limit.buckets.wait(&self.key, self.rate, now)
    }

    fn exceeded(&self, retry_after: Duration) -> Exceeded {
        Exceeded { name: self.limit.config.name.clone(), retry_after }
    }
}

/// The clock's time in nanoseconds; it lasts for 584 years.
pub(crate) fn nanos(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
