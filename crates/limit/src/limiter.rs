//! All limits, and the buckets they have filled so far.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_model::{Caller, Clock, ServerId};

use crate::bucket::{Bucket, Pace};
use crate::key::KeyTemplate;

/// The period of a limit.
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

/// One limit.
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Its name, for messages and records.
    pub name: String,
    /// What shares a bucket.
    pub key: KeyTemplate,
    /// Glob over the servers it speaks of; `None` for all.
    pub server: Option<String>,
    /// Glob over the tools it speaks of; `None` for all.
    pub tool: Option<String>,
    /// Units regained in each period.
    pub max: u32,
    /// The period.
    pub per: Per,
    /// Units that fit into the bucket.
    pub burst: u32,
    /// Set for the default limit: a grant's own rate takes its place, with so many
    /// times that rate as burst.
    pub override_by_grant: Option<f64>,
}

/// The call that wants a unit.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// Which server.
    pub server: &'a ServerId,
    /// Which tool, prompt or resource, by the server's own name.
    pub tool: &'a str,
    /// From where.
    pub ip: Option<IpAddr>,
}

/// A limit that has no unit left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit `{name}` exceeded")]
pub struct Exceeded {
    /// Its name.
    pub name: String,
    /// When there will be one.
    pub retry_after: Duration,
}

const SHARDS: usize = 16;
/// Buckets in one shard; beyond, full ones are forgotten first.
const MOST: usize = 8_192;

/// All limits. Shared by every call.
pub struct Limiter {
    limits: Vec<RateLimit>,
    clock: Arc<dyn Clock>,
    shards: [Mutex<HashMap<String, Arc<Bucket>>>; SHARDS],
}

impl Limiter {
    /// Limits whose buckets are full.
    pub fn new(limits: Vec<RateLimit>, clock: Arc<dyn Clock>) -> Self {
        Self { limits, clock, shards: Default::default() }
    }

    /// Takes a unit from every limit that speaks of this call.
    ///
    /// # Errors
    /// The first limit that has none left; nothing has then been taken from any.
    pub fn take(&self, subject: &Subject<'_>) -> Result<(), Exceeded> {
        let now = u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut taken: Vec<(Arc<Bucket>, Pace)> = Vec::new();
        for (at, limit) in self.limits.iter().enumerate() {
            if !limit.speaks_of(subject) {
                continue;
            }
            let pace = limit.pace(subject.caller);
            let bucket = self.bucket(limit.key.of(at, subject), now);
            if let Err(retry_after) = bucket.take(pace, now) {
                for (bucket, pace) in taken {
                    bucket.give_back(pace);
                }
                return Err(Exceeded { name: limit.name.clone(), retry_after });
            }
            taken.push((bucket, pace));
        }
        Ok(())
    }

    fn bucket(&self, key: String, now: u64) -> Arc<Bucket> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let shard = &self.shards[usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or(0)];
        let mut buckets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get(&key) {
            return Arc::clone(bucket);
        }
        if buckets.len() >= MOST {
            make_room(&mut buckets, now);
        }
        Arc::clone(buckets.entry(key).or_default())
    }
}

/// Forgets full buckets, or, where there are none, those that lack the least.
fn make_room(buckets: &mut HashMap<String, Arc<Bucket>>, now: u64) {
    buckets.retain(|_, bucket| !bucket.is_full(now));
    if buckets.len() >= MOST {
        let mut times: Vec<_> = buckets.values().map(|bucket| bucket.full_at()).collect();
        times.sort_unstable();
        let cut = times[times.len() / 8];
        buckets.retain(|_, bucket| bucket.full_at() > cut);
    }
}

impl RateLimit {
    fn speaks_of(&self, subject: &Subject<'_>) -> bool {
        let fits = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|pattern| glob(pattern, text));
        fits(&self.server, subject.server.as_str()) && fits(&self.tool, subject.tool)
    }

    fn pace(&self, caller: &Caller) -> Pace {
        match (self.override_by_grant, caller.grant.rate_limit) {
            (Some(multiplier), Some(own)) => {
                // Saturating is right: nobody sends four thousand million calls at once.
                let burst = (f64::from(own) * multiplier).ceil().max(1.0) as u32;
                Pace::new(own, self.per.duration(), burst)
            }
            _ => Pace::new(self.max, self.per.duration(), self.burst),
        }
    }
}

/// `*` stands for any run of characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;
    use doorward_model::{Agent, Grant, GrantKind};
    use proptest::prelude::*;

    use super::*;

    fn caller(rate_limit: Option<u32>) -> Caller {
        Caller {
            grant: Grant {
                id: "key".to_owned(),
                kind: GrantKind::Key,
                roles: Vec::new(),
                servers: None,
                scopes: Vec::new(),
                expires_at: None,
                rate_limit,
            },
            person: None,
            agent: Some(Agent { id: "agent".to_owned() }),
        }
    }

    fn limit(name: &str, key: &str, max: u32, per: Per, burst: u32) -> RateLimit {
        let key = key.parse().expect("a key");
        RateLimit { name: name.to_owned(), key, server: None, tool: None, max, per, burst, override_by_grant: None }
    }

    struct World {
        clock: Arc<Fixed>,
        limiter: Limiter,
        caller: Caller,
    }

    impl World {
        fn new(limits: Vec<RateLimit>) -> Self {
            let clock = Arc::new(Fixed::new(1));
            let limiter = Limiter::new(limits, Arc::clone(&clock) as Arc<dyn Clock>);
            Self { clock, limiter, caller: caller(None) }
        }

        fn take(&self, server: &str, tool: &str) -> Result<(), Exceeded> {
            let server = ServerId::try_from(server).expect("valid");
            self.limiter.take(&Subject { caller: &self.caller, server: &server, tool, ip: None })
        }
    }

    #[test]
    fn sixty_a_minute_doubled_is_120_at_once_and_then_one_a_second() {
        let world = World::new(vec![limit("default", "consumer:server", 60, Per::Minute, 120)]);
        for call in 0..120 {
            assert_eq!(world.take("a", "t"), Ok(()), "call {call}");
        }
        let refused = world.take("a", "t").expect_err("the bucket is empty");
        assert_eq!((refused.name.as_str(), refused.retry_after), ("default", Duration::from_secs(1)));
        assert_eq!(world.take("b", "t"), Ok(()), "another server, another bucket");
        world.clock.advance(Duration::from_millis(999));
        assert_eq!(world.take("a", "t").expect_err("not yet").retry_after, Duration::from_millis(1));
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(world.take("a", "t"), Ok(()));
        assert!(world.take("a", "t").is_err());
    }

    #[test]
    fn a_refused_call_takes_from_no_bucket() {
        let narrow = RateLimit { tool: Some("get_*".to_owned()), ..limit("narrow", "tool", 1, Per::Minute, 1) };
        let world = World::new(vec![limit("wide", "grant", 1, Per::Minute, 3), narrow]);
        assert_eq!(world.take("a", "get_x"), Ok(()));
        for _ in 0..10 {
            assert_eq!(world.take("a", "get_x").expect_err("narrow").name, "narrow");
        }
        assert_eq!(world.take("a", "set_x"), Ok(()));
        assert_eq!(world.take("a", "set_x"), Ok(()), "the wide bucket lost nothing to refused calls");
        assert_eq!(world.take("a", "set_x").expect_err("wide").name, "wide");
    }

    #[test]
    fn a_grants_own_rate_takes_the_place_of_the_default() {
        let mut world = World::new(vec![RateLimit {
            override_by_grant: Some(2.0),
            ..limit("default", "consumer", 60, Per::Minute, 120)
        }]);
        world.caller = caller(Some(3));
        for _ in 0..6 {
            assert_eq!(world.take("a", "t"), Ok(()));
        }
        assert_eq!(world.take("a", "t").expect_err("empty").retry_after, Duration::from_secs(20));
    }

    #[test]
    fn globs_match_runs_of_characters() {
        let cases = [("*", "", true), ("a*", "ab", true), ("*b", "ab", true), ("a*c", "abc", true), ("a*c", "ac", true),
            ("a*c", "acb", false), ("ab", "ab", true), ("ab", "abc", false), ("a*b*c", "a-b-c", true), ("a*a", "a", false)];
        for (pattern, text, expected) in cases {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_counting_by_hand(
            max in 1_u32..20, burst in 1_u32..40, steps in prop::collection::vec(0_u64..400, 1..200)
        ) {
            let world = World::new(vec![limit("x", "grant", max, Per::Second, burst)]);
            let interval = 1_000_000_000 / u64::from(max);
            // Missing units, counted in nanoseconds of refilling.
            let mut missing = 0_u64;
            for step in steps {
                world.clock.advance(Duration::from_millis(step));
                missing = missing.saturating_sub(step * 1_000_000);
                let fits = missing + interval <= interval * u64::from(burst);
                prop_assert_eq!(world.take("a", "t").is_ok(), fits);
                if fits {
                    missing += interval;
                }
            }
        }
    }
}
