//! Fetching an issuer's key set.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::{Client, Outgoing, Replay, Rules, Settings, Target};
use doorward_identity::{FetchError, Fetching, KeyFetcher};
use doorward_model::Clock;
use http::{HeaderMap, HeaderValue, Method, header};

/// How long a key set may take.
const WITHIN: Duration = Duration::from_secs(10);
/// How large a key set may be.
const MOST: usize = 1 << 20;

/// Fetches over HTTPS, or over HTTP from this machine.
pub(crate) struct Fetcher(Client);

impl Fetcher {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Client::new(Settings::default(), clock))
    }

    /// The body, and the head that came before it. `named_at` is where the address was read,
    /// unless it stands in the configuration.
    pub(crate) async fn get(
        &self,
        uri: &str,
        named_at: Option<&str>,
    ) -> Result<(HeaderMap, Vec<u8>), FetchError> {
        let target = Target::parse(uri)?;
        let path = target.path().clone();
        // What stands in the configuration, its owner chose. What an issuer names may be at the
        // issuer's own place, or in public: no document leads from there into our network.
        let is_chosen = match named_at.map(Target::parse).transpose()? {
            None => true,
            Some(issuer) => issuer.same_origin(&target),
        };
        let rules = if is_chosen { Rules::CONFIGURED } else { Rules::DISCOVERED };
        let door = self.0.door(target, rules)?;
        let mut headers = HeaderMap::new();
        headers
            .insert(header::ACCEPT, HeaderValue::from_static("application/json, application/jwk-set+json"));
        let outgoing = Outgoing {
            method: Method::GET,
            path,
            headers,
            body: Bytes::new(),
            replay: Replay::Harmless,
            answer_within: Some(WITHIN),
        };
        let response = door.send(outgoing).await?;
        if !response.status.is_success() {
            return Err(format!("the key set was answered with {}", response.status).into());
        }
        Ok((response.headers, response.body.collect(MOST).await?.to_vec()))
    }
}

impl KeyFetcher for Fetcher {
    fn fetch<'a>(&'a self, uri: &'a str, named_at: Option<&'a str>) -> Fetching<'a> {
        Box::pin(async move { Ok(tokio::time::timeout(WITHIN, self.get(uri, named_at)).await??.1) })
    }
}
