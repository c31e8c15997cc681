//! A balancer without affinity, which cuts connections if it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Every so many connections, one is cut before anything has passed.
const UNANSWERED: usize = 7;
/// Every so many, one is cut behind the first event that has an id.
const BROKEN: usize = 3;

/// Spreads connections evenly.
pub struct Balancer {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
    cut: Arc<AtomicUsize>,
}

impl Balancer {
    /// One that cuts some of its connections.
    pub async fn cutting(backends: Vec<SocketAddr>) -> Self {
        Self::start(backends, true).await
    }

    /// One that cuts streams only, which can be resumed.
    pub async fn cutting_streams(backends: Vec<SocketAddr>) -> Self {
        Self::start(backends, false).await
    }

    async fn start(backends: Vec<SocketAddr>, cuts_requests: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cut = Arc::new(AtomicUsize::new(0));
        let cuts = Arc::clone(&cut);
        let accepting = tokio::spawn(async move {
            let mut count = 0;
            while let Ok((client, _)) = listener.accept().await {
                count += 1;
                let backend = backends[count % backends.len()];
                if cuts_requests && count % UNANSWERED == 0 {
                    cuts.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                tokio::spawn(relay(client, backend, count % BROKEN == 0, Arc::clone(&cuts)));
            }
        });
        Self { address, accepting, cut }
    }

    /// How many connections were cut.
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn relay(client: TcpStream, backend: SocketAddr, breaks: bool, cut: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(backend).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upward = tokio::spawn(async move {
        // Either side may have gone, which the other then notices.
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    });
    let (mut buffer, mut said) = (vec![0; 4096], Vec::new());
    while let Ok(read) = from_server.read(&mut buffer).await {
        if read == 0 || to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        said.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&said);
        let has_place = text.split_once("\nid: ").is_some_and(|(_, rest)| rest.contains("\n\n"));
        if breaks && has_place && text.contains("text/event-stream") {
            cut.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    upward.abort();
}
