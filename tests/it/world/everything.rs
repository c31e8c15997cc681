//! The server that has everything, in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use doorward_everything::{Eras, Everything, http};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that has everything, over HTTP, until it is dropped.
pub struct Host {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Host {
    pub async fn start(eras: Eras) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(http::serve(listener, Arc::new(Everything::new(eras))));
        Self { address, serving }
    }

    /// The section of a configuration that names it `every`.
    pub fn section(&self) -> String {
        format!(
            "servers:\n  - {{id: every, url: \"http://{}{}\", enabled: true}}\n",
            self.address,
            http::PATH
        )
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
