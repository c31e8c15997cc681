//! Who may call: `auth`.

mod jwt;
mod keys;
mod oidc;

use doorward_identity::{JwtSettings, KeySettings, Settings};
use schemars::JsonSchema;
use serde::Deserialize;

use self::jwt::{JwtFile, jwt};
use self::keys::{KeyFile, keys};
use self::oidc::{OidcFile, oidc};
use super::Context;

/// Who may call.
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// How callers prove who they are.
    pub kind: AuthKind,
    /// The configured keys, whether `kind` uses them or not.
    pub keys: Vec<Key>,
    /// How tokens are judged, when `kind` is [`AuthKind::Jwt`] or [`AuthKind::Oidc`].
    pub jwt: Option<JwtSettings>,
}

/// One key and its name.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name for people.
    pub name: String,
    /// How it begins.
    pub prefix: Option<String>,
    /// When it was switched off, and by whom.
    pub revoked_at: Option<String>,
    /// Who did that.
    pub revoked_by: Option<String>,
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
    /// By a token of an OpenID Connect issuer.
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
    /// Tokens of an OpenID Connect issuer, for `type: oidc`.
    oidc: Option<OidcFile>,
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
        AuthKind::Jwt | AuthKind::Oidc | AuthKind::None if !file.keys.is_empty() => {
            context.findings.warn(
                "unused",
                "auth.keys",
                "the keys open nothing: `auth.type` asks for something else",
            );
        }
        AuthKind::ApiKey | AuthKind::Jwt | AuthKind::Oidc | AuthKind::None => {}
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
    if file.kind != AuthKind::Oidc && file.oidc.is_some() {
        context.findings.warn("unused", "auth.oidc", "tokens are not accepted: `auth.type` is not `oidc`");
    }
    let jwt = match file.kind {
        AuthKind::Jwt => jwt(file.jwt, context),
        AuthKind::Oidc => oidc(file.oidc, context),
        AuthKind::ApiKey | AuthKind::None => None,
    };
    Auth { kind: file.kind, keys: keys(file.keys, is_loopback, context), jwt }
}
