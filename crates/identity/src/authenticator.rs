//! Credentials in, caller out.
//!
//! What is presented is hashed once. The digest finds a configured key, or a token
//! that was verified a moment ago; so nothing compares secrets byte by byte, and the
//! usual call costs one SHA-256 and one lookup.

use std::collections::BTreeSet;
use std::sync::Arc;

use doorward_model::{Agent, Caller, Clock, Grant, GrantKind, Map, Timestamp};

use crate::cache::Verified;
use crate::claims;
use crate::issuer::Issuer;
use crate::jwks::{KeyFetcher, KeySet, Place};
use crate::key::sha256;
use crate::refused::Refused;
use crate::settings::{JwtKey, JwtSettings, KeySettings, Settings, SettingsError};
use crate::token::{self, VerifyingKey};

/// Longest credentials that are looked at, in bytes.
const MAX_PRESENTED: usize = 16 << 10;

/// What a client presents.
#[derive(Clone, Copy, Default)]
pub struct Presented<'a> {
    /// The key or token, without its scheme.
    pub bearer: Option<&'a str>,
}

/// Knows who may come in. Cheap to ask, shared by all connections.
pub struct Authenticator {
    clock: Arc<dyn Clock>,
    anonymous: Option<Arc<Caller>>,
    keys: Map<[u8; 32], Key>,
    jwt: Option<Jwt>,
}

#[derive(Clone)]
struct Key {
    caller: Arc<Caller>,
    enabled: bool,
    expires_at: Option<Timestamp>,
}

struct Jwt {
    settings: JwtSettings,
    issuer: Issuer,
    source: Source,
    verified: Verified,
}

enum Source {
    Fixed(Vec<VerifyingKey>),
    Published(Arc<KeySet>),
}

impl Source {
    fn published(place: Place, fetcher: Option<Arc<dyn KeyFetcher>>) -> Result<Self, SettingsError> {
        Ok(Self::Published(Arc::new(KeySet::new(place, fetcher.ok_or(SettingsError::NoFetcher)?))))
    }
}

impl Authenticator {
    /// Prepares every caller that is known beforehand.
    ///
    /// `fetcher` is needed only for [`JwtKey::KeySet`] and [`JwtKey::Issuer`].
    ///
    /// # Errors
    /// [`SettingsError`], naming the keys that cannot be told apart or used.
    pub fn new(
        settings: Settings,
        clock: Arc<dyn Clock>,
        fetcher: Option<Arc<dyn KeyFetcher>>,
    ) -> Result<Self, SettingsError> {
        let anonymous = settings.anonymous.then(|| Arc::new(anonymous()));
        let keys = known(settings.keys)?;
        let jwt = settings.jwt.map(|jwt| Jwt::new(jwt, fetcher)).transpose()?;
        Ok(Self { clock, anonymous, keys, jwt })
    }

    /// Goes on with the issuer's keys that an earlier one has fetched, where it asked at the
    /// same place: an issuer that is down must not lock everybody out because a rule changed.
    #[must_use]
    pub fn after(mut self, earlier: &Self) -> Self {
        if let (Some(jwt), Some(known)) = (&mut self.jwt, earlier.published())
            && let Source::Published(set) = &mut jwt.source
            && set.is_at(known)
        {
            *set = Arc::clone(known);
        }
        self
    }

    /// Who presents this? Answers from memory alone.
    ///
    /// # Errors
    /// [`Refused`]. [`Refused::SigningKey`] and [`Refused::StaleKeys`] may turn out otherwise when
    /// [`identify`](Self::identify) has fetched the issuer's keys.
    pub fn authenticate(&self, presented: Presented<'_>) -> Result<Arc<Caller>, Refused> {
        if let Some(anonymous) = &self.anonymous {
            return Ok(anonymous.clone());
        }
        let bearer = presented.bearer.filter(|text| !text.is_empty()).ok_or(Refused::Missing)?;
        if bearer.len() > MAX_PRESENTED {
            return Err(Refused::Malformed);
        }
        let digest = sha256(bearer.as_bytes());
        let now = self.clock.now();
        if let Some(key) = self.keys.get(&digest) {
            return key.admit(now);
        }
        match &self.jwt {
            Some(jwt) if bearer.bytes().filter(|byte| *byte == b'.').count() == 2 => {
                jwt.admit(bearer, digest, &*self.clock)
            }
            _ => Err(Refused::Unknown),
        }
    }

    /// Who presents this? Fetches the issuer's published keys first where that may
    /// change the answer; otherwise it is [`authenticate`](Self::authenticate).
    ///
    /// # Errors
    /// [`Refused`], always with the same text.
    pub async fn identify(&self, presented: Presented<'_>) -> Result<Arc<Caller>, Refused> {
        let answer = self.authenticate(presented);
        if let (Err(Refused::SigningKey | Refused::StaleKeys), Some(set)) = (&answer, self.published()) {
            Box::pin(set.refresh(&*self.clock)).await;
            return self.authenticate(presented);
        }
        answer
    }

    /// Who presents this, if that is known by heart: a configured key, or a token that
    /// was verified a moment ago. No signature is looked at and nothing is fetched, so
    /// asking costs one SHA-256 whatever is presented.
    pub fn recall(&self, presented: Presented<'_>) -> Option<Arc<Caller>> {
        if let Some(anonymous) = &self.anonymous {
            return Some(anonymous.clone());
        }
        let bearer = presented.bearer.filter(|text| !text.is_empty() && text.len() <= MAX_PRESENTED)?;
        let digest = sha256(bearer.as_bytes());
        let now = self.clock.now();
        match self.keys.get(&digest) {
            Some(key) => key.admit(now).ok(),
            None => self.jwt.as_ref()?.verified.get(&digest, now),
        }
    }

    /// Why this was refused, for the log: `missing_credentials`, or `key_disabled: key-1` where it
    /// is a configured key that opens nothing any more.
    pub fn account(&self, presented: Presented<'_>, refused: Refused) -> String {
        let bearer = presented.bearer.filter(|text| text.len() <= MAX_PRESENTED);
        let key = bearer.and_then(|text| self.keys.get(&sha256(text.as_bytes())));
        match key {
            Some(key) => format!("{}: {}", refused.reason(), key.caller.grant.id),
            None => refused.reason().to_owned(),
        }
    }

    fn published(&self) -> Option<&Arc<KeySet>> {
        match &self.jwt.as_ref()?.source {
            Source::Published(set) => Some(set),
            Source::Fixed(_) => None,
        }
    }
}

impl Key {
    fn admit(&self, now: Timestamp) -> Result<Arc<Caller>, Refused> {
        if !self.enabled {
            return Err(Refused::Disabled);
        }
        if self.expires_at.is_some_and(|end| now >= end) {
            return Err(Refused::Expired);
        }
        Ok(self.caller.clone())
    }
}

impl Jwt {
    fn new(settings: JwtSettings, fetcher: Option<Arc<dyn KeyFetcher>>) -> Result<Self, SettingsError> {
        let source = match &settings.key {
            JwtKey::Secret(secret) => Source::Fixed(vec![VerifyingKey::secret(secret.expose())]),
            JwtKey::PublicKey(pem) => Source::Fixed(vec![VerifyingKey::pem(pem)?]),
            JwtKey::KeySet(uri) => Source::published(Place::Known(uri.clone()), fetcher)?,
            JwtKey::Issuer(issuer) => Source::published(Place::Of(issuer.clone()), fetcher)?,
        };
        Ok(Self { issuer: Issuer::of(&settings), settings, source, verified: Verified::default() })
    }

    fn admit(&self, token: &str, digest: [u8; 32], clock: &dyn Clock) -> Result<Arc<Caller>, Refused> {
        let now = clock.now();
        if let Some(caller) = self.verified.get(&digest, now) {
            return Ok(caller);
        }
        let claims = match &self.source {
            Source::Fixed(keys) => token::verify(token, keys)?,
            Source::Published(set) => token::verify(token, &set.keys(clock, self.settings.key_set_max_age)?)?,
        };
        let (caller, end) = claims::judge(&claims, &self.settings, &self.issuer, now)?;
        let caller = Arc::new(caller);
        self.verified.put(digest, caller.clone(), end, now);
        Ok(caller)
    }
}

fn known(settings: Vec<KeySettings>) -> Result<Map<[u8; 32], Key>, SettingsError> {
    let mut keys: Map<[u8; 32], Key> = Map::with_capacity_and_hasher(settings.len(), Default::default());
    let mut ids = std::collections::HashSet::with_capacity(settings.len());
    for key in settings {
        if !ids.insert(key.id.clone()) {
            return Err(SettingsError::DuplicateId(key.id));
        }
        if key.person.is_none() && key.agent.is_none() {
            return Err(SettingsError::NobodysKey(key.id));
        }
        let (digest, id) = (*key.key.digest(), key.id.clone());
        let previous = key.previous;
        let current = prepared(key);
        if let Some((stored, until)) = previous {
            let ends = current.expires_at.map_or(until, |end| end.min(until));
            let previous = Key { expires_at: Some(ends), ..current.clone() };
            insert(&mut keys, *stored.digest(), previous, &id)?;
        }
        insert(&mut keys, digest, current, &id)?;
    }
    Ok(keys)
}

fn insert(keys: &mut Map<[u8; 32], Key>, digest: [u8; 32], key: Key, id: &str) -> Result<(), SettingsError> {
    match keys.insert(digest, key) {
        Some(twin) => Err(SettingsError::DuplicateKey(twin.caller.grant.id.clone(), id.to_owned())),
        None => Ok(()),
    }
}

fn prepared(key: KeySettings) -> Key {
    let grant = Grant {
        id: key.id,
        kind: GrantKind::Key,
        issuer: None,
        roles: key.roles,
        servers: key.servers,
        scopes: key.scopes,
        claims: Default::default(),
        expires_at: key.expires_at,
        rate_limit: key.rate_limit,
    };
    let agent = key.agent.map(|id| Agent { id });
    Key {
        caller: Arc::new(Caller { grant, person: key.person, agent }),
        enabled: key.enabled,
        expires_at: key.expires_at,
    }
}

/// Whoever has presented nothing yet: reaches no server, has no role and no scope.
pub fn keyless() -> Caller {
    Caller {
        grant: Grant {
            id: "keyless".to_owned(),
            kind: GrantKind::Keyless,
            issuer: None,
            roles: Vec::new(),
            servers: Some(BTreeSet::new()),
            scopes: Vec::new(),
            claims: Default::default(),
            expires_at: None,
            rate_limit: None,
        },
        person: None,
        agent: Some(Agent { id: "keyless".to_owned() }),
    }
}

/// Everybody, where nobody is asked. The role `*` is matched only by policies that
/// name `*` themselves.
fn anonymous() -> Caller {
    Caller {
        grant: Grant {
            id: "none".to_owned(),
            kind: GrantKind::Anonymous,
            issuer: None,
            roles: vec!["*".to_owned()],
            servers: None,
            scopes: Vec::new(),
            claims: Default::default(),
            expires_at: None,
            rate_limit: None,
        },
        person: None,
        agent: Some(Agent { id: "anonymous".to_owned() }),
    }
}
