//! A Redis of the test's own, which can be stopped and started again.

use std::net::TcpListener;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::eventually;

/// A Redis that keeps nothing on disk.
pub struct Redis {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
}

impl Redis {
    pub async fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut redis = Self { port, folder: tempfile::tempdir().expect("a folder"), process: None };
        redis.run().await;
        redis
    }

    /// The line of a configuration that names it.
    pub fn section(&self) -> String {
        format!("shared: redis://127.0.0.1:{}\n", self.port)
    }

    /// Starts it, empty.
    pub async fn run(&mut self) {
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(self.port.to_string())
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.process = Some(process.expect("redis-server is installed: run `cargo xtask test` once"));
        eventually("Redis answers", async || self.command("PING").await.is_some_and(|said| said == "+PONG"))
            .await;
    }

    /// Kills it, with all that it knows.
    pub async fn kill(&mut self) {
        self.process.take().expect("it runs").kill().await.expect("killed");
    }

    /// The whole answer to a command.
    pub async fn lines(&self, command: &str) -> Vec<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("connected");
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.expect("written");
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.expect("read");
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// Sends a command without arguments that hold spaces, and reads the first line of the answer.
    pub async fn command(&self, command: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        let mut text = Vec::new();
        while !text.ends_with(b"\n") {
            text.push(stream.read_u8().await.ok()?);
        }
        Some(String::from_utf8_lossy(&text).trim_end().to_owned())
    }
}
