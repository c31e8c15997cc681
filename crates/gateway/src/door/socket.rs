//! The socket door: clients of other processes, served as over stdio.
//!
//! The log has one writer. Whoever is it listens here, and every other process that is
//! to serve the same log passes its client's bytes on to it. Only processes of the same
//! user are heard, and each of them presents its client's key, as at any other door.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::{CapabilityKind, ServerId};
use doorward_registry::Listing;
use tokio::io::{AsyncBufRead, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::look::look;
use super::offered;
use super::order::{self, Doing, Doings, Level, Levels, NoServer, Order};
use super::preface::{self, InForce, Preface, Turned};
use super::{Until, serve_stdio};
use crate::condition::condition;
use crate::gateway::Gateway;

/// The socket's name in its folder.
const NAME: &str = "gateway.sock";
/// Clients at once; more wait in the listen queue.
const CLIENTS: usize = 256;
/// How long a client may take to say what it wants.
const PREFACE_TIME: Duration = Duration::from_secs(5);
/// Paths that are longer are reached by a detour: systems take 104 or 108 bytes.
const LONGEST_PATH: usize = 100;

/// A bound socket.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket in this folder, in place of whatever is there. Only the holder
    /// of the log's lock may do so: what it replaces is then nobody's any more.
    ///
    /// # Errors
    /// When the folder takes no socket.
    pub fn bind(folder: &Path) -> io::Result<Self> {
        let path = folder.join(NAME);
        // Made under another name and renamed: nobody can reach it before its mode is
        // set, and at no moment is there none.
        let fresh = folder.join(format!("{NAME}.new"));
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let way = Way::to(&fresh)?;
        let listener = UnixListener::bind(&way.path)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        fs::rename(&fresh, &path)?;
        Ok(Self { listener, path })
    }
}

/// Connects to whoever listens in this folder.
///
/// # Errors
/// When nobody does, or somebody else than this very user.
pub async fn connect(folder: &Path) -> io::Result<UnixStream> {
    let way = Way::to(&folder.join(NAME))?;
    let stream = UnixStream::connect(&way.path).await?;
    if !is_own(&stream) {
        // What follows is a key.
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    Ok(stream)
}

/// Whether the other end is a process of the same user.
fn is_own(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

/// A path to a socket that is short enough for the system.
struct Way {
    path: PathBuf,
    /// Open for as long as the path leads through it.
    _folder: Option<File>,
}

impl Way {
    fn to(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= LONGEST_PATH {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let folder = File::open(folder)?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
        if !short.exists() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidFilename,
                "the path is too long for a socket; choose a shorter dataDir",
            ));
        }
        Ok(Self { path: short.join(name), _folder: Some(folder) })
    }
}

/// What the door has to know of the process that holds the log.
pub trait Holder: Send + Sync + 'static {
    /// The configuration that clients are served by.
    fn in_force(&self) -> InForce;

    /// Logs so much about a server from now on, until this process ends.
    fn set_level(&self, server: &ServerId, level: Level);

    /// About which servers more or less is logged than usual.
    fn levels(&self) -> Levels;
}

/// How long the door stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Until further notice.
    Always,
    /// Until the last client is gone.
    WhileUsed,
    /// No longer; calls under way may finish.
    No,
}

/// Serves the clients of a socket for as long as `open` says, on behalf of `holder`.
pub async fn serve_socket(
    gateway: Arc<Gateway>,
    socket: Socket,
    holder: Arc<dyn Holder>,
    mut open: watch::Receiver<Open>,
) {
    let mut clients = JoinSet::new();
    loop {
        let now = *open.borrow_and_update();
        if now == Open::No || (now == Open::WhileUsed && clients.is_empty()) {
            break;
        }
        tokio::select! {
            changed = open.changed() => match changed {
                Ok(()) if *open.borrow() == Open::WhileUsed && !clients.is_empty() => {
                    let clients = clients.len();
                    tracing::info!(target: "doorward::serve", clients,
                        "its own client is gone; this gateway stays until the others are, too");
                }
                Ok(()) => {}
                Err(_) => break,
            },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
            accepted = socket.listener.accept(), if clients.len() < CLIENTS => match accepted {
                Ok((stream, _)) if is_own(&stream) => {
                    let holder = Arc::clone(&holder);
                    clients.spawn(serve_client(Arc::clone(&gateway), stream, holder, open.clone()));
                }
                Ok(_) => {
                    tracing::warn!(target: "doorward::serve", "another user knocked at the socket");
                }
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to come back.
                    tracing::warn!(target: "doorward::serve", %error, "a client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    // The log is still ours, so this is nobody else's socket. One that stays behind is
    // replaced by the next gateway.
    let _ = fs::remove_file(&socket.path);
    drop(socket);
    let done = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(gateway.settings.drain, done).await.is_err() {
        tracing::warn!(target: "doorward::serve", "some calls did not finish in time and were cut off");
        clients.shutdown().await;
    }
}

/// Serves one client, from its first line to its end.
async fn serve_client(
    gateway: Arc<Gateway>,
    stream: UnixStream,
    holder: Arc<dyn Holder>,
    mut open: watch::Receiver<Open>,
) {
    let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
    let (input, mut output) = stream.into_split();
    let closed = async move {
        // A sender that is gone means the same.
        let _ = open.wait_for(|open| *open == Open::No).await;
    };
    let mut input = BufReader::new(Until::new(input, closed));
    let Some(line) = first_line(&mut input).await else {
        tracing::debug!(target: "doorward::serve", process, "a process said nothing on the socket");
        return;
    };
    if let Some(order) = line.clone().ok().and_then(Order::parse) {
        let answer = match order {
            Order::Servers => order::doings(&doings(&gateway)),
            Order::Names => offered::answer(&offered::offers(&gateway.snapshot())),
            Order::Look(server) => {
                look(&gateway, &server).await.unwrap_or_else(|refused| order::answer(Err(refused)))
            }
            order => {
                let levels = obey(&gateway, &*holder, &order);
                order::answer(levels.as_ref().map_err(|refused| *refused))
            }
        };
        // Whoever is gone by now has been obeyed all the same.
        let _ = output.write_all(answer.as_bytes()).await;
        return;
    }
    let admitted = match line.and_then(Preface::parse) {
        Ok(Preface { surface, key }) => match gateway.admits(key.as_ref(), &surface).await {
            true => Ok((key, surface)),
            false => Err(Turned::Key),
        },
        Err(turned) => Err(turned),
    };
    let answer = match &admitted {
        Ok(_) => preface::answer(Ok(&holder.in_force())),
        Err(turned) => preface::answer(Err(*turned)),
    };
    // Whoever is gone by now needs no answer, and no service.
    if output.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    match admitted {
        Ok((key, surface)) => {
            if let Err(error) = serve_stdio(gateway, key, surface, input, output).await {
                tracing::debug!(target: "doorward::serve", process, %error, "a client broke off");
            }
        }
        Err(why) => {
            tracing::info!(target: "doorward::serve", process, %why, "a client of the socket was refused");
        }
    }
}

/// How the servers are doing. They are not asked for it.
fn doings(gateway: &Gateway) -> Doings {
    let snapshot = gateway.snapshot();
    let each = snapshot.registry.servers().iter().map(|server| {
        let state = condition(gateway, server).state.as_str();
        let listings = snapshot.registry.listings(&server.id).iter();
        let count = |listing: &Listing| {
            listing.offered.iter().filter(|capability| capability.kind == CapabilityKind::Tool).count() as u64
        };
        (server.id.to_string(), Doing { state: state.to_owned(), tools: listings.map(count).max() })
    });
    each.collect()
}

/// Does what the gateway's own user wants.
fn obey(gateway: &Gateway, holder: &dyn Holder, order: &Order) -> Result<Levels, NoServer> {
    if let Order::Set(server, level) = order {
        if gateway.snapshot().registry.server(server.as_str()).is_none() {
            return Err(NoServer);
        }
        holder.set_level(server, *level);
    }
    Ok(holder.levels())
}

/// What a client wants; `None` if it does not say so in time, or left.
async fn first_line(input: &mut (impl AsyncBufRead + Unpin)) -> Option<Result<Bytes, Turned>> {
    match tokio::time::timeout(PREFACE_TIME, preface::read_line(input)).await {
        Ok(Ok(line)) if line.is_empty() => None,
        Ok(Ok(line)) => Some(Ok(line)),
        Ok(Err(_)) => Some(Err(Turned::Preface)),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_replaces_a_dead_one_and_may_lie_deep() {
        let folder = std::env::temp_dir().join(format!("doorward-socket-{}", std::process::id()));
        let deep = folder.join("d".repeat(200));
        for folder in [&folder, &deep] {
            fs::create_dir_all(folder).expect("created");
            assert!(connect(folder).await.is_err(), "nobody is there");
            drop(Socket::bind(folder).expect("bound"));
            let refused = connect(folder).await.expect_err("nobody is there any more");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let socket = Socket::bind(folder).expect("bound again");
            let mode = fs::metadata(&socket.path).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let (client, accepted) = tokio::join!(connect(folder), socket.listener.accept());
            assert!(client.is_ok() && is_own(&accepted.expect("accepted").0));
        }
        fs::remove_dir_all(&folder).expect("removed");
    }
}
