//! `doorward serve`: the gateway itself.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use doorward_gateway::Surface;
use doorward_gateway::door::{Until, serve_stdio};
use doorward_ledger::LedgerError;
use doorward_model::Secret;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Surroundings, load};
use crate::config::Loaded;
use crate::forward::{self, Link};
use crate::logging::{self, Format};
use crate::runtime::{self, Assembled, SocketDoor, Surroundings as World};

const EXAMPLES: &str = "\
Examples:
  doorward serve
  doorward serve --port 3200 --log-format json
  MCP_GATEWAY_API_KEY=gw_… doorward serve --stdio
  MCP_GATEWAY_API_KEY=gw_… doorward serve --stdio --surface github
  doorward serve --new-log 'disk of 2 December lost, restored without records'

The log goes to standard error; DOORWARD_LOG sets its level (`debug`, `doorward::upstream=trace`).
A changed configuration is put in force within two seconds. SIGTERM and Ctrl-C let calls finish.
Further `serve --stdio` of the same configuration are served by the first gateway.";

/// How long a gateway that holds the log, and cannot be reached, is waited for.
const HOLDER_TIME: Duration = Duration::from_secs(10);
/// How often it is looked for.
const FIND_PACE: Duration = Duration::from_millis(20);
/// How often the log is tried again meanwhile; it means compiling all policies.
const ASSEMBLE_PACE: Duration = Duration::from_secs(1);

/// How long a client that another gateway serves may wait for its last answers.
const DRAIN: Duration = Duration::from_secs(10);

/// Arguments of `doorward serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Serve one client over standard input and output instead of listening
    #[arg(long)]
    stdio: bool,
    /// What the stdio client sees: aggregate, meta, or a server's id
    #[arg(long, default_value = "aggregate", requires = "stdio")]
    surface: String,
    /// Port, in place of the configured one
    #[arg(long, conflicts_with = "stdio")]
    port: Option<u16>,
    /// Begin a new log although the old one does not hold: the old one is set aside, and the new
    /// one begins with this reason
    #[arg(long, value_name = "REASON", value_parser = NonEmptyStringValueParser::new())]
    new_log: Option<String>,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t)]
    log_format: Format,
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let levels = logging::start(arguments.log_format, (world.variables)("DOORWARD_LOG").as_deref())?;
    // Loaded here once, so that people see what is wrong on their terminal.
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let new_log = arguments.new_log.clone();
    let surroundings = World { port: arguments.port, new_log, levels, ..World::system() };
    let ended = if arguments.stdio {
        let key = (world.variables)("MCP_GATEWAY_API_KEY").map(Secret::new);
        let surface = Surface::named(&arguments.surface).context(forward::NO_SURFACE)?;
        let surroundings = World { command: "doorward serve --stdio", ..surroundings };
        runtime.block_on(stdio(&loaded, surroundings, surface, key))
    } else {
        runtime.block_on(http(&loaded.path, surroundings))
    };
    // A blocked read of standard input must not keep the process, however it ended.
    runtime.shutdown_background();
    ended?;
    Ok(Exit::Done)
}

async fn http(path: &Path, surroundings: World) -> anyhow::Result<()> {
    // First of all: whoever finds it listening may tell it to stop.
    let stopped = told_to_stop()?;
    let running = runtime::start(path, surroundings).await?;
    let scheme = if running.loaded().config.listen.tls.is_some() { "https" } else { "http" };
    let servers = running.loaded().config.servers.iter().filter(|server| server.enabled).count();
    tracing::info!(target: "doorward::serve", servers, "listening on {}://{}/mcp", scheme, running.address());
    stopped.await;
    tracing::info!(target: "doorward::serve", "stopping; calls under way may finish");
    running.stop().await;
    Ok(())
}

/// Serves the client at standard input and output: as the gateway, or through the one
/// that holds the log already.
async fn stdio(
    loaded: &Loaded,
    surroundings: World,
    surface: Surface,
    key: Option<Secret>,
) -> anyhow::Result<()> {
    let mut stopped = std::pin::pin!(told_to_stop()?);
    let held = tokio::select! {
        held = hold_or_find(loaded, surroundings, &surface, key.as_ref()) => held?,
        () = &mut stopped => return Ok(()),
    };
    let link = match held {
        Held::Here(assembled) => return hold(*assembled, surface, key, stopped).await,
        Held::There(link) => link,
    };
    if link.in_force.digest != loaded.digest {
        let (ours, theirs) = (runtime::absolute(&loaded.path), &link.in_force.config);
        tracing::warn!(target: "doorward::serve",
            "{} says something else than what {} has in force from {theirs}; the latter decides",
            ours.display(), link.holder);
    }
    tracing::info!(target: "doorward::serve", "the log is in use; {} serves this client", link.holder);
    let input = Until::new(tokio::io::stdin(), told_to_stop()?);
    let cut_off = async {
        stopped.await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        carried = link.carry(input, tokio::io::stdout()) => carried,
        () = cut_off => Ok(()),
    }
}

/// Who holds the log.
enum Held {
    Here(Box<Assembled>),
    There(Link),
}

/// Opens the log, or finds the gateway that has it open. One that is just starting or
/// leaving is waited for.
async fn hold_or_find(
    loaded: &Loaded,
    surroundings: World,
    surface: &Surface,
    key: Option<&Secret>,
) -> anyhow::Result<Held> {
    let folder = runtime::socket_folder(&loaded.config);
    let deadline = tokio::time::Instant::now() + HOLDER_TIME;
    loop {
        // First of all, because it costs nothing.
        if let Ok(link) = forward::find(folder, surface, key).await? {
            return Ok(Held::There(link));
        }
        let locked = match runtime::assemble(&loaded.path, surroundings.clone()) {
            Ok(assembled) => return Ok(Held::Here(Box::new(assembled))),
            Err(error) if matches!(error.downcast_ref(), Some(LedgerError::Locked { .. })) => error,
            Err(error) => return Err(error),
        };
        let again = tokio::time::Instant::now() + ASSEMBLE_PACE;
        while tokio::time::Instant::now() < again {
            match forward::find(folder, surface, key).await? {
                Ok(link) => return Ok(Held::There(link)),
                Err(error) if tokio::time::Instant::now() > deadline => {
                    bail!("{locked:#} (its socket in {} cannot be used: {error})", folder.display());
                }
                Err(_) => tokio::time::sleep(FIND_PACE).await,
            }
        }
    }
}

/// Serves as the gateway, and goes when neither its own client nor others need it.
async fn hold(
    assembled: Assembled,
    surface: Surface,
    key: Option<Secret>,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    if !assembled.gateway.admits(key.as_ref()).await {
        assembled.stop().await;
        bail!(forward::NO_KEY);
    }
    let gateway = Arc::clone(&assembled.gateway);
    let (watching, sweeping) = (assembled.watch(), tokio::spawn(Arc::clone(&gateway).keep_sweeping()));
    let mut socket = assembled.open_socket();
    let drain = gateway.drain();
    let input = Until::new(tokio::io::stdin(), told_to_stop()?);
    let mut served = std::pin::pin!(serve_stdio(gateway, key, surface, input, tokio::io::stdout()));
    let ended = tokio::select! {
        result = &mut served => Some(result),
        () = &mut stopped => None,
    };
    let result = match ended {
        Some(result) => {
            if let Some(socket) = &mut socket {
                tokio::select! {
                    () = socket.unused() => {}
                    () = &mut stopped => {}
                }
            }
            close(socket).await;
            result
        }
        None => {
            tracing::info!(target: "doorward::serve", "stopping; calls under way may finish");
            // Its input is at its end by now, so that it has only to answer.
            let (served, ()) = tokio::join!(tokio::time::timeout(drain, served), close(socket));
            served.unwrap_or_else(|_| {
                tracing::warn!(target: "doorward::serve", "some calls did not finish in time and were cut off");
                Ok(())
            })
        }
    };
    watching.abort();
    sweeping.abort();
    assembled.stop().await;
    Ok(result?)
}

async fn close(socket: Option<SocketDoor>) {
    if let Some(socket) = socket {
        socket.close().await;
    }
}

/// Completes on SIGTERM or Ctrl-C, also where that came before it was waited for.
fn told_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
