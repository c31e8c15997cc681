//! Who may call: `auth`.

use std::collections::BTreeSet;
use std::time::Duration;

use doorward_identity::{JwtKey, JwtSettings, KeySettings, Settings, StoredKey};
use doorward_model::{Person, Secret, ServerId, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::file::OneOrMany;
use super::servers::check_url;

/// Keys that stand in documentation, so everybody has them.
const PUBLISHED_KEYS: [&str; 3] = ["gw_your_key_here", "gw_abc123def456", "gw_readonly789"];

/// Shortest secret for HS256 (RFC 7518, section 3.2), in bytes.
const MIN_SECRET: usize = 32;

/// Most seconds by which an issuer's clock may differ.
const MAX_LEEWAY: u64 = 300;

/// Who may call.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// How callers prove who they are.
    pub kind: AuthKind,
    /// The configured keys, whether `kind` uses them or not.
    pub keys: Vec<Key>,
    /// How tokens are judged, when `kind` is [`AuthKind::Jwt`].
    pub jwt: Option<JwtSettings>,
}

/// One key and its name.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name for people.
    pub name: String,
    /// What it is and whom it belongs to.
    pub settings: KeySettings,
}

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuthKind {
    /// By a key of `auth.keys`.
    #[default]
    ApiKey,
    /// By a signed token.
    Jwt,
    /// By OpenID Connect. Not supported yet.
    Oidc,
    /// Not at all: everybody is `anonymous`.
    None,
}

impl Auth {
    /// What the authenticator needs.
    pub fn settings(&self) -> Settings {
        Settings {
            anonymous: self.kind == AuthKind::None,
            keys: match self.kind {
                AuthKind::ApiKey => self.keys.iter().map(|key| key.settings.clone()).collect(),
                AuthKind::Jwt | AuthKind::Oidc | AuthKind::None => Vec::new(),
            },
            jwt: self.jwt.clone(),
        }
    }
}

/// `auth` in the file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct AuthFile {
    /// How callers prove who they are.
    #[serde(rename = "type")]
    kind: AuthKind,
    /// Keys, for `type: api-key`.
    keys: Vec<KeyFile>,
    /// Signed tokens, for `type: jwt`.
    jwt: Option<JwtFile>,
}

/// One key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
struct KeyFile {
    /// Its id, shown in records.
    id: String,
    /// `sha256:` and the hash of the key; `doorward keys create` makes one.
    #[schemars(with = "String")]
    key: Secret,
    /// Its name for people.
    name: Option<String>,
    /// The program it belongs to. Usage and limits are counted under this name.
    consumer_id: Option<String>,
    /// The program it belongs to; the same as `consumerId`.
    agent: Option<String>,
    /// The human it belongs to: an id, or an e-mail address.
    person: Option<String>,
    /// Roles it carries.
    roles: Vec<String>,
    /// Servers it reaches; all that its roles allow unless set.
    servers: Option<Vec<String>>,
    /// Scopes, such as `audit.read`.
    scopes: Vec<String>,
    /// Calls a minute, in place of `rateLimit.defaultPerMinute`.
    rate_limit: Option<u32>,
    /// When it ends: 2026-12-31 or 2026-12-31T18:00:00Z.
    expires_at: Option<String>,
    /// Whether it works. Missing means no.
    enabled: Option<bool>,
}

/// How signed tokens are judged.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
struct JwtFile {
    /// A shared secret, for HS256.
    #[schemars(with = "Option<String>")]
    secret: Option<Secret>,
    /// A public key in PEM form: RSA for RS256, P-256 for ES256.
    public_key: Option<String>,
    /// Address of the issuer's key set.
    jwks_uri: Option<String>,
    /// The only accepted issuer.
    issuer: Option<String>,
    /// One of these must be the token's audience.
    audience: Option<OneOrMany>,
    /// Claim that holds the roles; `roles` unless set.
    roles_field: Option<String>,
    /// Claim that holds the id of the program; `sub` unless set.
    consumer_id_field: Option<String>,
    /// By how many seconds the issuer's clock may differ; 0 unless set, at most 300.
    leeway_seconds: u64,
}

pub(crate) fn build(file: Option<AuthFile>, is_loopback: bool, context: &mut Context<'_>) -> Auth {
    let Some(file) = file else {
        context
            .findings
            .warn("no-keys", "auth", "nobody can call: there is no `auth`")
            .remedy("run `doorward keys create`");
        return Auth::default();
    };
    match file.kind {
        AuthKind::ApiKey if file.keys.is_empty() => {
            context
                .findings
                .warn("no-keys", "auth.keys", "nobody can call: there are no keys")
                .remedy("run `doorward keys create`");
        }
        AuthKind::Jwt | AuthKind::None if !file.keys.is_empty() => {
            context.findings.warn(
                "unused",
                "auth.keys",
                "the keys open nothing: `auth.type` asks for something else",
            );
        }
        AuthKind::Oidc => {
            context
                .findings
                .error("not-supported", "auth.type", "`type: oidc` is not supported yet")
                .remedy("use `type: jwt` with the issuer's `jwksUri`");
        }
        AuthKind::ApiKey | AuthKind::Jwt | AuthKind::None => {}
    }
    if file.kind == AuthKind::None {
        let who = if is_loopback {
            "every program on this machine"
        } else {
            "everybody who can reach this gateway"
        };
        context.findings.warn("no-auth", "auth.type", format!("`type: none` lets {who} call as `anonymous`"));
    }
    if file.kind != AuthKind::Jwt && file.jwt.is_some() {
        context.findings.warn("unused", "auth.jwt", "tokens are not accepted: `auth.type` is not `jwt`");
    }
    let jwt = (file.kind == AuthKind::Jwt).then(|| jwt(file.jwt, context)).flatten();
    Auth { kind: file.kind, keys: keys(file.keys, is_loopback, context), jwt }
}

fn keys(files: Vec<KeyFile>, is_loopback: bool, context: &mut Context<'_>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        let path = format!("auth.keys[{index}]");
        let Some(key) = key(file, &path, is_loopback, context) else { continue };
        let settings = &key.settings;
        if keys.iter().any(|other| other.settings.id == settings.id) {
            context
                .findings
                .error(
                    "duplicate-id",
                    format!("{path}.id"),
                    format!("two keys have the id `{}`", settings.id),
                )
                .remedy("rename one of them");
        }
        if let Some(twin) = keys.iter().find(|other| other.settings.key == settings.key) {
            let message = format!(
                "`{}` and `{}` are the same key, so nobody could say who called",
                twin.settings.id, settings.id
            );
            context
                .findings
                .error("duplicate-key", format!("{path}.key"), message)
                .remedy("give each its own: `doorward keys create`");
        }
        keys.push(key);
    }
    keys
}

fn key(file: KeyFile, path: &str, is_loopback: bool, context: &mut Context<'_>) -> Option<Key> {
    if file.id.is_empty() || file.key.is_empty() {
        let missing = if file.id.is_empty() { "id" } else { "key" };
        context.findings.error("key", path, format!("`{missing}` is missing"));
        return None;
    }
    let stored = StoredKey::parse(file.key.expose());
    if PUBLISHED_KEYS.iter().any(|published| StoredKey::parse(published) == stored) {
        let message = format!("`{}` is a key from the documentation that everybody knows", file.id);
        let at = format!("{path}.key");
        let findings = &mut context.findings;
        let lint = if is_loopback {
            findings.warn("published-key", at, message)
        } else {
            findings.error("published-key", at, message)
        };
        lint.remedy("make one of your own: `doorward keys create`");
    } else if !stored.is_hashed() {
        context
            .findings
            .warn(
                "plaintext-key",
                format!("{path}.key"),
                format!("`{}` is stored in the clear: whoever reads this file has it", file.id),
            )
            .remedy("store its hash, `sha256:…`, as `doorward keys create` does");
    }
    if file.enabled.is_none() {
        context
            .findings
            .warn(
                "not-enabled",
                format!("{path}.enabled"),
                format!("`{}` opens nothing, because `enabled` is missing", file.id),
            )
            .remedy("add `enabled: true`");
    }
    if file.rate_limit == Some(0) {
        context
            .findings
            .warn("rate-limit", format!("{path}.rateLimit"), "0 means the default, not none at all")
            .remedy("set `enabled: false` to lock the key out");
    }
    Some(Key {
        name: file.name.clone().unwrap_or_else(|| file.id.clone()),
        settings: KeySettings {
            key: stored,
            person: person(file.person.as_deref()),
            agent: agent(&file, path, context),
            servers: servers(file.servers.as_deref(), path, context),
            expires_at: expires_at(file.expires_at.as_deref(), path, context),
            rate_limit: file.rate_limit.filter(|limit| *limit > 0),
            enabled: file.enabled.unwrap_or(false),
            roles: file.roles,
            scopes: file.scopes,
            id: file.id,
        },
    })
}

/// A person is named by an id. One that is an e-mail address counts as verified:
/// whoever wrote the configuration vouches for it.
fn person(id: Option<&str>) -> Option<Person> {
    let id = id.filter(|id| !id.is_empty())?;
    let email = id.contains('@').then(|| id.to_owned());
    Some(Person { id: id.to_owned(), email, ..Person::default() })
}

fn agent(file: &KeyFile, path: &str, context: &mut Context<'_>) -> Option<String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (agent, consumer) = (given(&file.agent), given(&file.consumer_id));
    if let (Some(agent), Some(consumer)) = (&agent, &consumer)
        && agent != consumer
    {
        context
            .findings
            .error("key", format!("{path}.agent"), "`agent` and `consumerId` are the same thing, and differ")
            .remedy("keep one of them");
    }
    if agent.is_none() && consumer.is_none() && file.person.as_ref().is_none_or(String::is_empty) {
        context
            .findings
            .error("key", path, format!("`{}` belongs to nobody", file.id))
            .remedy("name a `person`, an `agent` or a `consumerId`");
    }
    agent.or(consumer)
}

fn servers(names: Option<&[String]>, path: &str, context: &mut Context<'_>) -> Option<BTreeSet<ServerId>> {
    let names = names?;
    let mut ids = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        match ServerId::try_from(name.as_str()) {
            Ok(id) => {
                ids.insert(id);
            }
            Err(invalid) => {
                context.findings.error("server-id", format!("{path}.servers[{index}]"), invalid.to_string());
            }
        }
    }
    Some(ids)
}

fn expires_at(text: Option<&str>, path: &str, context: &mut Context<'_>) -> Option<Timestamp> {
    let text = text.filter(|text| !text.is_empty())?;
    match Timestamp::parse(text) {
        Ok(time) => Some(time),
        Err(invalid) => {
            // A key that was meant to end must not live for ever over a misspelt date.
            context.findings.error("expires-at", format!("{path}.expiresAt"), invalid.to_string());
            None
        }
    }
}

fn jwt(file: Option<JwtFile>, context: &mut Context<'_>) -> Option<JwtSettings> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let file = file.unwrap_or_default();
    let sources = [
        file.secret.as_ref().is_some_and(|secret| !secret.is_empty()),
        file.public_key.as_ref().is_some_and(|key| !key.is_empty()),
        file.jwks_uri.as_ref().is_some_and(|uri| !uri.is_empty()),
    ];
    if sources.iter().filter(|given| **given).count() > 1 {
        context
            .findings
            .warn(
                "jwt",
                "auth.jwt",
                "several keys are given; `jwksUri` wins over `publicKey`, and that over `secret`",
            )
            .remedy("keep one");
    }
    let key = if let Some(uri) = given(file.jwks_uri) {
        if let Err((message, remedy)) = check_url(&uri, false) {
            context.findings.error("url", "auth.jwt.jwksUri", message).remedy(remedy);
        }
        JwtKey::KeySet(uri)
    } else if let Some(pem) = given(file.public_key) {
        JwtKey::PublicKey(pem)
    } else if let Some(secret) = file.secret.filter(|secret| !secret.is_empty()) {
        if secret.expose().len() < MIN_SECRET {
            context
                .findings
                .warn(
                    "weak-secret",
                    "auth.jwt.secret",
                    "the secret is shorter than 32 bytes and may be guessed",
                )
                .remedy("use 32 random bytes or more");
        }
        JwtKey::Secret(secret)
    } else {
        context
            .findings
            .error("jwt", "auth.jwt", "nothing to verify tokens with")
            .remedy("set `jwksUri`, `publicKey` or `secret`");
        return None;
    };
    if let Err(error) = key.check() {
        context.findings.error("jwt", "auth.jwt.publicKey", error.to_string());
    }
    if file.leeway_seconds > MAX_LEEWAY {
        context.findings.error(
            "jwt",
            "auth.jwt.leewaySeconds",
            format!("clocks may differ by {MAX_LEEWAY} seconds at most"),
        );
    }
    let audience = file.audience.unwrap_or_default().0;
    if audience.is_empty() {
        context
            .findings
            .warn("no-audience", "auth.jwt.audience", "tokens made for other services are accepted as well")
            .remedy("set `audience`");
    }
    Some(JwtSettings {
        key,
        issuer: given(file.issuer),
        audience,
        roles_field: given(file.roles_field).unwrap_or_else(|| "roles".to_owned()),
        consumer_field: given(file.consumer_id_field).unwrap_or_else(|| "sub".to_owned()),
        leeway: Duration::from_secs(file.leeway_seconds),
    })
}
