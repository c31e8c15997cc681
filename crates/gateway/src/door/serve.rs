//! Listening, accepting, and going away in order.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::admit::note_left_out;
use super::paced::Paced;
use super::{Guard, Peers, request};
use crate::gateway::{Gateway, SWEEP_EVERY};
use crate::turned_away::Reason;

/// A bound address.
pub struct Listener {
    /// Where connections arrive.
    pub listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
    /// Certificate and key, where TLS ends here; they may change between two connections.
    pub tls: Option<Arc<ArcSwap<ServerConfig>>>,
}

/// Why the gateway cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}; is another gateway running there?")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ServeError {
    /// The stable word for it (`docs/reference/error-codes.md`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "listen",
        }
    }
}

impl Listener {
    /// Binds an address.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls: None })
    }
}

/// What every request passes first.
pub struct Front {
    /// Which hosts and origins may speak.
    pub guard: Guard,
    /// Which addresses may.
    pub peers: Peers,
}

/// How long a client may take to send the head of a request once it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may be idle. Longer than balancers keep it, which is a minute as a rule: else
/// they send a request into a connection that ends at this moment.
const IDLE: Duration = Duration::from_secs(90);
/// Bytes that the head of a request may have.
pub const MAX_HEAD: usize = 64 << 10;

/// How often it is asked whether refusals are due to be summed up in the log.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Serves until `stop` completes, then lets calls under way finish.
pub async fn serve(gateway: Arc<Gateway>, listener: Listener, stop: impl Future<Output = ()>) {
    let Listener { listener, address, tls } = listener;
    let room = Arc::new(Semaphore::new(gateway.settings.connections));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut count = tokio::time::interval(COUNT_EVERY);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            _ = sweep.tick() => {
                tokio::spawn(Arc::clone(&gateway).sweep());
                continue;
            }
            _ = count.tick() => {
                note_left_out(&gateway, false);
                gateway.sum_up_refusals(false);
                continue;
            }
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                // Bound to every address, it answers to the one that it was reached at.
                let bound = stream.local_addr().map_or(address, |local| local).ip().to_canonical();
                connect(&gateway, bound, tls.as_ref(), &graceful, stream, peer, permit)
            }
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come back.
                tracing::warn!(target: "doorward::serve", %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    gateway.streams.close_all();
    gateway.end_news();
    if tokio::time::timeout(gateway.settings.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(target: "doorward::serve", "some calls did not finish in time and were cut off");
    }
    note_left_out(&gateway, true);
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

fn connect(
    gateway: &Arc<Gateway>,
    bound: IpAddr,
    tls: Option<&Arc<ArcSwap<ServerConfig>>>,
    graceful: &GracefulShutdown,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let gateway = Arc::clone(gateway);
    let watcher = graceful.watcher();
    let Some(tls) = tls.map(|config| TlsAcceptor::from(config.load_full())) else {
        tokio::spawn(serve_connection(gateway, bound, watcher, stream, peer, permit));
        return;
    };
    tokio::spawn(async move {
        // Whoever cannot finish a handshake in time is no client.
        if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
            serve_connection(gateway, bound, watcher, stream, peer, permit).await;
        }
    });
}

async fn serve_connection(
    gateway: Arc<Gateway>,
    bound: IpAddr,
    watcher: Watcher,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let (stream, working) = Paced::new(stream, HEAD_TIMEOUT);
    let serving = Arc::clone(&gateway);
    let service = service_fn(move |incoming| {
        let (gateway, working) = (Arc::clone(&serving), working.clone());
        working.begin();
        async move {
            let answer = request::answer(gateway, bound, peer, incoming).await;
            Ok::<_, Infallible>(answer.map(|body| working.until_sent(body)))
        }
    });
    // A request may have 100 headers: hyper's own limit, and quicker left to it.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that breaks is the client's business; what is no request has been refused.
    if let Err(error) = watcher.watch(connection).await {
        if error.is_parse_too_large() {
            gateway.turned_away(Reason::HeadTooLarge, Some(peer.ip()));
        } else if error.is_parse() {
            gateway.turned_away(Reason::Malformed, Some(peer.ip()));
        }
    }
    drop(permit);
}
