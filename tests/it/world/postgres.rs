//! A PostgreSQL of the test's own. It refuses to run as root, so root lends it another user.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::eventually;
use crate::program::free_port;

/// A database until it is dropped.
pub struct Postgres {
    port: u16,
    // In this order, so that it has ended before its files go.
    _process: Child,
    _folder: TempDir,
}

impl Postgres {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let user = lent_user().await;
        if let Some(user) = user {
            std::os::unix::fs::chown(folder.path(), Some(user), None).expect("given away");
        }
        let command = |program: &str| {
            let mut command = Command::new(programs().join(program));
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).arg("-D");
            command.arg(folder.path().join("data")).kill_on_drop(true);
            if let Some(user) = user {
                command.uid(user);
            }
            command
        };
        let made = command("initdb").args(["-U", "postgres", "-A", "trust", "--no-sync"]).status().await;
        assert!(made.expect("initdb runs").success());
        let port = free_port();
        let mut server = command("postgres");
        // Nothing of it has to outlive anything.
        server.args(["-F", "-h", "127.0.0.1", "-k", "", "-p", &port.to_string()]).stderr(Stdio::null());
        let process = server.spawn().expect("it starts");
        eventually("PostgreSQL listens", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
        Self { port, _process: process, _folder: folder }
    }

    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

/// Whom to run it as; `None` as ourselves.
async fn lent_user() -> Option<u32> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let output = Command::new("id").args(["-u", "postgres"]).output().await.expect("`id` runs");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(text.parse().expect("a user `postgres`: run `cargo xtask test` once"))
}

/// Where its programs are: Debian keeps them out of `PATH`.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let folders = versions.map(|version| version.path().join("bin"));
    folders.filter(|folder| folder.join("initdb").exists()).max().unwrap_or_default()
}
