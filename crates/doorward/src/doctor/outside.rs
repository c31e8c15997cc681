//! What the gateway depends on beside its servers: the issuer of tokens and the shared store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorward_identity::{Fetching, JwtKey, KeyFetcher, fetch_keys};
use doorward_model::{Clock, Timestamp};
use doorward_store::probe;
use http::header;

use super::clock::Skew;
use super::{Finding, http_date};
use crate::config::Config;
use crate::runtime::Surroundings;
use crate::runtime::fetch::Fetcher;

/// The oldest Redis that has all commands we use.
const OLDEST_REDIS: u32 = 7;

pub(super) async fn check(
    config: &Config,
    surroundings: &Surroundings,
    within: Duration,
) -> Vec<(Finding, Option<Skew>)> {
    let mut found = Vec::new();
    if let Some(url) = &config.shared {
        found.push(shared(url.expose(), &*surroundings.clock, within).await);
    }
    if let Some(jwt) = &config.auth.jwt {
        found.extend(issuer(&jwt.key, surroundings, within).await);
    }
    found
}

async fn shared(url: &str, clock: &dyn Clock, within: Duration) -> (Finding, Option<Skew>) {
    match probe(url, within).await {
        Ok(probed) => {
            let ours = clock.now();
            let theirs = Timestamp::from_micros(probed.time_us);
            let message = format!("Redis {} answers", probed.version);
            let major = probed.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
            let finding = match major {
                Some(major) if major < OLDEST_REDIS => {
                    Finding::warn("shared", message, "replicas need version 7 or newer")
                }
                _ => Finding::ok("shared", message),
            };
            (finding, Some(Skew { peer: "the shared store".to_owned(), theirs, ours }))
        }
        Err(error) => {
            let message = format!("the shared store cannot be reached: {error}");
            let remedy = "start it, or correct `shared`; replicas serve what they know meanwhile";
            (Finding::fail("shared", message, remedy), None)
        }
    }
}

async fn issuer(
    key: &JwtKey,
    surroundings: &Surroundings,
    within: Duration,
) -> Option<(Finding, Option<Skew>)> {
    let (JwtKey::KeySet(address) | JwtKey::Issuer(address)) = key else { return None };
    let fetcher = Arc::new(Dated {
        fetcher: Fetcher::new(Arc::clone(&surroundings.clock)),
        clock: Arc::clone(&surroundings.clock),
        seen: Mutex::default(),
    });
    let asked = fetch_keys(key, Arc::clone(&fetcher) as Arc<dyn KeyFetcher>);
    let finding = match tokio::time::timeout(within, asked).await {
        Ok(Ok(Some(0))) => {
            let message = format!("the key set of {address} holds no key that can be used");
            Finding::fail("issuer", message, "tokens need an RSA (RS256) or P-256 (ES256) key")
        }
        Ok(Ok(keys)) => {
            Finding::ok("issuer", format!("{address} offers {} usable keys", keys.unwrap_or_default()))
        }
        Ok(Err(error)) => Finding::fail(
            "issuer",
            format!("the key set of {address} cannot be fetched: {}", in_full(&*error)),
            "nobody with a token gets in until it can; correct `issuerUrl` or `jwksUri`",
        ),
        Err(_) => {
            let message = format!("{address} does not answer within {} s", within.as_secs());
            Finding::fail("issuer", message, "nobody with a token gets in until it does")
        }
    };
    let seen = fetcher.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    Some((finding, seen.map(|(theirs, ours)| Skew { peer: "the issuer".to_owned(), theirs, ours })))
}

fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Fetches as the gateway does, and notes what the other side's clock shows.
struct Dated {
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    seen: Mutex<Option<(Timestamp, Timestamp)>>,
}

impl KeyFetcher for Dated {
    fn fetch<'a>(&'a self, uri: &'a str, named_at: Option<&'a str>) -> Fetching<'a> {
        Box::pin(async move {
            let (headers, body) = self.fetcher.get(uri, named_at).await?;
            let date = headers.get(header::DATE).and_then(|date| http_date::read(date.to_str().ok()?));
            let noted = date.map(|theirs| (theirs, self.clock.now()));
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = noted;
            Ok(body)
        })
    }
}
