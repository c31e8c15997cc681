//! From a target to a connection: resolve, check, dial, shake hands.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use crate::error::EgressError;
use crate::link::Link;
use crate::names::Names;
use crate::reach::Rules;
use crate::target::Target;

/// How long one address of several may keep the next one waiting.
const ATTEMPT: Duration = Duration::from_secs(3);

/// After how long without a byte the other end is asked whether it is there, how soon again, and
/// how often in vain.
const QUIET: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_secs(10);
const TIMES: u32 = 3;

/// Opens a connection to `target`, in `limit` at most.
pub(crate) async fn open(
    target: &Target,
    rules: Rules,
    tls: Option<&Arc<ClientConfig>>,
    names: &dyn Names,
    limit: Duration,
) -> Result<Link, EgressError> {
    let host: Arc<str> = target.host().into();
    match tokio::time::timeout(limit, dial(target, &host, rules, tls, names)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(EgressError::ConnectTimeout { host, limit }),
    }
}

async fn dial(
    target: &Target,
    host: &Arc<str>,
    rules: Rules,
    tls: Option<&Arc<ClientConfig>>,
    names: &dyn Names,
) -> Result<Link, EgressError> {
    let addresses = resolve(target, host, names).await?;
    // One address that must not be dialled spoils the name: an honest one has none.
    if let Some(address) = addresses.iter().map(SocketAddr::ip).find(|ip| !rules.admit(*ip, target.is_tls()))
    {
        return Err(EgressError::Forbidden { host: Arc::clone(host), address });
    }
    let stream = reached(&addresses)
        .await
        .map_err(|cause| EgressError::Connect { host: Arc::clone(host), cause: Arc::new(cause) })?;
    match tls {
        None => shake_hands(stream, host).await,
        Some(config) => {
            let failed = |cause| EgressError::Tls { host: Arc::clone(host), cause: Arc::new(cause) };
            let name = ServerName::try_from(target.host().to_owned())
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
            shake_hands(connector.connect(name, stream).await.map_err(failed)?, host).await
        }
    }
}

/// A stream to one of these addresses, as all streams are to be.
async fn reached(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = reach_one(addresses).await?;
    // Without this, small requests wait for acknowledgements: some 40 ms each.
    let _ = stream.set_nodelay(true);
    let _ = keep_alive(&stream);
    Ok(stream)
}

/// Has the system ask, when nothing has come for a while, whether the other end is still there:
/// on a stream of events nobody else would notice that it has gone without a word.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_tcp_keepidle(stream, QUIET)?;
    sockopt::set_tcp_keepintvl(stream, AGAIN)?;
    sockopt::set_tcp_keepcnt(stream, TIMES)?;
    Ok(sockopt::set_socket_keepalive(stream, true)?)
}

async fn resolve(
    target: &Target,
    host: &Arc<str>,
    names: &dyn Names,
) -> Result<Vec<SocketAddr>, EgressError> {
    if let Ok(address) = target.host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, target.port())]);
    }
    let failed = |cause| EgressError::Resolve { host: Arc::clone(host), cause: Arc::new(cause) };
    let found = names.resolve(target.host(), target.port()).await.map_err(failed)?;
    if found.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(found) }
}

async fn reach_one(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let (tail, front) = match addresses.split_last() {
        Some(split) => split,
        None => return Err(last),
    };
    for address in front {
        match tokio::time::timeout(ATTEMPT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    TcpStream::connect(tail).await.map_err(|error| {
        if front.is_empty() {
            error
        } else {
            io::Error::new(error.kind(), format!("{error}; before: {last}"))
        }
    })
}

async fn shake_hands<T>(stream: T, host: &Arc<str>) -> Result<Link, EgressError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let broken = |cause| EgressError::Broken { host: Arc::clone(host), cause: Arc::new(cause) };
    let shaken = http1::Builder::new().handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(broken)?;
    // How it ended, whoever waits for an answer learns through the sender.
    Ok(Link::new(sender, async {
        let _ = connection.await;
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_asks_whether_the_other_end_is_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream = reached(&[listener.local_addr().expect("bound")]).await.expect("connected");
        assert!(sockopt::socket_keepalive(&stream).expect("asked"));
        let asks = (sockopt::tcp_keepidle(&stream), sockopt::tcp_keepintvl(&stream));
        assert_eq!((asks.0.expect("asked"), asks.1.expect("asked")), (QUIET, AGAIN));
        assert_eq!(sockopt::tcp_keepcnt(&stream).expect("asked"), TIMES);
    }
}
