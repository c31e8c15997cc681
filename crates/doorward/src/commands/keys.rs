//! `doorward keys`: who holds a key to this gateway.
//!
//! Keys are kept in the configuration file, as hashes. Creating and revoking edits
//! the text of the file and leaves everything else in it as it is.

use std::path::Path;
use std::time::Duration;

use clap::Subcommand;
use doorward_identity::new_key;
use doorward_model::json::quoted;
use doorward_model::{Secret, ServerId, Timestamp};
use serde::Serialize;
use serde_json::json;
use strsim::jaro_winkler;

use super::audit::duration;
use super::edit::{Document, NewKey};
use super::layout::pad;
use super::{Exit, Surroundings, load, locate, located};
use crate::config::Config;
use crate::config::auth::Key;
use crate::printable::printable;
use crate::runtime::examine::Examined;

/// Characters of a key that are kept to recognise it by.
const PREFIX: usize = 9;

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
    #[command(
        after_help = "Examples:\n  doorward keys create --name \"My Agent\" --agent agent-1 --role reader --role writer\n  \
                            doorward keys create \"My Agent\" agent-1 reader,writer\n  \
                            doorward keys create --name Ana --person ana@corp.example --servers github --expires 2027-01-01"
    )]
    Create(CreateArguments),
    /// Renew a key: another text, shown once, for the same id, owner and rights
    #[command(after_help = "Examples:\n  doorward keys rotate key-1700000000000\n  \
                            doorward keys rotate key-1700000000000 --grace 7d")]
    Rotate(RotateArguments),
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
    /// Its name for people; the same as --name
    #[arg(value_name = "NAME", conflicts_with = "name")]
    first: Option<String>,
    /// The program it belongs to; the same as --agent
    #[arg(value_name = "AGENT", conflicts_with = "agent")]
    second: Option<String>,
    /// Roles it carries, separated by commas; the same as --role
    #[arg(value_name = "ROLES", value_delimiter = ',', conflicts_with = "role")]
    third: Vec<String>,
    /// Its name for people [default: New Key]
    #[arg(long)]
    name: Option<String>,
    /// The program it belongs to [default: default, unless a person is named]
    #[arg(long, alias = "consumer")]
    agent: Option<String>,
    /// A role it carries; repeat it, or separate several by commas [default: reader]
    #[arg(long, alias = "roles", value_delimiter = ',')]
    role: Vec<String>,
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

/// Arguments of `doorward keys rotate`.
#[derive(Debug, clap::Args)]
pub struct RotateArguments {
    /// Its id, as `keys list` shows it
    id: String,
    /// How long the text before it opens the gateway as well: 15m, 24h, 7d [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl CreateArguments {
    fn name(&self) -> &str {
        self.name.as_deref().or(self.first.as_deref()).unwrap_or("New Key")
    }

    fn agent(&self) -> Option<&str> {
        let named = self.agent.as_deref().or(self.second.as_deref());
        named.or(self.person.is_none().then_some("default"))
    }

    fn roles(&self) -> Vec<String> {
        match (self.role.as_slice(), self.third.as_slice()) {
            ([], []) => vec!["reader".to_owned()],
            ([], given) | (given, _) => given.to_vec(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: &'a str,
    prefix: Option<&'a str>,
    name: &'a str,
    consumer_id: Option<&'a str>,
    person: Option<&'a str>,
    roles: &'a [String],
    servers: Option<Vec<&'a str>>,
    scopes: &'a [String],
    rate_limit: Option<u32>,
    expires_at: Option<Timestamp>,
    enabled: bool,
    revoked_at: Option<&'a str>,
    revoked_by: Option<&'a str>,
    previous_until: Option<Timestamp>,
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
        Command::Rotate(arguments) => rotate(arguments, named, world),
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
        prefix: key.prefix.as_deref(),
        name: &key.name,
        consumer_id: settings.agent.as_deref(),
        person: settings.person.as_ref().map(|person| person.id.as_str()),
        roles: &settings.roles,
        servers: settings.servers.as_ref().map(|ids| ids.iter().map(|id| id.as_str()).collect()),
        scopes: &settings.scopes,
        rate_limit: settings.rate_limit,
        expires_at: settings.expires_at,
        enabled: settings.enabled,
        revoked_at: key.revoked_at.as_deref(),
        revoked_by: key.revoked_by.as_deref(),
        previous_until: settings.previous.map(|(_, until)| until),
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
    let (consumer, roles) = (arguments.agent(), arguments.roles());
    document.add_key(&entry(arguments, &id, prefix(&key), &hash))?;
    document.save()?;
    // The key is shown all the same: nobody else has it, and it opens the gateway later.
    let exit = if takes_force(&document, world)? { Exit::Done } else { Exit::No };
    warn_of_unknown_roles(&roles, document.path(), world)?;
    if arguments.json {
        let created = Created {
            id: &id,
            key: key.expose(),
            name: arguments.name(),
            consumer_id: consumer,
            roles: &roles,
        };
        writeln!(world.out, "{}", serde_json::to_string_pretty(&created)?)?;
        return Ok(exit);
    }
    let holder = consumer.or(arguments.person.as_deref()).unwrap_or_default();
    writeln!(world.out, "\nAPI Key Created:")?;
    writeln!(world.out, "  ID:       {id}")?;
    writeln!(world.out, "  Key:      {}", key.expose())?;
    writeln!(world.out, "  Consumer: {holder}")?;
    writeln!(world.out, "  Roles:    {}", roles.join(", "))?;
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
fn entry(arguments: &CreateArguments, id: &str, prefix: &str, hash: &str) -> NewKey {
    let list = |texts: &[String]| {
        format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
    };
    let mut fields = vec![
        ("id", quoted(id)),
        ("key", quoted(&format!("sha256:{hash}"))),
        ("prefix", quoted(prefix)),
        ("name", quoted(arguments.name())),
    ];
    fields.extend(arguments.agent().map(|consumer| ("consumerId", quoted(consumer))));
    fields.extend(arguments.person.as_deref().map(|person| ("person", quoted(person))));
    fields.push(("roles", list(&arguments.roles())));
    fields.extend(arguments.servers.as_deref().map(|servers| ("servers", list(servers))));
    if !arguments.scopes.is_empty() {
        fields.push(("scopes", list(&arguments.scopes)));
    }
    fields.extend(arguments.expires.as_deref().map(|time| ("expiresAt", quoted(time))));
    fields.push(("enabled", "true".to_owned()));
    NewKey { fields }
}

/// Enough of a key to recognise it by, and far too little to guess it.
fn prefix(key: &Secret) -> &str {
    key.expose().get(..PREFIX).unwrap_or_default()
}

/// Names the roles that no policy speaks of: a misspelt one allows nothing, without a word.
fn warn_of_unknown_roles(roles: &[String], path: &Path, world: &mut Surroundings<'_>) -> anyhow::Result<()> {
    // What is wrong with the file was said already.
    let Ok(loaded) = Config::load(path, world.variables) else { return Ok(()) };
    let known: Vec<_> = loaded.config.policies.iter().flat_map(|policy| &policy.roles).collect();
    if known.iter().any(|role| *role == "*") {
        return Ok(());
    }
    for role in roles.iter().filter(|role| !known.contains(role)) {
        let near = known.iter().map(|known| (jaro_winkler(known, role), known));
        let near = near.max_by(|(one, _), (other, _)| one.total_cmp(other)).filter(|(near, _)| *near > 0.7);
        let hint = near.map(|(_, near)| format!("; did you mean `{near}`?")).unwrap_or_default();
        let role = printable(role);
        writeln!(
            world.err,
            "warning: no role policy names the role `{role}`, so it allows nothing by itself{hint}"
        )?;
    }
    Ok(())
}

fn rotate(
    arguments: &RotateArguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let id = &arguments.id;
    let mut document = Document::open(&locate(named, world)?)?;
    if !document.has_key(id) {
        writeln!(world.out, "Key {id} not found.")?;
        return Ok(Exit::No);
    }
    let (key, hash) = new_key(world.random);
    let until = arguments.grace.map(|grace| world.clock.now().plus(grace));
    document.rotate_key(id, &format!("sha256:{hash}"), prefix(&key), until)?;
    document.save()?;
    // As above: nobody else has it.
    let exit = if takes_force(&document, world)? { Exit::Done } else { Exit::No };
    if arguments.json {
        let answer = json!({"id": id, "key": key.expose(), "previousUntil": until});
        writeln!(world.out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(exit);
    }
    writeln!(world.out, "\nAPI Key Renewed:")?;
    writeln!(world.out, "  ID:       {id}")?;
    writeln!(world.out, "  Key:      {}", key.expose())?;
    match until {
        Some(until) => writeln!(world.out, "  The key before it works until {until}.")?,
        None => writeln!(world.out, "  The key before it works no longer.")?,
    }
    writeln!(world.out, "\n⚠️  Save the key now — it won't be shown again.")?;
    Ok(exit)
}

fn revoke(id: &str, named: Option<&Path>, world: &mut Surroundings<'_>) -> anyhow::Result<Exit> {
    let mut document = Document::open(&locate(named, world)?)?;
    if !document.has_key(id) {
        writeln!(world.out, "Key {id} not found.")?;
        return Ok(Exit::No);
    }
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| (world.variables)(name));
    document.revoke_key(id, world.clock.now(), user.as_deref())?;
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
