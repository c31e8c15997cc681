//! What a verified token says: whether it counts here and now, and for whom.

use std::collections::BTreeMap;
use std::time::Duration;

use doorward_model::json::number_text;
use doorward_model::{Agent, Caller, Grant, GrantKind, Person, Timestamp};
use serde_json::{Map, Value};

use crate::issuer::Issuer;
use crate::refused::Refused;
use crate::settings::JwtSettings;

/// The claims of a token whose signature is right.
pub(crate) type Claims = Map<String, Value>;

/// Judges the claims.
///
/// Returns the caller and when the token ends, leeway included.
pub(crate) fn judge(
    claims: &Claims,
    settings: &JwtSettings,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<(Caller, Timestamp), Refused> {
    let expires_at = date(claims, "exp")?.ok_or(Refused::Claims)?;
    let end = expires_at.plus(settings.leeway);
    if now >= end {
        return Err(Refused::Expired);
    }
    if date(claims, "nbf")?.is_some_and(|begin| now.plus(settings.leeway) < begin) {
        return Err(Refused::NotYetValid);
    }
    if settings.issuer.as_deref().is_some_and(|issuer| text(claims, "iss") != Some(issuer)) {
        return Err(Refused::Issuer);
    }
    if !settings.audience.is_empty() {
        let named = texts(claims.get("aud"));
        if !settings.audience.iter().any(|audience| named.iter().any(|name| name == audience)) {
            return Err(Refused::Audience);
        }
    }
    if !settings.domains.is_empty() {
        let domain = email(claims).and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
        let is_ours = |domain: &str| settings.domains.iter().any(|own| own.eq_ignore_ascii_case(domain));
        if !domain.is_some_and(is_ours) {
            return Err(Refused::Domain);
        }
    }
    Ok((caller(claims, settings, issuer, expires_at)?, end))
}

fn caller(
    claims: &Claims,
    settings: &JwtSettings,
    issuer: &Issuer,
    expires_at: Timestamp,
) -> Result<Caller, Refused> {
    let consumer = find(claims, &settings.consumer_field).and_then(Value::as_str).filter(|id| !id.is_empty());
    let consumer = consumer.ok_or(Refused::Claims)?;
    let subject = text(claims, "sub").filter(|id| !id.is_empty());
    let id = text(claims, "jti").or(subject).unwrap_or(consumer);
    Ok(Caller {
        grant: Grant {
            id: format!("jwt:{id}"),
            kind: GrantKind::Jwt,
            issuer: Some(issuer.name(text(claims, "iss"))),
            roles: texts(find(claims, &settings.roles_field)),
            servers: None,
            scopes: scopes(claims),
            claims: carried(claims, &settings.claims),
            expires_at: Some(expires_at),
            rate_limit: None,
        },
        person: person(claims, subject, consumer),
        agent: Some(Agent { id: consumer.to_owned() }),
    })
}

/// The human, if the token tells of one beside the program: it carries a verified
/// e-mail address, or its subject is somebody else than the program.
fn person(claims: &Claims, subject: Option<&str>, consumer: &str) -> Option<Person> {
    let email = email(claims);
    let id = subject.or(email)?;
    (email.is_some() || id != consumer).then(|| Person {
        id: id.to_owned(),
        email: email.map(str::to_owned),
        groups: texts(claims.get("groups")),
        roles: Vec::new(),
    })
}

/// The e-mail address. One that nobody verified was typed in by whoever made the account.
fn email(claims: &Claims) -> Option<&str> {
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    text(claims, "email").filter(|_| verified)
}

/// The named claims that are one text, number or truth; lists and objects are nobody's own value.
fn carried(claims: &Claims, names: &[String]) -> BTreeMap<String, String> {
    let text = |name: &String| match find(claims, name)? {
        // As anywhere else: one that nobody verified says nothing.
        Value::String(_) if name == "email" => email(claims).map(str::to_owned),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number_text(&number.to_string())),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    };
    names.iter().filter_map(|name| Some((name.clone(), text(name)?))).collect()
}

/// `scope` is one text with spaces (RFC 8693, section 4.2); `scp` an array or such a text.
fn scopes(claims: &Claims) -> Vec<String> {
    let named = texts(claims.get("scope").or_else(|| claims.get("scp")));
    named.iter().flat_map(|scopes| scopes.split_ascii_whitespace()).map(str::to_owned).collect()
}

/// A time in seconds since 1970, fractions allowed (RFC 7519, section 2).
fn date(claims: &Claims, name: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0).ok_or(Refused::Claims)?;
    let length = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    Ok(Some(Timestamp::from_micros(0).plus(length)))
}

/// The claim with this name, else the one that its dots lead to.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, part| value.get(part))
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// A text, or the texts of an array.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
