//! Signed tokens: `auth.jwt`.

use std::time::Duration;

use doorward_identity::{JwtKey, JwtSettings, KEY_SET_MAX_AGE, Weakness, weakness};
use doorward_model::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Context;
use crate::config::file::OneOrMany;
use crate::config::servers::check_url;

/// Most seconds by which an issuer's clock may differ.
const MAX_LEEWAY: u64 = 300;

/// Most hours for which a key set counts that cannot be fetched again: 30 days.
const MAX_KEY_SET_HOURS: u64 = 720;

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
    /// Accept tokens of any issuer that has the key. Without it, `issuer` must be set.
    any_issuer: bool,
    /// One of these must be the token's audience.
    audience: Option<OneOrMany>,
    /// Accept tokens that were made for other services. Without it, `audience` must be set.
    any_audience: bool,
    /// Claim that holds the roles; `roles` unless set.
    roles_field: Option<String>,
    /// Claim that holds the id of the program; `sub` unless set.
    consumer_id_field: Option<String>,
    /// By how many seconds the issuer's clock may differ; 0 unless set, at most 300.
    leeway_seconds: u64,
    /// For how many hours the issuer's key set counts while it cannot be fetched again; 24 unless
    /// set, at most 720.
    key_set_max_age_hours: Option<u64>,
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
        judge(secret.expose(), context);
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
    let issuer = given(file.issuer);
    let audience: Vec<_> =
        file.audience.unwrap_or_default().0.into_iter().filter(|it| !it.is_empty()).collect();
    if is_open("issuer", issuer.is_some(), "anyIssuer", file.any_issuer, context) {
        let message = "`issuer` is missing: tokens of any issuer that has the key would be accepted";
        context
            .findings
            .error("no-issuer", "auth.jwt.issuer", message)
            .remedy("set `issuer`, or say `anyIssuer: true` if that is meant");
    }
    if is_open("audience", !audience.is_empty(), "anyAudience", file.any_audience, context) {
        let message = "`audience` is missing: tokens that were made for other services would be accepted";
        context
            .findings
            .error("no-audience", "auth.jwt.audience", message)
            .remedy("set `audience`, or say `anyAudience: true` if that is meant");
    }
    Some(JwtSettings {
        claims: Vec::new(),
        key,
        issuer,
        audience,
        roles_field: given(file.roles_field).unwrap_or_else(|| "roles".to_owned()),
        consumer_field: given(file.consumer_id_field).unwrap_or_else(|| "sub".to_owned()),
        leeway: Duration::from_secs(file.leeway_seconds),
        key_set_max_age: max_age(file.key_set_max_age_hours, "auth.jwt", context),
        domains: Vec::new(),
    })
}

/// A secret that others know lets them in as anybody.
fn judge(secret: &str, context: &mut Context<'_>) {
    let at = "auth.jwt.secret";
    match weakness(secret) {
        None => {}
        Some(Weakness::Pattern) => {
            let message = format!("the secret is weak: {}", Weakness::Pattern);
            context.findings.warn("weak-secret", at, message).remedy("use 32 random bytes or more");
        }
        Some(weakness) => {
            let message = format!("the secret is weak: {weakness}");
            context
                .findings
                .error("weak-secret", at, message)
                .remedy("use 32 random bytes or more, such as the output of `openssl rand -base64 32`");
        }
    }
    if secret.trim() != secret {
        let message =
            "the secret begins or ends with a blank or a line end, and the issuer's perhaps does not";
        context.findings.warn("secret-text", at, message).remedy("remove it there if it is not part of it");
    }
}

/// Whether nothing says whose tokens, or tokens for whom, are accepted. Whoever may make tokens for
/// others could otherwise make them for this gateway.
fn is_open(key: &str, is_set: bool, any: &str, is_any: bool, context: &mut Context<'_>) -> bool {
    if is_set && is_any {
        let message = format!("`{any}` has no effect, because `{key}` is set");
        context.findings.warn("unused", format!("auth.jwt.{any}"), message).remedy("keep one of them");
    }
    !is_set && !is_any
}

/// For how long a key set counts that cannot be fetched again.
pub(super) fn max_age(hours: Option<u64>, section: &str, context: &mut Context<'_>) -> Duration {
    let Some(hours) = hours else { return KEY_SET_MAX_AGE };
    if !(1..=MAX_KEY_SET_HOURS).contains(&hours) {
        context
            .findings
            .error(
                "jwt",
                format!("{section}.keySetMaxAgeHours"),
                format!("a key set counts for 1 to {MAX_KEY_SET_HOURS} hours"),
            )
            .remedy("24 is usual");
    }
    Duration::from_secs(hours.saturating_mul(3600))
}
