//! Signed tokens: `auth.jwt`.

use std::time::Duration;

use doorward_identity::{JwtKey, JwtSettings};
use doorward_model::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Context;
use crate::config::file::OneOrMany;
use crate::config::servers::check_url;

/// Shortest secret for HS256 (RFC 7518, section 3.2), in bytes.
const MIN_SECRET: usize = 32;

/// Most seconds by which an issuer's clock may differ.
const MAX_LEEWAY: u64 = 300;

/// How signed tokens are judged.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct JwtFile {
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

pub(super) fn jwt(file: Option<JwtFile>, context: &mut Context<'_>) -> Option<JwtSettings> {
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
        domains: Vec::new(),
    })
}
