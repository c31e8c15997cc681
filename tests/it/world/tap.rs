//! Between a gateway and its server: passes everything on, and remembers what the server was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What was sent, over all connections.
#[derive(Clone, Default)]
pub struct Tap(Arc<Mutex<Vec<u8>>>);

impl Tap {
    /// Listens before a server: where, and what is sent there.
    pub async fn before(server: SocketAddr) -> (SocketAddr, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let tap = Self::default();
        let heard = tap.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(heard.clone().relay(client, server));
            }
        });
        (address, tap)
    }

    /// How often this was sent.
    pub fn count(&self, word: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().expect("whole")).matches(word).count()
    }

    async fn relay(self, client: TcpStream, server: SocketAddr) {
        let Ok(server) = TcpStream::connect(server).await else { return };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let downward = tokio::spawn(async move {
            // Either side may have gone, which the other then notices.
            let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        });
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            self.0.lock().expect("whole").extend_from_slice(&buffer[..read]);
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        downward.abort();
    }
}
