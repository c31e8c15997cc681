//! An issuer's published keys, and when to fetch them again.
//!
//! Keys change without notice, so a token may name one that is not known yet. Then,
//! and when the set has grown old, it is fetched: by one caller while the others
//! wait for the result, and at most once in 30 seconds, so that invented key ids
//! cannot turn the gateway against its issuer.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use doorward_model::Clock;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use crate::refused::Refused;
use crate::settings::JwtKey;
use crate::token::VerifyingKey;

/// Why a key set could not be fetched. For the log.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// A fetch under way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + 'a>>;

/// Gets an issuer's key set. Bounds of time and size are the implementor's, and so is how far an
/// address may lead that nobody here has written.
pub trait KeyFetcher: Send + Sync + 'static {
    /// Fetches the JSON document at `uri`, an address that the document at `named_at` names;
    /// `None` when it stands in the configuration.
    fn fetch<'a>(&'a self, uri: &'a str, named_at: Option<&'a str>) -> Fetching<'a>;
}

/// Least time between two fetches.
const PATIENCE: Duration = Duration::from_secs(30);

/// After this time keys are fetched again even if they still serve: the issuer may
/// have withdrawn one.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Most keys taken from one document; issuers publish two or three.
const MAX_KEYS: usize = 100;

/// Where a key set is.
#[derive(PartialEq, Eq)]
pub(crate) enum Place {
    /// At this address.
    Known(String),
    /// Where this issuer says.
    Of(String),
}

/// Where an issuer's metadata are, below its own address.
const METADATA: &str = "/.well-known/openid-configuration";

/// The keys of one issuer.
pub(crate) struct KeySet {
    place: Place,
    fetcher: Arc<dyn KeyFetcher>,
    keys: RwLock<Fetched>,
    /// Held across a fetch on purpose: whoever waits for it finds the work done.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone, Default)]
struct Fetched {
    keys: Arc<Vec<VerifyingKey>>,
    /// When the last fetch began, successful or not.
    tried_at: Option<Duration>,
    /// When the keys were received.
    received_at: Option<Duration>,
}

impl Fetched {
    fn was_just_tried(&self, now: Duration) -> bool {
        self.tried_at.is_some_and(|at| now.saturating_sub(at) < PATIENCE)
    }
}

impl KeySet {
    pub(crate) fn new(place: Place, fetcher: Arc<dyn KeyFetcher>) -> Self {
        Self { place, fetcher, keys: RwLock::default(), turn: Arc::default() }
    }

    /// The keys known now, if they are no older than `max_age`.
    ///
    /// # Errors
    /// [`Refused::SigningKey`] or [`Refused::StaleKeys`] if they should be fetched before they are
    /// used.
    pub(crate) fn keys(
        &self,
        clock: &dyn Clock,
        max_age: Duration,
    ) -> Result<Arc<Vec<VerifyingKey>>, Refused> {
        let fetched = self.read();
        let now = clock.elapsed();
        let age = fetched.received_at.map(|at| now.saturating_sub(at));
        if age.is_some_and(|age| age >= max_age) {
            return Err(Refused::StaleKeys);
        }
        let fresh = age.is_some_and(|age| age < MAX_AGE);
        if fresh || fetched.was_just_tried(now) { Ok(fetched.keys) } else { Err(Refused::SigningKey) }
    }

    /// Fetches the keys unless that was tried a moment ago. When fetching fails, the
    /// old keys stay in force until they are too old: an issuer that is down must not lock
    /// everybody out at once.
    ///
    /// A fetch that has begun goes on when nobody waits for it any longer. Otherwise a
    /// stranger who hangs up would spend the attempt for everybody else.
    pub(crate) async fn refresh(self: &Arc<Self>, clock: &dyn Clock) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let now = clock.elapsed();
        if self.read().was_just_tried(now) {
            return;
        }
        self.write().tried_at = Some(now);
        let set = Arc::clone(self);
        let fetch = tokio::spawn(async move {
            let fetched = set.fetch().await;
            set.take_up(fetched, now);
            drop(turn);
        });
        // It neither panics nor is aborted, but at the end of everything.
        let _ = fetch.await;
    }

    fn take_up(&self, fetched: Result<Vec<VerifyingKey>, FetchError>, now: Duration) {
        match fetched {
            Ok(keys) => {
                let mut fetched = self.write();
                fetched.keys = Arc::new(keys);
                fetched.received_at = Some(now);
            }
            Err(error) => {
                let (Place::Known(of) | Place::Of(of)) = &self.place;
                tracing::warn!(target: "doorward::identity", of, %error, "the key set cannot be fetched");
            }
        }
    }

    /// Whether these are the keys at the same place.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.place == other.place
    }

    pub(crate) async fn fetch(&self) -> Result<Vec<VerifyingKey>, FetchError> {
        let (uri, named_at) = match &self.place {
            Place::Known(uri) => (uri.clone(), None),
            Place::Of(issuer) => (self.discover(issuer).await?, Some(issuer.as_str())),
        };
        let document = self.fetcher.fetch(&uri, named_at).await?;
        read(&document).ok_or_else(|| format!("there is no key set at {uri}").into())
    }

    /// Where the issuer's key set is, as its metadata say (OpenID Connect Discovery 1.0,
    /// section 4). Asked anew each time: it may move.
    async fn discover(&self, issuer: &str) -> Result<String, FetchError> {
        let address = format!("{}{METADATA}", issuer.strip_suffix('/').unwrap_or(issuer));
        let metadata: Value = serde_json::from_slice(&self.fetcher.fetch(&address, None).await?)?;
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(format!("the metadata at {address} are of another issuer").into());
        }
        let uri = text("jwks_uri").ok_or_else(|| format!("the metadata at {address} name no key set"))?;
        // What was asked for over TLS must not lead out of it.
        if is_tls(issuer) && !is_tls(uri) {
            return Err(format!("the metadata at {address} name a key set without TLS").into());
        }
        Ok(uri.to_owned())
    }

    fn read(&self) -> Fetched {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Fetched> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches the key set that tokens are verified with, as the first token would have it
/// done; yields how many of its keys can be used, and `None` where no key set is fetched.
///
/// # Errors
/// Why it cannot be fetched.
pub async fn fetch_keys(key: &JwtKey, fetcher: Arc<dyn KeyFetcher>) -> Result<Option<usize>, FetchError> {
    let place = match key {
        JwtKey::KeySet(uri) => Place::Known(uri.clone()),
        JwtKey::Issuer(issuer) => Place::Of(issuer.clone()),
        JwtKey::Secret(_) | JwtKey::PublicKey(_) => return Ok(None),
    };
    KeySet::new(place, fetcher).fetch().await.map(|keys| Some(keys.len()))
}

fn is_tls(uri: &str) -> bool {
    uri.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// The usable keys of a document (RFC 7517, section 5); `None` if it is no key set.
/// Keys that are not understood are passed over, as the RFC asks.
fn read(document: &[u8]) -> Option<Vec<VerifyingKey>> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let keys = document.get("keys")?.as_array()?;
    Some(keys.iter().take(MAX_KEYS).filter_map(verifying_key).collect())
}

fn verifying_key(value: &Value) -> Option<VerifyingKey> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    // A published symmetric key would be a published secret: no `oct` here.
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let agrees = jwk.common.key_algorithm.is_none_or(|algorithm| algorithm == named);
    let key = DecodingKey::from_jwk(&jwk).ok().filter(|_| signs && agrees)?;
    Some(VerifyingKey::new(jwk.common.key_id.clone(), algorithm, key))
}
