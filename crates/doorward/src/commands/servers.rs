//! `doorward servers`: what is registered. Places are shown as the file has them, because what
//! `${VAR}` was filled with may be a secret.

use std::path::Path;

use serde::Serialize;

use super::layout::pad;
use super::{Exit, Surroundings, load};
use crate::config::servers::{Credential, Server, Transport};
use crate::printable::printable;

/// What to do with servers.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List registered servers
    #[command(after_help = "Examples:\n  doorward servers list\n  doorward servers list --json")]
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
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
}

pub(super) fn run(
    command: &Command,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Command::List { json } = command;
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let servers = &loaded.config.servers;
    if *json {
        let listed: Vec<_> = servers.iter().map(listed).collect();
        writeln!(world.out, "{}", serde_json::to_string_pretty(&listed)?)?;
        return Ok(Exit::Done);
    }
    writeln!(world.out, "\n{} {} {} Command", pad("ID", 20), pad("Name", 30), pad("Enabled", 10))?;
    writeln!(world.out, "{}", "-".repeat(90))?;
    for server in servers {
        let (id, name) = (pad(server.id.as_str(), 20), pad(&server.name, 30));
        let enabled = pad(if server.enabled { "true" } else { "false" }, 10);
        writeln!(world.out, "{id} {name} {enabled} {}", printable(&place(server)))?;
    }
    Ok(Exit::Done)
}

fn listed(server: &Server) -> Listed<'_> {
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
