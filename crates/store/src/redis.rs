//! Redis, for several replicas: version 7 or newer, or what speaks like it.
//!
//! Whatever is written there is sealed, bound to where it stands: whoever can read the
//! store learns how much there is and when, and who can write to it can only take away. Only
//! counts are plain numbers ([`counts`]).
//! One connection carries commands, another what is told. The second also finds out whether
//! Redis is there at all; while it is not, commands fail at once and nobody waits for them.

mod counts;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, Cmd, FromRedisValue, RedisError, Script};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use doorward_model::json::push_hex;
use doorward_model::shared::{Ear, Later, Unshared};
use doorward_model::{LogBounds, Reach, Seal, Shared};
use futures_util::StreamExt as _;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Before the names of all keys, and the name of the channel.
const OURS: &str = "doorward";
/// How long a command may take.
const WITHIN: Duration = Duration::from_secs(2);
/// How often it is asked whether Redis is there, and still holds what it held.
const ASK: Duration = Duration::from_secs(1);
/// How long to wait before the next attempt to reach it.
const AGAIN: Duration = Duration::from_millis(300);

/// Adds an entry and drops the oldest ones beyond the bounds, never the new one; yields its id.
const APPEND: &str = r"
local id = redis.call('XADD', KEYS[1], '*', 'e', ARGV[1])
local bytes = redis.call('INCRBY', KEYS[2], #ARGV[1])
local entries = redis.call('XLEN', KEYS[1])
while entries > 1 and (entries > tonumber(ARGV[2]) or bytes - #ARGV[1] > tonumber(ARGV[3])) do
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[1], first[1])
  bytes = redis.call('DECRBY', KEYS[2], #first[2][2])
  entries = entries - 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return id";

/// Keeps everything in Redis.
pub struct Redis {
    inner: Arc<Inner>,
    /// Runs as long as this.
    watching: AbortHandle,
}

struct Inner {
    client: Client,
    commands: ConnectionManager,
    append: Script,
    take: Script,
    give_back: Script,
    seal: Arc<dyn Seal>,
    ears: RwLock<Vec<Ear>>,
    /// Why it cannot be reached.
    lost: Mutex<Option<String>>,
}

impl Redis {
    /// Connects in the background. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// When the URL is none of Redis.
    pub fn new(url: &str, seal: Arc<dyn Seal>) -> Result<Self, RedisError> {
        let client = Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(WITHIN))
            .set_response_timeout(Some(WITHIN));
        let inner = Arc::new(Inner {
            commands: ConnectionManager::new_lazy_with_config(client.clone(), config)?,
            client,
            append: Script::new(APPEND),
            take: Script::new(counts::TAKE),
            give_back: Script::new(counts::GIVE_BACK),
            seal,
            ears: RwLock::default(),
            lost: Mutex::new(Some("not connected yet".to_owned())),
        });
        let watching = tokio::spawn(watch(Arc::clone(&inner))).abort_handle();
        Ok(Self { inner, watching })
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Keeps the connection that hears, and says when it is lost and when it is back.
async fn watch(inner: Arc<Inner>) {
    loop {
        let error = match inner.listen().await {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error,
        };
        if inner.lost().is_none() {
            tracing::error!(target: "doorward::store", error, "the shared state cannot be reached");
        }
        *inner.lost() = Some(error);
        sleep(AGAIN).await;
    }
}

impl Inner {
    fn lost(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, message: &Bytes) {
        for ear in self.ears.read().unwrap_or_else(PoisonError::into_inner).iter() {
            ear(message.clone());
        }
    }

    /// Hears what is told until the connection breaks.
    async fn listen(&self) -> Result<(), String> {
        let open = async {
            let mut hearing = self.client.get_async_pubsub().await?;
            hearing.subscribe(OURS).await?;
            Ok::<_, RedisError>(hearing)
        };
        let hearing = timeout(WITHIN, open).await.map_err(|_| "it does not answer".to_owned())?;
        let (mut sink, mut heard) = hearing.map_err(|error| error.to_string())?.split();
        let mut generation = self.generation().await.map_err(|Unshared(error)| error)?;
        *self.lost() = None;
        tracing::info!(target: "doorward::store", "the shared state is there");
        // Whatever was told before is missed.
        self.say(&Bytes::new());
        let mut ask = interval(ASK);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = heard.next() => {
                    let Some(message) = message else { return Ok(()) };
                    if let Some(message) = self.opened(OURS, message.get_payload_bytes()) {
                        self.say(&message);
                    }
                }
                _ = ask.tick() => {
                    let there = timeout(WITHIN, sink.ping::<::redis::Value>()).await;
                    there.map_err(|_| "it does not answer".to_owned())?.map_err(|error| error.to_string())?;
                    let now = self.generation().await.map_err(|Unshared(error)| error)?;
                    if now != generation {
                        tracing::warn!(target: "doorward::store", "the shared state was emptied");
                        generation = now;
                        self.say(&Bytes::new());
                    }
                }
            }
        }
    }

    /// A mark that is gone when everything else is.
    async fn generation(&self) -> Result<Vec<u8>, Unshared> {
        let mark = self.sealed("generation", b"")?;
        let key = format!("{OURS}:generation");
        let mut claim = ::redis::cmd("SET");
        let before: Option<Vec<u8>> = self.run(claim.arg(&key).arg(&mark).arg("NX").arg("GET")).await?;
        Ok(before.unwrap_or(mark))
    }

    fn sealed(&self, place: &str, clear: &[u8]) -> Result<Vec<u8>, Unshared> {
        self.seal.seal(place.as_bytes(), clear).map_err(|error| Unshared(error.to_string()))
    }

    /// What was sealed for this place; nothing else counts.
    fn opened(&self, place: &str, sealed: &[u8]) -> Option<Bytes> {
        self.seal.open(place.as_bytes(), sealed).ok().map(Bytes::from)
    }

    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unshared> {
        within(command.query_async(&mut self.commands.clone())).await
    }

    /// Refuses at once while there is nobody to ask.
    fn there(&self) -> Result<(), Unshared> {
        match &*self.lost() {
            None => Ok(()),
            Some(error) => Err(Unshared(error.clone())),
        }
    }

    fn value(&self, key: &str, sealed: Option<Vec<u8>>) -> Option<Bytes> {
        self.opened(key, &sealed?)
    }

    async fn write(
        &self,
        key: &str,
        value: &Bytes,
        keep: Duration,
        how: &[&str],
    ) -> Result<Option<Bytes>, Unshared> {
        self.there()?;
        let mut set = ::redis::cmd("SET");
        set.arg(named(key)).arg(self.sealed(key, value)?).arg("PX").arg(millis(keep)).arg("GET").arg(how);
        let before = self.run(&set).await?;
        Ok(self.value(key, before))
    }
}

async fn within<T>(work: impl Future<Output = Result<T, RedisError>>) -> Result<T, Unshared> {
    match timeout(WITHIN, work).await {
        Ok(done) => done.map_err(|error| Unshared(error.to_string())),
        Err(_) => Err(Unshared("it does not answer".to_owned())),
    }
}

/// The name of a key: its kind, and whose it is as a digest.
fn named(key: &str) -> String {
    let (kind, whose) = key.split_once('/').unwrap_or((key, ""));
    let mut name = format!("{OURS}:{kind}:");
    push_hex(&mut name, digest(&SHA256, whose.as_bytes()).as_ref());
    name
}

fn millis(keep: Duration) -> u64 {
    u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// How many entries one millisecond may have.
const SEQUENCE: u64 = 1 << 20;

/// The place that an entry's id, `<ms>-<sequence>`, stands for.
fn place(id: &str) -> Option<u64> {
    let (ms, sequence) = id.split_once('-')?;
    let sequence = sequence.parse::<u64>().ok().filter(|sequence| *sequence < SEQUENCE)?;
    ms.parse::<u64>().ok()?.checked_mul(SEQUENCE)?.checked_add(sequence)
}

impl Shared for Redis {
    fn get<'a>(&'a self, key: &'a str) -> Later<'a, Option<Bytes>> {
        Box::pin(async move {
            self.inner.there()?;
            let sealed = self.inner.run(::redis::cmd("GET").arg(named(key))).await?;
            Ok(self.inner.value(key, sealed))
        })
    }

    fn set<'a>(&'a self, key: &'a str, value: Option<Bytes>, keep: Duration) -> Later<'a, Option<Bytes>> {
        Box::pin(async move {
            let Some(value) = value else {
                self.inner.there()?;
                let sealed = self.inner.run(::redis::cmd("GETDEL").arg(named(key))).await?;
                return Ok(self.inner.value(key, sealed));
            };
            self.inner.write(key, &value, keep, &[]).await
        })
    }

    fn claim<'a>(&'a self, key: &'a str, value: Bytes, keep: Duration) -> Later<'a, Option<Bytes>> {
        Box::pin(async move { self.inner.write(key, &value, keep, &["NX"]).await })
    }

    fn append<'a>(&'a self, log: &'a str, entry: Bytes, bounds: LogBounds) -> Later<'a, u64> {
        Box::pin(async move {
            self.inner.there()?;
            let key = named(log);
            let mut append = self.inner.append.key(&key);
            append.key(format!("{key}:bytes")).arg(self.inner.sealed(log, &entry)?);
            append.arg(bounds.entries).arg(bounds.bytes).arg(millis(bounds.keep));
            let id: String = within(append.invoke_async(&mut self.inner.commands.clone())).await?;
            place(&id).ok_or_else(|| Unshared(format!("`{id}` is no place in a log")))
        })
    }

    fn read<'a>(&'a self, log: &'a str, from: u64) -> Later<'a, Vec<(u64, Bytes)>> {
        Box::pin(async move {
            self.inner.there()?;
            let start = format!("{}-{}", from / SEQUENCE, from % SEQUENCE);
            let mut range = ::redis::cmd("XRANGE");
            let entries: Vec<(String, Vec<Vec<u8>>)> =
                self.inner.run(range.arg(named(log)).arg(start).arg("+")).await?;
            let read = |(id, fields): (String, Vec<Vec<u8>>)| {
                Some((place(&id)?, self.inner.opened(log, fields.get(1)?)?))
            };
            Ok(entries.into_iter().filter_map(read).collect())
        })
    }

    fn tell(&self, message: Bytes) -> Later<'_, usize> {
        Box::pin(async move {
            self.inner.there()?;
            let sealed = self.inner.sealed(OURS, &message)?;
            self.inner.run(::redis::cmd("PUBLISH").arg(OURS).arg(sealed)).await
        })
    }

    fn hear(&self, ear: Ear) {
        self.inner.ears.write().unwrap_or_else(PoisonError::into_inner).push(ear);
    }

    fn reach(&self) -> Reach {
        self.inner.lost().clone().map_or(Reach::Together, Reach::Lost)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.write_str("Redis")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_order_of_ids() {
        let places = ["1-0", "1-1", "2-0", "1795255200000-7"].map(|id| place(id).expect("a place"));
        assert!(places.is_sorted() && places[1] == SEQUENCE + 1);
        for nonsense in ["", "1", "1-1048576", "x-1", "99999999999999999999-0"] {
            assert_eq!(place(nonsense), None, "{nonsense}");
        }
    }
}
