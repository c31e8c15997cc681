//! Between a gateway and its server: passes everything on, and remembers what the server was sent.
//! An answer of the server can be held back.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::oneshot;

/// What was sent, over all connections.
#[derive(Clone, Default)]
pub struct Tap {
    heard: Arc<Mutex<Vec<u8>>>,
    /// Which answer is to be held back next.
    armed: Arc<Mutex<Option<(String, Gate)>>>,
}

/// An answer that is held back until this is dropped.
pub struct Held {
    answered: oneshot::Receiver<()>,
    _pass: oneshot::Sender<()>,
}

struct Gate {
    answered: oneshot::Sender<()>,
    pass: oneshot::Receiver<()>,
}

impl Held {
    /// Waits until the server has answered.
    pub async fn answered(&mut self) {
        (&mut self.answered).await.expect("the connection is open");
    }
}

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
        String::from_utf8_lossy(&self.heard.lock().expect("whole")).matches(word).count()
    }

    /// Holds back what the server answers to the next message with this word.
    pub fn hold(&self, word: &str) -> Held {
        let ((answered, has_answered), (pass, may_pass)) = (oneshot::channel(), oneshot::channel());
        let gate = Gate { answered, pass: may_pass };
        *self.armed.lock().expect("whole") = Some((word.to_owned(), gate));
        Held { answered: has_answered, _pass: pass }
    }

    async fn relay(self, client: TcpStream, server: SocketAddr) {
        let Ok(server) = TcpStream::connect(server).await else { return };
        let (mut from_client, to_client) = client.into_split();
        let (from_server, mut to_server) = server.into_split();
        let gate = Arc::<Mutex<Option<Gate>>>::default();
        // Either side may have gone, which the other then notices.
        let downward = tokio::spawn(down(from_server, to_client, Arc::clone(&gate)));
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let said = &buffer[..read];
            self.heard.lock().expect("whole").extend_from_slice(said);
            let said = String::from_utf8_lossy(said);
            let armed = self.armed.lock().expect("whole").take_if(|(word, _)| said.contains(word.as_str()));
            if let Some((_, armed)) = armed {
                *gate.lock().expect("whole") = Some(armed);
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        downward.abort();
    }
}

async fn down(
    mut from_server: tcp::OwnedReadHalf,
    mut to_client: tcp::OwnedWriteHalf,
    gate: Arc<Mutex<Option<Gate>>>,
) {
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        let shut = gate.lock().expect("whole").take();
        if let Some(Gate { answered, pass }) = shut {
            // Whoever asked for it may not want to know.
            let _ = answered.send(());
            let _ = pass.await;
        }
        if to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}
