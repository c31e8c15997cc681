//! Keys: `auth.keys`.

use std::collections::BTreeSet;

use doorward_identity::{KeySettings, StoredKey};
use doorward_model::{Person, Secret, ServerId, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Key;
use crate::config::Context;
use crate::config::pasted::slip_of_key;

/// Keys that stand in documentation, so everybody has them.
const PUBLISHED_KEYS: [&str; 3] = ["gw_your_key_here", "gw_abc123def456", "gw_readonly789"];

/// One key.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(super) struct KeyFile {
    /// Its id, shown in records.
    id: String,
    /// `sha256:` and the hash of the key; `doorward keys create` makes one.
    #[schemars(with = "String")]
    key: Secret,
    /// The key before the last `doorward keys rotate`, as `sha256:` and its hash.
    #[schemars(with = "Option<String>")]
    previous_key: Option<Secret>,
    /// Until when the previous key opens the gateway as well.
    previous_until: Option<String>,
    /// How the key begins, so that people recognise it.
    prefix: Option<String>,
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
    /// When it was switched off.
    revoked_at: Option<String>,
    /// Who switched it off.
    revoked_by: Option<String>,
}

pub(super) fn keys(files: Vec<KeyFile>, is_loopback: bool, context: &mut Context<'_>) -> Vec<Key> {
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
        let opens = |settings: &KeySettings| [Some(settings.key), settings.previous.map(|(key, _)| key)];
        let both = opens(settings);
        let is_same =
            |other: &&Key| opens(&other.settings).iter().flatten().any(|key| both.contains(&Some(*key)));
        if let Some(twin) = keys.iter().find(is_same) {
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
    let stored = match StoredKey::parse(file.key.expose()) {
        Ok(stored) => stored,
        Err(damaged) => {
            context
                .findings
                .error("key-hash", format!("{path}.key"), format!("`{}`: {damaged}", file.id))
                .remedy("make another one: `doorward keys create`");
            return None;
        }
    };
    if let Some(slip) = slip_of_key(file.key.expose()).filter(|_| !stored.is_hashed()) {
        let message = format!("no client can present the key `{}`: {}", file.id, slip.message);
        slip.advise(context.findings.error("key-text", format!("{path}.key"), message));
        return None;
    }
    if PUBLISHED_KEYS.iter().any(|published| StoredKey::parse(published) == Ok(stored)) {
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
    for (member, text) in [("revokedAt", &file.revoked_at), ("previousUntil", &file.previous_until)] {
        if let Some(Err(invalid)) = text.as_deref().map(Timestamp::parse) {
            context.findings.error("expires-at", format!("{path}.{member}"), invalid.to_string());
        }
    }
    Some(Key {
        prefix: file.prefix.clone(),
        revoked_at: file.revoked_at.clone(),
        revoked_by: file.revoked_by.clone(),
        name: file.name.clone().unwrap_or_else(|| file.id.clone()),
        settings: KeySettings {
            key: stored,
            previous: previous(&file, path, context),
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

/// The key before the last renewal; without its end it opens nothing.
fn previous(file: &KeyFile, path: &str, context: &mut Context<'_>) -> Option<(StoredKey, Timestamp)> {
    match (&file.previous_key, &file.previous_until) {
        (None, None) => None,
        (Some(key), Some(until)) => match StoredKey::parse(key.expose()) {
            // A misspelt end was said already.
            Ok(stored) => Timestamp::parse(until).ok().map(|until| (stored, until)),
            Err(damaged) => {
                context.findings.error("key-hash", format!("{path}.previousKey"), damaged.to_string());
                None
            }
        },
        _ => {
            let message = "`previousKey` and `previousUntil` belong together";
            context.findings.error("key", path, message).remedy("remove both, or run `doorward keys rotate`");
            None
        }
    }
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
