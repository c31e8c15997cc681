//! Buckets by key: one number each, in a map of many locks.
//!
//! The number is the time at which the bucket will be full again (the generic cell
//! rate algorithm). A taken call moves it one interval on; a bucket whose time has
//! passed is full, and can be forgotten without a trace.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::rate::Rate;

/// Locks; calls of different keys seldom meet.
const SHARDS: usize = 32;

/// Buckets below which a shard is not cleaned.
const SMALL: usize = 64;

/// Buckets of one limit.
pub(crate) struct Buckets<K> {
    shards: Vec<RwLock<Shard<K>>>,
    hasher: RandomState,
    /// Most buckets of one shard.
    most: usize,
}

struct Shard<K> {
    full_at: HashMap<K, AtomicU64>,
    /// How many buckets make the next cleaning worth it.
    clean_at: usize,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    /// Room for about `most` keys.
    pub(crate) fn new(most: usize) -> Self {
        let shard = || RwLock::new(Shard { full_at: HashMap::new(), clean_at: SMALL });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            most: (most / SHARDS).max(SMALL),
        }
    }

    /// How long until a call may be taken; `None` when it may be now. Takes nothing.
    pub(crate) fn wait(&self, key: &K, rate: Rate, now: u64) -> Option<Duration> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let full_at = shard.full_at.get(key).map_or(0, |bucket| bucket.load(Ordering::Relaxed));
        wait(full_at, rate, now)
    }

    /// Takes a call.
    ///
    /// # Errors
    /// How long until there is one; nothing has been taken.
    pub(crate) fn take(&self, key: &K, rate: Rate, now: u64) -> Result<(), Duration> {
        let shard = self.shard(key);
        {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(bucket) = shard.full_at.get(key) {
                return take(bucket, rate, now);
            }
        }
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.full_at.len() >= shard.clean_at.min(self.most) && !shard.full_at.contains_key(key) {
            shard.clean(now, self.most);
        }
        // Someone else may have made it between the two locks.
        take(shard.full_at.entry(key.clone()).or_default(), rate, now)
    }

    /// Remembers this key until then, as a bucket that is full then.
    pub(crate) fn keep(&self, key: &K, now: u64, until: u64) {
        let shard = self.shard(key);
        if let Some(bucket) = shard.read().unwrap_or_else(PoisonError::into_inner).full_at.get(key) {
            bucket.fetch_max(until, Ordering::Relaxed);
            return;
        }
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.full_at.len() >= shard.clean_at.min(self.most) {
            shard.clean(now, self.most);
        }
        shard.full_at.entry(key.clone()).or_default().fetch_max(until, Ordering::Relaxed);
    }

    /// Whether this key is still remembered.
    pub(crate) fn holds(&self, key: &K, now: u64) -> bool {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        shard.full_at.get(key).is_some_and(|until| until.load(Ordering::Relaxed) > now)
    }

    /// Gives back what [`take`](Self::take) took at this rate.
    pub(crate) fn give_back(&self, key: &K, rate: Rate) {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = shard.full_at.get(key) {
            let less = |full_at: u64| Some(full_at.saturating_sub(rate.interval));
            // The closure always yields a value, so the update cannot fail.
            let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// How many buckets are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).full_at.len())
            .sum()
    }

    fn shard(&self, key: &K) -> &RwLock<Shard<K>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

impl<K: Hash + Eq + Clone> Shard<K> {
    /// Forgets full buckets, which loses nothing. Were almost none full, a quarter
    /// goes, those that are fullest: their owners gain a few calls, and the others
    /// keep theirs.
    fn clean(&mut self, now: u64, most: usize) {
        self.full_at.retain(|_, full_at| *full_at.get_mut() > now);
        if self.full_at.len() > most / 4 * 3 {
            let mut times: Vec<u64> = self.full_at.values_mut().map(|full_at| *full_at.get_mut()).collect();
            let quarter = times.len() / 4;
            let (_, limit, _) = times.select_nth_unstable(quarter);
            let limit = *limit;
            self.full_at.retain(|_, full_at| *full_at.get_mut() > limit);
        }
        self.clean_at = (self.full_at.len() * 2).max(SMALL);
    }
}

fn wait(full_at: u64, rate: Rate, now: u64) -> Option<Duration> {
    let drawn = full_at.saturating_sub(now);
    drawn.checked_sub(rate.tolerance).filter(|wait| *wait > 0).map(Duration::from_nanos)
}

fn take(bucket: &AtomicU64, rate: Rate, now: u64) -> Result<(), Duration> {
    let mut full_at = bucket.load(Ordering::Relaxed);
    loop {
        if let Some(wait) = wait(full_at, rate, now) {
            return Err(wait);
        }
        let next = full_at.max(now).saturating_add(rate.interval);
        match bucket.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(current) => full_at = current,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Per;

    #[test]
    fn full_buckets_are_forgotten_and_the_number_of_others_is_bounded() {
        let rate = Rate::new(1, Per::Second, 1);
        let buckets = Buckets::new(SHARDS * SMALL);
        for key in 0..100_000_u64 {
            buckets.take(&key, rate, 0).expect("a new bucket is full");
        }
        assert!(buckets.len() <= SHARDS * SMALL, "{}", buckets.len());
        let later = 3_600_000_000_000;
        for key in 0..20_000_u64 {
            buckets
                .take(&(1_000_000 + key), rate, later + key * 1_000_000_000)
                .expect("a new bucket is full");
        }
        assert!(buckets.len() <= SHARDS * SMALL, "{}", buckets.len());
    }

    #[test]
    fn at_one_instant_exactly_the_burst_gets_through_whoever_asks() {
        let rate = Rate::new(60, Per::Minute, 120);
        let buckets = Buckets::new(1_000);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        taken.fetch_add(u64::from(buckets.take(&"one", rate, 5).is_ok()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 120);
    }
}
