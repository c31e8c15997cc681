//! The memory of a process that is alone.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::shared::{Ear, Later, Unshared};
use doorward_model::{Clock, LogBounds, Reach, Shared};

/// Bytes that all logs may hold together.
const ALL_LOGS: usize = 256 << 20;
/// What an entry of a log costs beside its text.
const ENTRY: usize = 64;
/// How many writes pass before what is out of date is cleared away.
const SWEEP: u32 = 1024;

/// Keeps everything in this process.
pub struct Memory {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
    ears: RwLock<Vec<Ear>>,
}

#[derive(Default)]
struct Kept {
    values: HashMap<String, (Duration, Bytes)>,
    logs: HashMap<String, Log>,
    log_bytes: usize,
    writes: u32,
}

struct Log {
    until: Duration,
    bytes: usize,
    entries: VecDeque<(u64, Bytes)>,
}

impl Memory {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default(), ears: RwLock::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        let now = self.clock.elapsed();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.writes = kept.writes.wrapping_add(1);
        if kept.writes.is_multiple_of(SWEEP) {
            kept.sweep(now);
        }
        kept
    }
}

impl Kept {
    fn sweep(&mut self, now: Duration) {
        self.values.retain(|_, (until, _)| *until > now);
        let freed = &mut self.log_bytes;
        self.logs.retain(|_, log| {
            let keep = log.until > now;
            if !keep {
                *freed = freed.saturating_sub(log.bytes);
            }
            keep
        });
    }

    fn value(&self, key: &str, now: Duration) -> Option<Bytes> {
        self.values.get(key).filter(|(until, _)| *until > now).map(|(_, value)| value.clone())
    }

    fn append(&mut self, name: &str, place: u64, entry: Bytes, bounds: LogBounds, now: Duration) -> u64 {
        let log = self.logs.entry(name.to_owned()).or_insert_with(|| Log {
            until: now,
            bytes: 0,
            entries: VecDeque::new(),
        });
        if log.until <= now {
            self.log_bytes = self.log_bytes.saturating_sub(log.bytes);
            (log.bytes, log.entries) = (0, VecDeque::new());
        }
        log.until = now.saturating_add(bounds.keep);
        let place = log.entries.back().map_or(place, |(last, _)| place.max(last + 1));
        let (before, newest) = (log.bytes, entry.len() + ENTRY);
        log.bytes += newest;
        log.entries.push_back((place, entry));
        while log.entries.len() > bounds.entries.max(1) || log.bytes - newest > bounds.bytes {
            let Some((_, oldest)) = log.entries.pop_front() else { break };
            log.bytes -= oldest.len() + ENTRY;
        }
        self.log_bytes = (self.log_bytes + log.bytes).saturating_sub(before);
        if self.log_bytes > ALL_LOGS {
            self.sweep(now);
            // The one that has been silent longest goes first, and never the one that was just
            // told where its entry is.
            while self.log_bytes > ALL_LOGS {
                let others = self.logs.iter().filter(|(other, _)| *other != name);
                let Some(name) = others.min_by_key(|(_, log)| log.until).map(|(name, _)| name.clone()) else {
                    break;
                };
                self.log_bytes -= self.logs.remove(&name).map_or(0, |log| log.bytes);
            }
        }
        place
    }
}

/// What is known at once.
fn now<'a, T: Send + 'a>(value: T) -> Later<'a, T> {
    Box::pin(std::future::ready(Ok::<_, Unshared>(value)))
}

impl Shared for Memory {
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Bytes>> {
        now(self.kept().value(key, self.clock.elapsed()))
    }

    fn set<'a>(&'a self, key: &'a str, value: Option<Bytes>, keep: Duration) -> Later<'a, Option<Bytes>> {
        let time = self.clock.elapsed();
        let mut kept = self.kept();
        let before = kept.value(key, time);
        match value {
            Some(value) => kept.values.insert(key.to_owned(), (time.saturating_add(keep), value)),
            None => kept.values.remove(key),
        };
        now(before)
    }

    fn claim<'a>(&'a self, key: &'a str, value: Bytes, keep: Duration) -> Later<'a, Option<Bytes>> {
        let time = self.clock.elapsed();
        let mut kept = self.kept();
        let before = kept.value(key, time);
        if before.is_none() {
            kept.values.insert(key.to_owned(), (time.saturating_add(keep), value));
        }
        now(before)
    }

    fn append<'a>(&'a self, log: &'a str, entry: Bytes, bounds: LogBounds) -> Later<'a, u64> {
        let place = self.clock.now().as_micros();
        now(self.kept().append(log, place, entry, bounds, self.clock.elapsed()))
    }

    fn read<'a>(&'a self, log: &'a str, from: u64) -> Later<'a, Vec<(u64, Bytes)>> {
        let time = self.clock.elapsed();
        let kept = self.kept();
        let entries = kept.logs.get(log).filter(|log| log.until > time).map(|log| &log.entries);
        now(entries.into_iter().flatten().filter(|(place, _)| *place >= from).cloned().collect())
    }

    fn tell(&self, message: Bytes) -> Later<'_, usize> {
        for ear in self.ears.read().unwrap_or_else(PoisonError::into_inner).iter() {
            ear(message.clone());
        }
        now(1)
    }

    fn hear(&self, ear: Ear) {
        self.ears.write().unwrap_or_else(PoisonError::into_inner).push(ear);
    }

    fn reach(&self) -> Reach {
        Reach::Alone
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;

    use super::*;

    const BOUNDS: LogBounds = LogBounds { entries: 3, bytes: 1000, keep: Duration::from_secs(60) };

    #[tokio::test]
    async fn values_are_kept_for_their_time_and_claimed_once() {
        let clock = Arc::new(Fixed::new(1));
        let memory = Memory::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let minute = Duration::from_secs(60);
        let value = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(memory.claim("a", value("1"), minute).await, Ok(None));
        assert_eq!(memory.claim("a", value("2"), minute).await, Ok(Some(value("1"))));
        assert_eq!(memory.set("a", Some(value("3")), minute).await, Ok(Some(value("1"))));
        assert_eq!(memory.get("a").await, Ok(Some(value("3"))));
        clock.advance(minute);
        assert_eq!(memory.get("a").await, Ok(None), "its time is over");
        assert_eq!(memory.set("a", None, minute).await, Ok(None));
        assert_eq!(memory.claim("a", value("4"), minute).await, Ok(None));
    }

    #[tokio::test]
    async fn a_log_keeps_its_newest_entries_in_order() {
        let clock = Arc::new(Fixed::new(1));
        let memory = Memory::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let append = |text: String| memory.append("log", Bytes::from(text), BOUNDS);
        let texts = |entries: Vec<(u64, Bytes)>| {
            entries.iter().map(|(_, entry)| String::from_utf8_lossy(entry).into_owned()).collect::<Vec<_>>()
        };
        let mut places = Vec::new();
        for text in ["1", "2", "3", "4"] {
            places.push(append(text.to_owned()).await.expect("kept"));
        }
        assert!(places.is_sorted() && places.windows(2).all(|pair| pair[0] != pair[1]), "{places:?}");
        assert_eq!(texts(memory.read("log", 0).await.expect("read")), ["2", "3", "4"], "so many");
        assert_eq!(texts(memory.read("log", places[2]).await.expect("read")), ["3", "4"]);
        append("x".repeat(900)).await.expect("kept");
        append("y".to_owned()).await.expect("kept");
        assert_eq!(memory.read("log", 0).await.expect("read").len(), 2, "so long before the newest");
        clock.advance(BOUNDS.keep);
        assert_eq!(memory.read("log", 0).await, Ok(Vec::new()), "and so old");
        assert!(append("5".to_owned()).await.expect("kept") > places[3], "later than what was lost");
        assert_eq!(texts(memory.read("log", 0).await.expect("read")), ["5"]);
        assert_eq!(memory.kept().log_bytes, 1 + ENTRY);
    }

    #[tokio::test]
    async fn an_entry_beyond_all_bounds_is_there_until_the_next_one_with_what_came_before() {
        let memory = Memory::new(Arc::new(Fixed::new(1)));
        let append = |log, length, keep| {
            let bounds = LogBounds { keep, ..BOUNDS };
            memory.append(log, Bytes::from(vec![0; length]), bounds)
        };
        let lengths = async |log| {
            let entries = memory.read(log, 0).await.expect("read");
            entries.iter().map(|(_, entry)| entry.len()).collect::<Vec<_>>()
        };
        append("log", 1, BOUNDS.keep).await.expect("kept");
        let place = append("log", 5_000, BOUNDS.keep).await.expect("kept");
        assert_eq!(lengths("log").await, [1, 5_000]);
        assert_eq!(memory.read("log", place).await.expect("read").len(), 1, "it is where it was said to be");
        append("log", 2, BOUNDS.keep).await.expect("kept");
        assert_eq!(lengths("log").await, [2]);

        append("lasting", ALL_LOGS - 150, BOUNDS.keep * 2).await.expect("kept");
        append("log", 3, BOUNDS.keep).await.expect("kept");
        assert_eq!(lengths("log").await, [2, 3], "others make room for what was said last");
        assert_eq!(memory.kept().log_bytes, 5 + 2 * ENTRY);
    }
}
