//! Several gateways with one key and the same servers, none of which knows of the others
//! but by what they share.

use std::net::SocketAddr;
use std::path::PathBuf;

use doorward::runtime::{self, Running};
use tempfile::TempDir;

use super::{Recorder, Speaks, configuration, system};

/// Gateways that share their keys.
pub struct Replicas {
    pub folder: TempDir,
    pub running: Vec<Option<Running>>,
    pub recorders: Vec<Recorder>,
}

impl Replicas {
    /// Starts `count` gateways in front of the same servers.
    pub async fn start(count: usize, servers: &[&str], speaks: Speaks, rest: &str) -> Self {
        let mut recorders = Vec::new();
        for name in servers {
            recorders.push(Recorder::start(name, speaks).await);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys");
        let mut replicas = Self { folder, running: Vec::new(), recorders };
        for index in 0..count {
            let own = replicas.folder.path().join(index.to_string());
            std::fs::create_dir(&own).expect("a folder");
            let config = configuration(&own, &replicas.recorders, rest);
            let config = format!("{config}audit: {{keyDir: {}}}\n", keys.display());
            std::fs::write(replicas.config(index), config).expect("written");
            replicas.running.push(None);
            replicas.run(index).await;
        }
        replicas
    }

    pub fn config(&self, index: usize) -> PathBuf {
        self.folder.path().join(index.to_string()).join("gateway.yaml")
    }

    /// Starts a gateway that was stopped.
    pub async fn run(&mut self, index: usize) {
        let running = runtime::start(&self.config(index), system()).await.expect("the gateway starts");
        self.running[index] = Some(running);
    }

    /// Stops one, in order.
    pub async fn halt(&mut self, index: usize) {
        self.running[index].take().expect("it runs").stop().await;
    }

    pub fn address(&self, index: usize) -> SocketAddr {
        self.running[index].as_ref().expect("it runs").address()
    }

    pub async fn stop(mut self) {
        for running in self.running.drain(..).flatten() {
            running.stop().await;
        }
    }
}
