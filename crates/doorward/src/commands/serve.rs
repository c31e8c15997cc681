//! `doorward serve`: the gateway itself.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use doorward_gateway::Surface;
use doorward_gateway::door::serve_stdio;
use doorward_identity::Presented;
use doorward_model::{Secret, ServerId};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Surroundings, load};
use crate::logging::{self, Format};
use crate::runtime::{self, Surroundings as World};

const EXAMPLES: &str = "\
Examples:
  doorward serve
  doorward serve --port 3200 --log-format json
  MCP_GATEWAY_API_KEY=gw_… doorward serve --stdio
  MCP_GATEWAY_API_KEY=gw_… doorward serve --stdio --surface github

The log goes to standard error; DOORWARD_LOG sets its level (`debug`, `doorward::upstream=trace`).
A changed configuration is put in force within two seconds. SIGTERM and Ctrl-C let calls finish.";

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
    /// How log lines are written
    #[arg(long, value_enum, default_value_t)]
    log_format: Format,
}

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    logging::start(arguments.log_format, (world.variables)("DOORWARD_LOG").as_deref())?;
    // Loaded here once, so that people see what is wrong on their terminal.
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let surroundings = World { port: arguments.port, ..World::system() };
    if arguments.stdio {
        let key = (world.variables)("MCP_GATEWAY_API_KEY").map(Secret::new);
        let surface = surface(&arguments.surface)?;
        runtime.block_on(stdio(&loaded.path, surroundings, surface, key))?;
    } else {
        runtime.block_on(http(&loaded.path, surroundings))?;
    }
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    Ok(Exit::Done)
}

fn surface(name: &str) -> anyhow::Result<Surface> {
    Ok(match name {
        "aggregate" => Surface::Aggregate,
        "meta" => Surface::Gateway,
        id => Surface::Server(
            ServerId::try_from(id).context("--surface wants aggregate, meta or a server's id")?,
        ),
    })
}

async fn http(path: &Path, surroundings: World) -> anyhow::Result<()> {
    let running = runtime::start(path, surroundings).await?;
    let scheme = if running.loaded().config.listen.tls.is_some() { "https" } else { "http" };
    let servers = running.loaded().config.servers.iter().filter(|server| server.enabled).count();
    tracing::info!(target: "doorward::serve", servers, "listening on {}://{}/mcp", scheme, running.address());
    told_to_stop().await?;
    tracing::info!(target: "doorward::serve", "stopping; calls under way may finish");
    running.stop().await;
    Ok(())
}

async fn stdio(
    path: &Path,
    surroundings: World,
    surface: Surface,
    key: Option<Secret>,
) -> anyhow::Result<()> {
    let assembled = runtime::assemble(path, surroundings)?;
    let authenticator = Arc::clone(&assembled.gateway.snapshot().rulebook.authenticator);
    let bearer = key.as_ref().map(Secret::expose);
    let Ok(caller) = authenticator.identify(Presented { bearer }).await else {
        assembled.stop().await;
        bail!("set MCP_GATEWAY_API_KEY to a key of this gateway; `doorward keys create` makes one");
    };
    let gateway = Arc::clone(&assembled.gateway);
    let served = serve_stdio(gateway, caller, surface, tokio::io::stdin(), tokio::io::stdout());
    let result = tokio::select! {
        result = served => result,
        stopped = told_to_stop() => stopped,
    };
    assembled.stop().await;
    Ok(result?)
}

/// Completes on SIGTERM or Ctrl-C.
async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
