//! `doorward keys`: who holds a key to this gateway.
//!
//! Keys are kept in the configuration file, as hashes. Creating and revoking edits
//! the text of the file and leaves everything else in it as it is.

use std::path::Path;

use clap::Subcommand;
use doorward_identity::new_key;
use doorward_model::json::quoted;
use doorward_model::{ServerId, Timestamp};
use serde::Serialize;

use super::edit::{Document, NewKey};
use super::layout::pad;
use super::{Exit, Surroundings, load, locate, located};
use crate::config::auth::Key;
use crate::runtime::examine::Examined;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List keys; never the keys themselves
    #[command(after_help = "Examples:\n  doorward keys list\n  doorward keys list --json")]
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Create a key, show it once and store its hash
    #[command(after_help = "Examples:\n  doorward keys create \"My Agent\" agent-1 reader,writer\n  \
                            doorward keys create \"Ana\" --person ana@corp.example --servers github --expires 2027-01-01")]
    Create(CreateArguments),
    /// Switch a key off
    #[command(after_help = "Examples:\n  doorward keys revoke key-1700000000000")]
    Revoke {
        /// Its id, as `keys list` shows it
        id: String,
    },
}

/// Arguments of `doorward keys create`.
#[derive(Debug, clap::Args)]
pub struct CreateArguments {
    /// Its name for people
    #[arg(default_value = "New Key")]
    name: String,
    /// The program it belongs to [default: default, unless a person is named]
    consumer: Option<String>,
    /// Roles it carries, separated by commas
    #[arg(default_value = "reader", value_delimiter = ',')]
    roles: Vec<String>,
    /// The human it belongs to: an id, or an e-mail address
    #[arg(long)]
    person: Option<String>,
    /// Servers it reaches, separated by commas [default: all that its roles allow]
    #[arg(long, value_delimiter = ',')]
    servers: Option<Vec<String>>,
    /// Scopes, such as audit.read, separated by commas
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<String>,
    /// When it ends: 2026-12-31 or 2026-12-31T18:00:00Z
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: &'a str,
    name: &'a str,
    consumer_id: Option<&'a str>,
    person: Option<&'a str>,
    roles: &'a [String],
    servers: Option<Vec<&'a str>>,
    scopes: &'a [String],
    rate_limit: Option<u32>,
    expires_at: Option<Timestamp>,
    enabled: bool,
    hashed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    id: &'a str,
    key: &'a str,
    name: &'a str,
    consumer_id: Option<&'a str>,
    roles: &'a [String],
}

pub(super) fn run(
    command: &Command,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    match command {
        Command::List { json } => list(*json, named, world),
        Command::Create(arguments) => create(arguments, named, world),
        Command::Revoke { id } => revoke(id, named, world),
    }
}

fn list(json: bool, named: Option<&Path>, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let keys = &loaded.config.auth.keys;
    if json {
        let listed: Vec<_> = keys.iter().map(listed).collect();
        writeln!(world.out, "{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(Exit::Done);
    }
    let head = (pad("ID", 12), pad("Name", 20), pad("Consumer", 15), pad("Roles", 20));
    writeln!(world.out, "\n{} {} {} {} Enabled", head.0, head.1, head.2, head.3)?;
    writeln!(world.out, "{}", "-".repeat(80))?;
    for key in keys {
        let settings = &key.settings;
        let person = settings.person.as_ref().map(|person| person.id.as_str());
        let consumer = settings.agent.as_deref().or(person).unwrap_or_default();
        let row = (
            pad(&settings.id, 12),
            pad(&key.name, 20),
            pad(consumer, 15),
            pad(&settings.roles.join(","), 20),
        );
        writeln!(world.out, "{} {} {} {} {}", row.0, row.1, row.2, row.3, settings.enabled)?;
    }
    Ok(Exit::Done)
}

fn listed(key: &Key) -> Listed<'_> {
    let settings = &key.settings;
    Listed {
        id: &settings.id,
        name: &key.name,
        consumer_id: settings.agent.as_deref(),
        person: settings.person.as_ref().map(|person| person.id.as_str()),
        roles: &settings.roles,
        servers: settings.servers.as_ref().map(|ids| ids.iter().map(|id| id.as_str()).collect()),
        scopes: &settings.scopes,
        rate_limit: settings.rate_limit,
        expires_at: settings.expires_at,
        enabled: settings.enabled,
        hashed: settings.key.is_hashed(),
    }
}

fn create(
    arguments: &CreateArguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    if let Some(Err(invalid)) = arguments.expires.as_deref().map(Timestamp::parse) {
        writeln!(world.err, "{invalid}")?;
        return Ok(Exit::Usage);
    }
    for id in arguments.servers.iter().flatten() {
        if let Err(invalid) = ServerId::try_from(id.as_str()) {
            writeln!(world.err, "{invalid}")?;
            return Ok(Exit::Usage);
        }
    }
    let mut document = Document::open(&locate(named, world)?)?;
    let (key, hash) = new_key(world.random);
    let id = free_id(&document, world.clock.now());
    let consumer = arguments.consumer.as_deref().or(arguments.person.is_none().then_some("default"));
    document.add_key(&entry(arguments, &id, &hash, consumer))?;
    document.save()?;
    // The key is shown all the same: nobody else has it, and it opens the gateway later.
    let exit = if takes_force(&document, world)? { Exit::Done } else { Exit::No };
    if arguments.json {
        let created = Created {
            id: &id,
            key: key.expose(),
            name: &arguments.name,
            consumer_id: consumer,
            roles: &arguments.roles,
        };
        writeln!(world.out, "{}", serde_json::to_string_pretty(&created)?)?;
        return Ok(exit);
    }
    let holder = consumer.or(arguments.person.as_deref()).unwrap_or_default();
    writeln!(world.out, "\nAPI Key Created:")?;
    writeln!(world.out, "  ID:       {id}")?;
    writeln!(world.out, "  Key:      {}", key.expose())?;
    writeln!(world.out, "  Consumer: {holder}")?;
    writeln!(world.out, "  Roles:    {}", arguments.roles.join(", "))?;
    writeln!(world.out, "\n⚠️  Save the key now — it won't be shown again.")?;
    Ok(exit)
}

/// `key-` and the time in milliseconds, or the next one that is not taken.
fn free_id(document: &Document, now: Timestamp) -> String {
    let first = now.as_micros() / 1_000;
    let mut ids = (first..).map(|number| format!("key-{number}"));
    ids.find(|id| !document.has_key(id)).expect("there are more numbers than keys")
}

/// The entry's keys and values, each value as JSON, which is YAML as well.
fn entry(arguments: &CreateArguments, id: &str, hash: &str, consumer: Option<&str>) -> NewKey {
    let list = |texts: &[String]| {
        format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
    };
    let mut fields = vec![
        ("id", quoted(id)),
        ("key", quoted(&format!("sha256:{hash}"))),
        ("name", quoted(&arguments.name)),
    ];
    fields.extend(consumer.map(|consumer| ("consumerId", quoted(consumer))));
    fields.extend(arguments.person.as_deref().map(|person| ("person", quoted(person))));
    fields.push(("roles", list(&arguments.roles)));
    fields.extend(arguments.servers.as_deref().map(|servers| ("servers", list(servers))));
    if !arguments.scopes.is_empty() {
        fields.push(("scopes", list(&arguments.scopes)));
    }
    fields.extend(arguments.expires.as_deref().map(|time| ("expiresAt", quoted(time))));
    fields.push(("enabled", "true".to_owned()));
    NewKey { fields }
}

fn revoke(id: &str, named: Option<&Path>, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let mut document = Document::open(&locate(named, world)?)?;
    if !document.has_key(id) {
        writeln!(world.out, "Key {id} not found.")?;
        return Ok(Exit::No);
    }
    document.revoke_key(id)?;
    document.save()?;
    if !takes_force(&document, world)? {
        return Ok(Exit::No);
    }
    writeln!(world.out, "Key {id} revoked.")?;
    Ok(Exit::Done)
}

/// Whether a running gateway takes up what was written; people are told why not.
fn takes_force(document: &Document, world: &mut Surroundings<'_>) -> anyhow::Result<bool> {
    let path = document.path();
    let examined = Examined::of(path, world.variables);
    if examined.errors().next().is_none() {
        return Ok(true);
    }
    // The gateway has an environment of its own, and may well have what is missing here.
    let is_certain = examined.errors().any(|lint| lint.code != "unset-variable");
    let what = match is_certain {
        true => "a running gateway keeps the old configuration",
        false => "whether a running gateway takes it up cannot be told from here",
    };
    writeln!(world.err, "{}: written, but {what}:", path.display())?;
    for lint in examined.errors() {
        writeln!(world.err, "{}", located(path, lint))?;
    }
    Ok(!is_certain)
}
