//! Asking whether a Redis is there, for people who look into what is wrong. Writes nothing.

use std::time::Duration;

use ::redis::{Client, RedisError, cmd};
use tokio::time::timeout;

/// What a Redis says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Its version, `7.2.4`.
    pub version: String,
    /// Its clock, in µs since 1970.
    pub time_us: u64,
}

/// Asks the Redis at this URL for its version and its time. The words of an error never
/// repeat the URL, which may hold a password.
///
/// # Errors
/// Why it does not answer, or not in time.
pub async fn probe(url: &str, within: Duration) -> Result<Probed, String> {
    let client = Client::open(url).map_err(|_| "it is no URL of Redis".to_owned())?;
    match timeout(within, ask(&client)).await {
        Ok(asked) => asked.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it does not answer within {} s", within.as_secs())),
    }
}

async fn ask(client: &Client) -> Result<Probed, RedisError> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let about: String = cmd("INFO").arg("server").query_async(&mut connection).await?;
    let version = about.lines().find_map(|line| line.strip_prefix("redis_version:"));
    let (seconds, micros): (u64, u64) = cmd("TIME").query_async(&mut connection).await?;
    let time_us = seconds.saturating_mul(1_000_000).saturating_add(micros);
    Ok(Probed { version: version.unwrap_or("unknown").trim().to_owned(), time_us })
}
