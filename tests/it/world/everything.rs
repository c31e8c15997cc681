//! The server that has everything, in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use doorward_everything::{Eras, Everything, http};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::binary;

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

/// The same behind pipes, as a child of the gateway. What it reads is written down.
pub struct Pipes {
    folder: TempDir,
    era: &'static str,
}

impl Pipes {
    pub fn new(era: &'static str) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), era }
    }

    /// The section of a configuration that names it `every`.
    pub fn section(&self) -> String {
        let (file, program) = (self.folder.path().join("heard"), binary("everything"));
        let script = format!("tee -a {} | {} --stdio --era {}", file.display(), program.display(), self.era);
        format!("servers:\n  - {{id: every, command: sh, args: [-c, \"{script}\"], enabled: true}}\n")
    }

    /// The messages that it has read, whichever process of it that was.
    pub fn heard(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("heard")).expect("a file");
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}
