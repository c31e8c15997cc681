//! Tokens of an OpenID Connect issuer: `auth.oidc`.

use std::time::Duration;

use doorward_identity::{JwtKey, JwtSettings};
use schemars::JsonSchema;
use serde::Deserialize;

use super::jwt::max_age;
use crate::config::Context;
use crate::config::file::OneOrMany;
use crate::config::servers::check_url;

/// How tokens of an issuer are judged that publishes everything needed for it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct OidcFile {
    /// The issuer, exactly as its tokens name it. Its metadata are below it.
    issuer_url: Option<String>,
    /// The client that tokens are made for, where `audience` does not say it.
    client_id: Option<String>,
    /// One of these must be the token's audience.
    audience: Option<OneOrMany>,
    /// Claim that holds the roles; `roles` unless set.
    roles_field: Option<String>,
    /// Claim that holds the id of the program; `sub` unless set.
    consumer_id_field: Option<String>,
    /// Address of the issuer's key set, where its metadata are not to be asked.
    jwks_uri: Option<String>,
    /// Tokens must carry a verified e-mail address of one of these domains.
    allowed_domains: Vec<String>,
    /// For how many hours the issuer's key set counts while it cannot be fetched again; 24 unless
    /// set, at most 720.
    key_set_max_age_hours: Option<u64>,
}

pub(super) fn oidc(file: Option<OidcFile>, context: &mut Context<'_>) -> Option<JwtSettings> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let file = file.unwrap_or_default();
    let (issuer, uri) = (given(file.issuer_url), given(file.jwks_uri));
    for (key, address) in [("issuerUrl", &issuer), ("jwksUri", &uri)] {
        if let Some(Err((message, remedy))) = address.as_deref().map(|address| check_url(address, false)) {
            context.findings.error("url", format!("auth.oidc.{key}"), message).remedy(remedy);
        }
    }
    let Some(issuer) = issuer else {
        context
            .findings
            .error("oidc", "auth.oidc", "nobody is named whose tokens are accepted")
            .remedy("set `issuerUrl`");
        return None;
    };
    let mut audience = file.audience.unwrap_or_default().0;
    if audience.is_empty() {
        audience.extend(given(file.client_id));
    }
    if audience.is_empty() {
        context
            .findings
            .error("oidc", "auth.oidc", "the issuer's tokens for all its other clients would be accepted")
            .remedy("set `clientId` or `audience`");
        return None;
    }
    Some(JwtSettings {
        claims: Vec::new(),
        key: uri.map_or_else(|| JwtKey::Issuer(issuer.clone()), JwtKey::KeySet),
        issuer: Some(issuer),
        audience,
        roles_field: given(file.roles_field).unwrap_or_else(|| "roles".to_owned()),
        consumer_field: given(file.consumer_id_field).unwrap_or_else(|| "sub".to_owned()),
        leeway: Duration::ZERO,
        key_set_max_age: max_age(file.key_set_max_age_hours, "auth.oidc", context),
        domains: file.allowed_domains,
    })
}
