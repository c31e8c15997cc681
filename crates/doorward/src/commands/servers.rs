//! `doorward servers`: what is registered, and how it is doing where a gateway runs. Places are
//! shown as the file has them, because what `${VAR}` was filled with may be a secret.

mod look;

use std::path::Path;

use doorward_gateway::door::{Doing, Doings, Order, read_doings};
use serde::Serialize;

use super::layout::pad;
use super::{Exit, Surroundings, load, socket};
use crate::config::Config;
use crate::config::servers::{Credential, Server, Transport};
use crate::printable::printable;
use crate::runtime;

/// What to do with servers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List registered servers, with state and number of tools where a gateway runs
    #[command(after_help = "Examples:\n  doorward servers list\n  doorward servers list --json")]
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how one server is doing, what is wrong with it, and what its child printed last
    #[command(after_help = "Example:\n  doorward servers show github")]
    Show(look::Arguments),
    /// List the tools that a server offers, as clients are shown them
    #[command(
        after_help = "Examples:\n  doorward servers tools github\n  doorward servers tools github --json"
    )]
    Tools(look::Arguments),
    /// List the resources that a server offers, and its resource templates
    #[command(after_help = "Example:\n  doorward servers resources github")]
    Resources(look::Arguments),
    /// List the prompts that a server offers, with their arguments
    #[command(after_help = "Example:\n  doorward servers prompts github")]
    Prompts(look::Arguments),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    id: &'a str,
    name: &'a str,
    enabled: bool,
    transport: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    credential_kind: &'a str,
    has_credential: bool,
    tags: &'a [String],
    missing_variables: &'a [String],
    /// `None` where no gateway runs.
    state: Option<&'a str>,
    tools: Option<u64>,
}

pub(super) fn run(
    command: &Command,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let json = match command {
        Command::List { json } => json,
        Command::Show(arguments) => return look::run(look::What::All, arguments, named, world),
        Command::Tools(arguments) => return look::run(look::What::Tools, arguments, named, world),
        Command::Resources(arguments) => return look::run(look::What::Resources, arguments, named, world),
        Command::Prompts(arguments) => return look::run(look::What::Prompts, arguments, named, world),
    };
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let servers = &loaded.config.servers;
    let doings = doings(&loaded.config, world)?;
    let doing = |server: &Server| doings.get(server.id.as_str());
    if *json {
        let listed: Vec<_> = servers.iter().map(|server| listed(server, doing(server))).collect();
        writeln!(world.out, "{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(Exit::Done);
    }
    writeln!(world.out, "\n{} {} {} Command", pad("ID", 20), pad("Name", 30), pad("Enabled", 10))?;
    writeln!(world.out, "{}", "-".repeat(90))?;
    for server in servers {
        let (id, name) = (pad(server.id.as_str(), 20), pad(&server.name, 30));
        let enabled = pad(if server.enabled { "true" } else { "false" }, 10);
        let doing = doing(server).map(|doing| format!(" | {}", shown(server, doing))).unwrap_or_default();
        writeln!(world.out, "{id} {name} {enabled} {}{doing}", printable(&place(server)))?;
    }
    Ok(Exit::Done)
}

/// How the servers are doing, as the running gateway says; nothing where none runs.
fn doings(config: &Config, world: &mut Surroundings<'_>) -> anyhow::Result<Doings> {
    let asked = socket::tell(runtime::socket_folder(config), &Order::Servers);
    match asked.ok().and_then(|line| read_doings(line).ok()) {
        Some(doings) => Ok(doings),
        None => {
            writeln!(
                world.err,
                "no gateway runs: this is the configuration, without states and numbers of tools"
            )?;
            Ok(Doings::new())
        }
    }
}

/// `connected, 12 tools`.
fn shown(server: &Server, doing: &Doing) -> String {
    let state = match &*server.missing {
        [] => printable(&doing.state).into_owned(),
        missing => format!("{} is not set", missing.join(", ")),
    };
    match doing.tools {
        Some(1) => format!("{state}, 1 tool"),
        Some(count) => format!("{state}, {count} tools"),
        None => state,
    }
}

fn listed<'a>(server: &'a Server, doing: Option<&'a Doing>) -> Listed<'a> {
    let written = &server.written;
    let (command, args, url) = match &server.transport {
        Transport::Stdio { .. } => (written.command.as_deref(), Some(written.args.as_slice()), None),
        Transport::Http { .. } | Transport::Sse { .. } => {
            (None, None, written.url.as_deref().map(without_query))
        }
    };
    Listed {
        id: server.id.as_str(),
        name: &server.name,
        enabled: server.enabled,
        transport: server.transport.as_str(),
        command,
        args,
        url,
        credential_kind: server.credential.kind(),
        has_credential: !matches!(server.credential, Credential::None),
        tags: &server.tags,
        missing_variables: &server.missing,
        state: doing.map(|doing| doing.state.as_str()),
        tools: doing.and_then(|doing| doing.tools),
    }
}

fn place(server: &Server) -> String {
    let written = &server.written;
    match &server.transport {
        Transport::Stdio { .. } => {
            let command = written.command.as_deref().unwrap_or_default();
            format!("{command} {}", written.args.join(" "))
        }
        Transport::Http { .. } | Transport::Sse { .. } => {
            without_query(written.url.as_deref().unwrap_or_default()).to_owned()
        }
    }
}

/// Some services want their key in the query; it is nobody's to see.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(address, _)| address)
}
