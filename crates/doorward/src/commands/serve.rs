//! `doorward serve`: the gateway itself.

use std::path::Path;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use doorward_gateway::Surface;
use doorward_gateway::door::{Until, serve_stdio};
use doorward_ledger::LedgerError;
use doorward_model::Secret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::{Exit, Surroundings, load};
use crate::config::listen::is_loopback;
use crate::config::{BASE_DIR, COMPAT, Listen, Loaded};
use crate::forward::{self, Link};
use crate::logging::{self, Format};
use crate::runtime::{self, Assembled, Running, SocketDoor, Surroundings as World};

const EXAMPLES: &str = "\
Examples:
  doorward serve
  doorward serve --port 3200 --log-format json
  doorward serve --http 127.0.0.1:3200
  MCP_GATEWAY_API_KEY=gw_… doorward serve --stdio
  MCP_GATEWAY_API_KEY=gw_… doorward serve --stdio --surface github
  doorward serve --new-log 'disk of 2 December lost, restored without records'
  doorward serve --stdio --surface meta --http

The log goes to standard error; DOORWARD_LOG sets its level (`debug`, `doorward::upstream=trace`).
A changed configuration is put in force within two seconds; SIGHUP has it read at once, and the log say what came of
it. SIGTERM and Ctrl-C let calls finish. As process 1 of a container it waits for whatever its servers leave behind.
Further `serve --stdio` of the same configuration are served by the first gateway. On the surface `meta` a client without
MCP_GATEWAY_API_KEY presents a key with each call, as `apiKey`. With `--http`, a gateway goes on when its stdio client leaves.";

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
    /// Listen for HTTP, beside the stdio client with --stdio [default: as configured]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<Option<Address>>,
    /// Port, in place of the configured one
    #[arg(long, conflicts_with_all = ["stdio", "http"])]
    port: Option<u16>,
    /// Begin a new log although the old one does not hold: the old one is set aside, and the new
    /// one begins with this reason
    #[arg(long, value_name = "REASON", value_parser = NonEmptyStringValueParser::new())]
    new_log: Option<String>,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t)]
    log_format: Format,
}

/// Where to listen: a port, a host, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    host: Option<String>,
    port: Option<u16>,
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "write it as PORT, HOST:PORT or [ADDRESS]:PORT";
        if let Ok(port) = text.parse() {
            return Ok(Self { host: None, port: Some(port) });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => {
                (host, Some(port.parse().map_err(|_| WRONG)?))
            }
            _ => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(WRONG);
        }
        Ok(Self { host: Some(host.to_owned()), port })
    }
}

impl Address {
    /// Whether it is open to no more than the configuration says, which was checked for that.
    fn is_within(&self, listen: &Listen) -> bool {
        self.host.as_ref().is_none_or(|host| *host == listen.host || is_loopback(host))
    }
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
    let address = arguments.http.iter().flatten().next();
    if let Some(address) = address.filter(|address| !address.is_within(&loaded.config.listen)) {
        let host = address.host.as_deref().unwrap_or_default();
        writeln!(
            world.err,
            "`{host}` can be reached by others: set `host: {host}` in the configuration, with `tls` or `trustedProxies`"
        )?;
        return Ok(Exit::Usage);
    }
    let host = address.and_then(|address| address.host.clone());
    let port = arguments.port.or(address.and_then(|address| address.port));
    let new_log = arguments.new_log.clone();
    let surroundings = World { host, port, new_log, levels, ..World::system() };
    // What the command line says goes for every reload as well.
    let given = [COMPAT, BASE_DIR].map(|name| (name, (world.variables)(name)));
    let system = Arc::clone(&surroundings.variables);
    let variables = Arc::new(move |name: &str| match given.iter().find(|(known, _)| *known == name) {
        Some((_, value)) => value.clone(),
        None => system(name),
    });
    let surroundings = World { variables, ..surroundings };
    let ended = if arguments.stdio {
        let key = (world.variables)("MCP_GATEWAY_API_KEY").map(Secret::new);
        let surface = Surface::named(&arguments.surface).context(forward::NO_SURFACE)?;
        let surroundings = World { command: "doorward serve --stdio", ..surroundings };
        let client = Client { surface, key, listens: arguments.http.is_some() };
        runtime.block_on(stdio(&loaded, surroundings, client))
    } else {
        runtime.block_on(http(&loaded.path, surroundings))
    };
    // A blocked read of standard input must not keep the process, however it ended.
    runtime.shutdown_background();
    ended?;
    Ok(Exit::Done)
}

async fn http(path: &Path, surroundings: World) -> anyhow::Result<()> {
    // First of all: whoever finds it listening may tell it to stop, or to reload.
    let stopped = told_to_stop()?;
    let hang_up = signal(SignalKind::hangup())?;
    let running = runtime::start(path, surroundings).await?;
    let reloading = tokio::spawn(reload_on(hang_up, running.on_request()));
    tell_where(&running);
    stopped.await;
    tracing::info!(target: "doorward::serve", "stopping; calls under way may finish");
    running.stop().await;
    reloading.abort();
    Ok(())
}

/// Serves the client at standard input and output: as the gateway, or through the one
/// that holds the log already.
async fn stdio(loaded: &Loaded, surroundings: World, client: Client) -> anyhow::Result<()> {
    let mut stopped = std::pin::pin!(told_to_stop()?);
    let held = tokio::select! {
        held = hold_or_find(loaded, surroundings, &client.surface, client.key.as_ref()) => held?,
        () = &mut stopped => return Ok(()),
    };
    let link = match held {
        Held::Here(assembled) if client.listens => return hold_and_listen(*assembled, client, stopped).await,
        Held::Here(assembled) => return hold(*assembled, client, stopped).await,
        Held::There(link) if client.listens => {
            bail!("the log is in use: {} serves HTTP or may do so; leave out `--http`", link.holder)
        }
        Held::There(link) => link,
    };
    if link.in_force.digest != loaded.digest {
        let (ours, theirs) = (runtime::absolute(&loaded.path), &link.in_force.config);
        tracing::warn!(target: "doorward::serve",
            "{} says something else than what {} has in force from {theirs}; the latter decides",
            ours.display(), link.holder);
    }
    tracing::info!(target: "doorward::serve", "the log is in use; {} serves this client", link.holder);
    // It has nothing to reload, and its client is not to be cut off.
    let _hang_up = signal(SignalKind::hangup())?;
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

/// The client at standard input and output.
struct Client {
    surface: Surface,
    key: Option<Secret>,
    /// Whether HTTP is served beside it.
    listens: bool,
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
    client: Client,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    let Client { surface, key, .. } = client;
    if !assembled.gateway.admits(key.as_ref(), &surface).await {
        assembled.stop().await;
        bail!(forward::NO_KEY);
    }
    let gateway = Arc::clone(&assembled.gateway);
    let (watching, sweeping) = (assembled.watch(), tokio::spawn(Arc::clone(&gateway).keep_sweeping()));
    let reloading = tokio::spawn(reload_on(signal(SignalKind::hangup())?, assembled.on_request()));
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
    reloading.abort();
    assembled.stop().await;
    Ok(result?)
}

/// Serves as the gateway, over HTTP as well, until it is told to stop: who started it so may have
/// given it no input at all.
async fn hold_and_listen(
    assembled: Assembled,
    client: Client,
    mut stopped: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    let Client { surface, key, .. } = client;
    let hang_up = signal(SignalKind::hangup())?;
    let running = assembled.listen().await?;
    let reloading = tokio::spawn(reload_on(hang_up, running.on_request()));
    tell_where(&running);
    let gateway = Arc::clone(running.gateway());
    if !gateway.admits(key.as_ref(), &surface).await {
        running.stop().await;
        bail!(forward::NO_KEY);
    }
    let drain = gateway.drain();
    let input = Until::new(tokio::io::stdin(), told_to_stop()?);
    let mut served = std::pin::pin!(serve_stdio(gateway, key, surface, input, tokio::io::stdout()));
    tokio::select! {
        result = &mut served => {
            if let Err(error) = result {
                tracing::warn!(target: "doorward::serve", %error, "the stdio client is gone");
            }
            stopped.await;
        }
        () = &mut stopped => {
            // Its input is at its end by now, so that it has only to answer.
            if tokio::time::timeout(drain, served).await.is_err() {
                tracing::warn!(target: "doorward::serve", "some calls did not finish in time and were cut off");
            }
        }
    }
    tracing::info!(target: "doorward::serve", "stopping; calls under way may finish");
    running.stop().await;
    reloading.abort();
    Ok(())
}

fn tell_where(running: &Running) {
    let config = &running.loaded().config;
    let scheme = if config.listen.tls.is_some() { "https" } else { "http" };
    let servers = config.servers.iter().filter(|server| server.enabled).count();
    tracing::info!(target: "doorward::serve", servers, "listening on {}://{}/mcp", scheme, running.address());
}

async fn close(socket: Option<SocketDoor>) {
    if let Some(socket) = socket {
        socket.close().await;
    }
}

/// Has the configuration read again whenever SIGHUP says so.
async fn reload_on(mut hang_up: Signal, asked: Arc<Notify>) {
    while hang_up.recv().await.is_some() {
        tracing::info!(target: "doorward::serve", "SIGHUP: the configuration is read again");
        asked.notify_one();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_port_a_host_or_both() {
        let address = |host: Option<&str>, port| Address { host: host.map(str::to_owned), port };
        let cases = [
            ("3200", Some(address(None, Some(3200)))),
            ("127.0.0.1:3200", Some(address(Some("127.0.0.1"), Some(3200)))),
            ("localhost", Some(address(Some("localhost"), None))),
            ("[::1]:3200", Some(address(Some("::1"), Some(3200)))),
            ("::1", Some(address(Some("::1"), None))),
            ("[::1]", Some(address(Some("::1"), None))),
            ("127.0.0.1:99999", None),
            (":3200", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Address>().ok(), expected, "{text}");
        }
    }
}
