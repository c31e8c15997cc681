//! Who may come in, as configured.

use std::collections::BTreeSet;
use std::time::Duration;

use doorward_model::{Person, Secret, ServerId, Timestamp};

use crate::key::StoredKey;
use crate::token::VerifyingKey;

/// Everything that decides who is let in.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Whether callers without credentials are let in as `anonymous` with the role
    /// `*`. Nothing else is looked at then.
    pub anonymous: bool,
    /// Keys.
    pub keys: Vec<KeySettings>,
    /// Signed tokens, when they are accepted.
    pub jwt: Option<JwtSettings>,
}

/// One key.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// Stable id, shown in records.
    pub id: String,
    /// What is stored of the key.
    pub key: StoredKey,
    /// The key before it was renewed, and until when that opens as well.
    pub previous: Option<(StoredKey, Timestamp)>,
    /// The human, if the key belongs to one.
    pub person: Option<Person>,
    /// Id of the program, if the key belongs to one.
    pub agent: Option<String>,
    /// Roles the key carries.
    pub roles: Vec<String>,
    /// Servers the key reaches; `None` leaves that to the policies.
    pub servers: Option<BTreeSet<ServerId>>,
    /// Scopes, such as `audit.read`.
    pub scopes: Vec<String>,
    /// When the key ends.
    pub expires_at: Option<Timestamp>,
    /// Calls a minute, in place of the default.
    pub rate_limit: Option<u32>,
    /// A key that is switched off is refused like an unknown one.
    pub enabled: bool,
}

/// How signed tokens are judged.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// What verifies the signature, and thereby which algorithm is accepted.
    pub key: JwtKey,
    /// The only accepted `iss`, when set.
    pub issuer: Option<String>,
    /// One of these must be in `aud`, unless empty.
    pub audience: Vec<String>,
    /// Claim that holds the roles, a string or an array; dots lead into objects.
    pub roles_field: String,
    /// Claim that holds the id of the program; dots lead into objects.
    pub consumer_field: String,
    /// Claims that callers carry along for role rules (`${claims.x}`).
    pub claims: Vec<String>,
    /// By how much the issuer's clock may differ from ours.
    pub leeway: Duration,
    /// For how long a published key set counts that cannot be fetched again. The issuer may have
    /// withdrawn a key meanwhile.
    pub key_set_max_age: Duration,
    /// The token must carry a verified e-mail address of one of these domains, unless empty.
    pub domains: Vec<String>,
}

/// For how long a key set counts that cannot be fetched again, unless the configuration says.
pub const KEY_SET_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// What verifies a token. Each kind of key knows one algorithm, so a token cannot
/// choose how it is verified.
#[derive(Clone, Debug)]
pub enum JwtKey {
    /// A shared secret: HS256.
    Secret(Secret),
    /// A public key in PEM form: RSA for RS256, P-256 for ES256.
    PublicKey(String),
    /// Address of the issuer's key set: RS256 or ES256, by each key's kind.
    KeySet(String),
    /// An issuer that says where its key set is (OpenID Connect Discovery 1.0, section 4).
    Issuer(String),
}

impl JwtKey {
    /// Whether tokens can be verified with this key at all. A key set is judged when
    /// it is fetched.
    ///
    /// # Errors
    /// [`SettingsError::PublicKey`] for a text that is no public key of an accepted kind.
    pub fn check(&self) -> Result<(), SettingsError> {
        match self {
            Self::PublicKey(pem) => VerifyingKey::pem(pem).map(|_| ()),
            Self::Secret(_) | Self::KeySet(_) | Self::Issuer(_) => Ok(()),
        }
    }
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Two keys share an id.
    #[error("two keys have the id `{0}`")]
    DuplicateId(String),
    /// Two ids share one key, so nobody could say who called.
    #[error("the keys `{0}` and `{1}` are the same")]
    DuplicateKey(String, String),
    /// A key names neither a person nor an agent.
    #[error("the key `{0}` belongs to nobody: name a person or an agent")]
    NobodysKey(String),
    /// The PEM text is no public key of a kind that is accepted.
    #[error("the public key is neither an RSA key nor a P-256 key in PEM form")]
    PublicKey,
    /// A key set is configured and nothing can fetch it.
    #[error("a key set is configured, but nothing to fetch it with")]
    NoFetcher,
}
