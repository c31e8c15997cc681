//! A running gateway: configuration in, listening socket out, and reload on change.

pub(crate) mod examine;
pub(crate) mod fetch;
mod fixed;
mod passing;
mod rulebook;
mod socket;
pub(crate) mod tls;
pub mod trial;
mod unmatched;
mod watch;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use doorward_gateway::door::{self, Listener};
use doorward_gateway::{Gateway, Parts, Rulebook, SessionLimits, Settings};
use doorward_ledger::{EventRecord, Ledger};
use doorward_model::{Clock, Counts, Endings, Random, Seal, ServerId, Shared};
use doorward_store::{EndedSessions, Memory, Redis, Tally};
use doorward_upstream::Upstreams;
use tokio::sync::{Notify, watch as signal};
use tokio::task::JoinHandle;

use crate::capacity::Capacity;
use crate::config::audit::{Capture, Durability, Refusals};
use crate::config::{Config, Lint, Loaded};
use crate::logging::Levels;
use crate::system::{SystemClock, SystemRandom};
use crate::telemetry::{self, Telemetry};
use fixed::Fixed;
use rulebook::Builder;
pub(crate) use rulebook::{compile, specs, usable};
pub use rulebook::{rego_source, role_policy};
pub use socket::{SocketDoor, absolute, socket_folder};
use watch::Taken;

/// Looks up an environment variable.
pub type Lookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The world that a gateway runs in.
#[derive(Clone)]
pub struct Surroundings {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// The environment.
    pub variables: Lookup,
    /// The environment that children may inherit from.
    pub environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    /// This very program, for trial compilations.
    pub program: PathBuf,
    /// A host to use in place of the configured one.
    pub host: Option<String>,
    /// A port to use in place of the configured one.
    pub port: Option<u16>,
    /// Why a new log is to be begun in place of one that does not hold.
    pub new_log: Option<String>,
    /// What was called for, as others who want the same log are told.
    pub command: &'static str,
    /// How much is logged about single servers.
    pub levels: Levels,
    /// What this process may use.
    pub capacity: Capacity,
}

impl Surroundings {
    /// The real clock, real chance, the real environment.
    #[allow(clippy::disallowed_methods, reason = "this is where the environment enters")]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            random: Arc::new(SystemRandom),
            variables: Arc::new(|name| std::env::var(name).ok()),
            environment: std::env::vars_os().collect(),
            program: std::env::current_exe().unwrap_or_else(|_| "doorward".into()),
            host: None,
            port: None,
            new_log: None,
            command: "doorward serve",
            levels: Levels::default(),
            capacity: Capacity::of_process(),
        }
    }
}

/// Reads a configuration, or says what is wrong with it.
fn load(path: &Path, surroundings: &Surroundings) -> anyhow::Result<Loaded> {
    Config::load(path, &|name| (surroundings.variables)(name)).map_err(|lints| {
        let errors: Vec<_> = lints.iter().filter(|lint| lint.is_error()).map(Lint::to_string).collect();
        anyhow::anyhow!("{}: {}", path.display(), errors.join("\n"))
    })
}

/// Opens the log of a configuration.
///
/// # Errors
/// When it is in use, damaged, or its folder cannot be written.
pub fn open_ledger(
    config: &Config,
    seal: Arc<dyn Seal>,
    surroundings: &Surroundings,
) -> anyhow::Result<Ledger> {
    let audit = &config.audit;
    passing::begin(audit)?;
    let mut options = doorward_ledger::Options::new(&audit.dir);
    options.keys.clone_from(&audit.log_keys);
    options.durability = match audit.durability {
        Durability::Strict => doorward_ledger::Durability::Strict,
        Durability::Durable => doorward_ledger::Durability::Durable,
        Durability::Relaxed => doorward_ledger::Durability::Relaxed,
    };
    options.origin.clone_from(&audit.origin);
    let kept = |capture: Capture| match capture {
        Capture::None => doorward_ledger::Capture::None,
        Capture::Keys => doorward_ledger::Capture::Keys,
        Capture::Preview => doorward_ledger::Capture::Preview,
        Capture::Full => doorward_ledger::Capture::Full,
    };
    let captures = fixed::captures(config);
    options.capture = kept(audit.capture);
    options.capture_by_server =
        captures.into_iter().map(|(server, capture)| (server, kept(capture))).collect();
    // Also where nothing is sealed for the log today: with another key, what was sealed before
    // could not be read.
    options.seal = Some(seal);
    options.payload_days = audit.payload_days;
    options.new_log.clone_from(&surroundings.new_log);
    options.checkpoint_entries = audit.checkpoint_entries;
    options.checkpoint_interval = audit.checkpoint_interval;
    options.anchors.clone_from(&audit.anchors);
    options.holder = format!("process {} (`{}`)", std::process::id(), surroundings.command);
    let (ledger, recovery) = Ledger::open(options, Arc::clone(&surroundings.clock), &*surroundings.random)?;
    if !recovery.closed.is_empty() || recovery.cut_bytes > 0 {
        let reason = format!(
            "{} open decisions closed as unknown, {} unfinished bytes set aside",
            recovery.closed.len(),
            recovery.cut_bytes
        );
        tracing::warn!(target: "doorward::ledger", "{reason}");
        event(&ledger, surroundings, "recovered", &reason, None);
    }
    Ok(ledger)
}

/// Keeps the policies before anything is decided by them, so that whatever is can be shown to
/// follow from them.
fn keep_bundle(ledger: &Ledger, rulebook: &Rulebook) -> anyhow::Result<()> {
    Ok(ledger.keep_bundle(rulebook.policy.digest(), rulebook.policy.bundle())?)
}

fn event(ledger: &Ledger, surroundings: &Surroundings, kind: &str, reason: &str, detail: Option<&str>) {
    let record =
        EventRecord { kind, time: surroundings.clock.now(), reason, detail, ..EventRecord::default() };
    if let Err(error) = ledger.event(&record) {
        tracing::error!(target: "doorward::ledger", %error, "an event could not be recorded");
    }
}

/// A gateway without a door: everything but the socket.
pub struct Assembled {
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// What was configured.
    pub loaded: Loaded,
    builder: Arc<Mutex<Builder>>,
    asked: Arc<Notify>,
    follower: JoinHandle<()>,
    namer: JoinHandle<()>,
    telemetry: Option<Telemetry>,
    tally: Option<Arc<Tally>>,
    surroundings: Surroundings,
}

/// Builds a gateway from a configuration file.
///
/// # Errors
/// When the configuration does not hold, the log cannot be opened or a variable of
/// OpenTelemetry cannot be understood.
pub fn assemble(config: &Path, surroundings: Surroundings) -> anyhow::Result<Assembled> {
    let loaded = load(config, &surroundings)?;
    for lint in &loaded.lints {
        tracing::warn!(target: "doorward::config", "{lint}");
    }
    let mut builder = Builder::new(surroundings.clone(), Fixed::of(&loaded.config));
    let rulebook = builder.build(&loaded.config)?;
    // Before the log is opened: a start that is refused leaves nothing behind.
    let telemetry = telemetry::start(&surroundings)?;
    let seal: Arc<dyn Seal> =
        Arc::new(doorward_vault::open(&loaded.config.audit.key_dir, &*surroundings.random)?);
    let ledger = open_ledger(&loaded.config, Arc::clone(&seal), &surroundings)?;
    keep_bundle(&ledger, &rulebook)?;
    let Stores { shared, counts, tally, endings } = stores(&loaded.config, Arc::clone(&seal), &surroundings)?;
    if let Some(tally) = &tally
        && !loaded.config.limits.quotas.is_empty()
    {
        tally.check().map_err(|error| anyhow::anyhow!("quotas cannot be counted: {error}"))?;
    }
    let room = surroundings.capacity.room();
    let settings = doorward_upstream::Settings {
        egress: doorward_egress::Settings { room: Some(Arc::clone(&room)), ..Default::default() },
        environment: doorward_upstream::inherited(surroundings.environment.iter().cloned()),
        shared: shared.reach().has_others().then(|| Arc::clone(&shared)),
        ..doorward_upstream::Settings::default()
    };
    let (upstreams, events) =
        Upstreams::new(settings, Arc::clone(&surroundings.clock), Arc::clone(&surroundings.random));
    upstreams.configure(rulebook::specs(&loaded.config));
    event(&ledger, &surroundings, "started", "configuration in force", Some(&loaded.digest));
    let gateway = Gateway::new(Parts {
        settings: Settings {
            connections: surroundings.capacity.connections(),
            room,
            records_all_refusals: loaded.config.audit.refusals == Refusals::All,
            ..Settings::default()
        },
        rulebook,
        upstreams,
        ledger,
        clock: Arc::clone(&surroundings.clock),
        random: Arc::clone(&surroundings.random),
        seal,
        shared,
        counts,
        endings,
        spans: telemetry.as_ref().map(Telemetry::spans),
    });
    let follower = tokio::spawn(Arc::clone(&gateway).follow(events));
    gateway.start(&eager(&loaded.config));
    builder.put_in_force(&loaded);
    let namer =
        tokio::spawn(unmatched::follow(Arc::downgrade(&gateway), gateway.replacements(), builder.patterns()));
    let builder = Arc::new(Mutex::new(builder));
    Ok(Assembled {
        gateway,
        loaded,
        builder,
        asked: Arc::default(),
        follower,
        namer,
        telemetry,
        tally,
        surroundings,
    })
}

/// Where everything is kept that replicas share.
struct Stores {
    shared: Arc<dyn Shared>,
    counts: Arc<dyn Counts>,
    /// The latter, where it is a file that is to be closed.
    tally: Option<Arc<Tally>>,
    /// Which sessions have ended, where it is a file.
    endings: Option<Arc<dyn Endings>>,
}

/// What replicas share, or the memory and the disk of the only one.
fn stores(config: &Config, seal: Arc<dyn Seal>, surroundings: &Surroundings) -> anyhow::Result<Stores> {
    if let Some(url) = &config.shared {
        // The error of a URL may repeat it, password and all.
        let redis = Redis::new(url.expose(), seal).map(Arc::new).map_err(|_| {
            anyhow::anyhow!("`shared` is no URL of Redis: redis://[user:password@]host:port[/db]")
        })?;
        return Ok(Stores {
            shared: Arc::clone(&redis) as Arc<dyn Shared>,
            counts: redis,
            tally: None,
            endings: None,
        });
    }
    let shared = Arc::new(Memory::new(Arc::clone(&surroundings.clock)));
    let tally = Arc::new(Tally::new(config.data_dir.join("quotas.db"))?);
    let path = config.data_dir.join("sessions-ended");
    let longest = SessionLimits::default().longest;
    let endings = EndedSessions::open(path.clone(), surroundings.clock.now(), longest);
    let endings = endings.with_context(|| format!("{} cannot be used", path.display()))?;
    Ok(Stores {
        shared,
        counts: Arc::clone(&tally) as Arc<dyn Counts>,
        tally: Some(tally),
        endings: Some(Arc::new(endings)),
    })
}

impl Assembled {
    /// Serves HTTP as well, and looks for changes of the configuration.
    ///
    /// # Errors
    /// When the address is taken, or the certificate cannot be used.
    pub async fn listen(self) -> anyhow::Result<Running> {
        listen(self).await
    }

    /// Looks for changes of the configuration until the task is aborted.
    pub fn watch(&self) -> JoinHandle<()> {
        let files = watched(&self.loaded);
        let (gateway, builder) = (Arc::clone(&self.gateway), Arc::clone(&self.builder));
        let (path, surroundings) = (self.loaded.path.clone(), self.surroundings.clone());
        let take_up =
            move |is_whole: &dyn Fn() -> bool| reload(&gateway, &path, &builder, &surroundings, is_whole);
        tokio::spawn(watch::watch(files, Arc::new(take_up), Arc::clone(&self.asked)))
    }

    /// Ends children and sessions, closes the log, and sends the last spans.
    pub async fn stop(self) {
        self.gateway.upstreams().shutdown().await;
        self.follower.abort();
        self.namer.abort();
        self.gateway.sum_up_refusals(true);
        event(self.gateway.ledger(), &self.surroundings, "stopped", "shut down in order", None);
        let (ledger, tally) = (self.gateway.ledger().clone(), self.tally);
        let audit = self.loaded.config.audit;
        // Closing joins threads and syncs; not a thing to do on a worker.
        let closed = tokio::task::spawn_blocking(move || {
            // While the lock of the log still keeps others from the same folder.
            if let Some(tally) = tally {
                tally.close();
            }
            ledger.close();
            passing::end(&audit);
        })
        .await;
        if closed.is_err() {
            tracing::error!(target: "doorward::ledger", "the log could not be closed in order");
        }
        // After the log: a collector that hangs must not endanger it.
        if let Some(telemetry) = self.telemetry {
            telemetry.stop().await;
        }
    }

    /// Whoever notifies this has the configuration read again by the task that watches it, and the
    /// log say what came of it.
    pub fn on_request(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// Puts a changed file in force, whole or not at all.
    ///
    /// # Errors
    /// What is wrong with it; the old configuration then stays in force.
    pub fn reload(&self) -> anyhow::Result<bool> {
        let read = reload(&self.gateway, &self.loaded.path, &self.builder, &self.surroundings, &|| true)?;
        Ok(read.is_some_and(|read| read.is_new))
    }
}

/// The servers that do not wait until they are needed.
fn eager(config: &Config) -> Vec<ServerId> {
    let usable = config.servers.iter().filter(|server| server.enabled && server.missing.is_empty());
    usable.filter(|server| server.is_eager).map(|server| server.id.clone()).collect()
}

fn watched(loaded: &Loaded) -> Vec<PathBuf> {
    let mut files = loaded.files.clone();
    files.push(loaded.path.clone());
    files
}

/// Reads the configuration and puts it in force, unless it is already, and counts what came of it;
/// `None` when `is_whole` says that it was written to meanwhile.
fn reload(
    gateway: &Arc<Gateway>,
    path: &Path,
    builder: &Mutex<Builder>,
    surroundings: &Surroundings,
    is_whole: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Taken>> {
    let read = read_again(gateway, path, builder, surroundings, is_whole);
    match &read {
        Ok(None) => {}
        Ok(Some(_)) => gateway.reloaded(true),
        Err(_) => gateway.reloaded(false),
    }
    read
}

fn read_again(
    gateway: &Arc<Gateway>,
    path: &Path,
    builder: &Mutex<Builder>,
    surroundings: &Surroundings,
    is_whole: &dyn Fn() -> bool,
) -> anyhow::Result<Option<Taken>> {
    let mut builder = builder.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = load(path, surroundings);
    // What is wrong with half a file is nobody's mistake.
    if !is_whole() {
        return Ok(None);
    }
    let loaded = loaded?;
    let files = watched(&loaded);
    if builder.is_in_force(&loaded.digest) {
        return Ok(Some(Taken { is_new: false, files }));
    }
    let rulebook = builder.build(&loaded.config)?;
    keep_bundle(gateway.ledger(), &rulebook)?;
    let others = gateway.upstreams().configure(rulebook::specs(&loaded.config));
    gateway.install(rulebook, &others);
    gateway.start(&eager(&loaded.config));
    builder.put_in_force(&loaded);
    for lint in &loaded.lints {
        tracing::warn!(target: "doorward::config", "{lint}");
    }
    for key in builder.fixed.changed(&loaded.config) {
        tracing::warn!(target: "doorward::config", "`{key}` has changed: that takes force at the next start");
    }
    tracing::info!(target: "doorward::config", digest = loaded.digest, "configuration in force");
    event(gateway.ledger(), surroundings, "reloaded", "configuration in force", Some(&loaded.digest));
    Ok(Some(Taken { is_new: true, files }))
}

/// A gateway that serves.
pub struct Running {
    assembled: Assembled,
    address: SocketAddr,
    stop: signal::Sender<bool>,
    serving: JoinHandle<()>,
    watching: Vec<JoinHandle<()>>,
    socket: Option<SocketDoor>,
}

/// Starts a gateway and returns once it listens.
///
/// # Errors
/// When the configuration does not hold, the log cannot be opened or the address is taken.
pub async fn start(config: &Path, surroundings: Surroundings) -> anyhow::Result<Running> {
    assemble(config, surroundings)?.listen().await
}

/// Lets a gateway listen.
async fn listen(assembled: Assembled) -> anyhow::Result<Running> {
    let listen = assembled.loaded.config.listen.clone();
    let (host, port) = (assembled.surroundings.host.as_deref(), assembled.surroundings.port);
    let (host, port) = (host.unwrap_or(&listen.host), port.unwrap_or(listen.port));
    let mut addresses = (host, port).to_socket_addrs()?;
    let address = addresses.next().with_context(|| format!("`{host}` is no address"))?;
    let mut listener = Listener::bind(address).await?;
    let shown = listen.tls.as_ref().map(tls::Shown::load).transpose()?;
    listener.tls = shown.as_ref().map(|shown| Arc::clone(&shown.config));
    let address = listener.address;
    let (stop, stopped) = signal::channel(false);
    let wait = |mut stopped: signal::Receiver<bool>| async move {
        // A sender that is gone means stop as well.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let gateway = Arc::clone(&assembled.gateway);
    let serving = tokio::spawn(door::serve(gateway, listener, wait(stopped.clone())));
    let mut watching = vec![assembled.watch()];
    if let Some(shown) = shown {
        let ledger = assembled.gateway.ledger().clone();
        watching.push(tokio::spawn(shown.watch(ledger, assembled.surroundings.clone())));
    }
    let socket = assembled.open_socket();
    Ok(Running { assembled, address, stop, serving, watching, socket })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The gateway.
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.assembled.gateway
    }

    /// What it was started with.
    pub fn loaded(&self) -> &Loaded {
        &self.assembled.loaded
    }

    /// Whoever notifies this has the configuration read again, and the log say what came of it.
    pub fn on_request(&self) -> Arc<Notify> {
        self.assembled.on_request()
    }

    /// Puts a changed file in force now, without waiting to notice it.
    ///
    /// # Errors
    /// What is wrong with it; the old configuration then stays in force.
    pub fn reload(&self) -> anyhow::Result<bool> {
        self.assembled.reload()
    }

    /// Lets calls under way finish, then stops everything.
    pub async fn stop(self) {
        self.watching.iter().for_each(JoinHandle::abort);
        // Nobody listens any more only if serving has ended already.
        let _ = self.stop.send(true);
        if let Some(socket) = self.socket {
            socket.close().await;
        }
        if self.serving.await.is_err() {
            tracing::error!(target: "doorward::serve", "serving did not end in order");
        }
        self.assembled.stop().await;
    }
}
