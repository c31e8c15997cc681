//! Counters that replicas share. They stand there as plain numbers, because Redis has to
//! count: whoever can write to it can set them back, as whoever can delete could anyway.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{RedisError, ScriptInvocation};
use doorward_model::counts::Counting;
use doorward_model::shared::Unshared;
use doorward_model::{Counted, Counter, Counts, Timestamp, Uncounted};
use tokio::runtime::Handle;

use super::{Inner, Redis, millis, named, within};

/// How long a counter is kept after its end: clocks differ.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// Moves every counter one further or none; yields whether it did, and how far they are.
pub(super) const TAKE: &str = r"
local used, fits = {}, 1
for i, key in ipairs(KEYS) do
  used[i] = tonumber(redis.call('GET', key) or '0')
  if not used[i] then return redis.error_reply('a counter is no number') end
  if used[i] >= tonumber(ARGV[2 * i - 1]) then fits = 0 end
end
if fits == 1 then
  for i, key in ipairs(KEYS) do
    used[i] = redis.call('INCR', key)
    redis.call('PEXPIRE', key, ARGV[2 * i])
  end
end
table.insert(used, 1, fits)
return used";

/// Moves every counter one back that is still there. What is at zero is as good as not there.
pub(super) const GIVE_BACK: &str = r"
for _, key in ipairs(KEYS) do
  local used = tonumber(redis.call('GET', key) or '0')
  if used == 1 then redis.call('DEL', key) elseif used > 1 then redis.call('DECR', key) end
end";

impl Counts for Redis {
    fn take<'a>(&'a self, counters: &'a [Counter], now: Timestamp) -> Counting<'a> {
        Box::pin(async move { self.inner.take(counters, now).await.map_err(uncounted) })
    }

    fn give_back(&self, counters: &[Counter]) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (inner, counters) = (Arc::clone(&self.inner), counters.to_vec());
        let work = async move {
            if let Err(error) = inner.give_back(&counters).await {
                tracing::warn!(target: "doorward::store", %error, "what a call did not use stays counted");
            }
        };
        // Without a runtime the process is at its end.
        match Handle::try_current() {
            Ok(runtime) => {
                let working = runtime.spawn(work);
                Box::pin(async move { drop(working.await) })
            }
            Err(_) => Box::pin(std::future::ready(())),
        }
    }
}

fn uncounted(error: Unshared) -> Uncounted {
    tracing::error!(target: "doorward::store", %error, "calls cannot be counted");
    Uncounted { what: "the shared state cannot be reached", cause: error.to_string() }
}

impl Inner {
    async fn take(&self, counters: &[Counter], now: Timestamp) -> Result<Counted, Unshared> {
        self.there()?;
        let mut take = self.take.prepare_invoke();
        for Counter { name, most, ends } in counters {
            let left = Duration::from_micros(ends.as_micros().saturating_sub(now.as_micros()));
            take.key(named(name)).arg(*most).arg(millis(left.saturating_add(KEEP)));
        }
        let said: Vec<u64> = within(self.invoke(&take)).await?;
        match said.split_first() {
            Some((fits, used)) if used.len() == counters.len() => {
                Ok(Counted { fits: *fits == 1, used: used.to_vec() })
            }
            _ => Err(Unshared("its answer makes no sense".to_owned())),
        }
    }

    async fn give_back(&self, counters: &[Counter]) -> Result<(), Unshared> {
        self.there()?;
        let mut give_back = self.give_back.prepare_invoke();
        for counter in counters {
            give_back.key(named(&counter.name));
        }
        within(self.invoke(&give_back)).await
    }

    async fn invoke<T: ::redis::FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        script.invoke_async(&mut self.commands.clone()).await
    }
}
