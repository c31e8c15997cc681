//! The gateway as a process of its own: for what only a process can show.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::world::program;

/// A gateway that listens; it is killed when this is dropped.
pub struct Program {
    pub child: Child,
    pub address: SocketAddr,
}

impl Program {
    /// Starts `doorward --config F serve`, its standard error in `log`, and waits until
    /// it listens.
    pub async fn start(config: &Path, log: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_under(&[], config, log, variables).await
    }

    /// The same, under a program that runs another: `under doorward --config …`.
    pub async fn start_under(
        under: &[&OsStr],
        config: &Path,
        log: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        Self::start_on(free_port(), under, config, log, variables).await
    }

    /// The same, on a port that was chosen before.
    pub async fn start_on(
        port: u16,
        under: &[&OsStr],
        config: &Path,
        log: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        let program = program();
        let mut words = under.iter().copied().chain([program.as_os_str()]);
        let mut command = Command::new(words.next().expect("a program"));
        let log = std::fs::File::create(log).expect("created");
        command
            .args(words)
            .arg("--config")
            .arg(config)
            .args(["serve", "--port", &port.to_string()])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().expect("the gateway starts");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..1_000 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Self { child, address };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway does not listen on port {port}");
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process id"), rustix::process::Signal::TERM)
            .expect("told to stop");
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        assert!(ended.expect("it ends").expect("waited for").success());
    }
}

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Runs `doorward --config F …` to its end; what it printed on standard output.
pub async fn run(config: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program()).arg("--config").arg(config).args(arguments).output().await;
    let output = output.expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn whoever_finds_it_listening_can_stop_it_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, crate::world::configuration(folder.path(), &[], "")).expect("written");
    for _ in 0..5 {
        let program = Program::start(&config, &folder.path().join("log"), &[]).await;
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
        let caught = u64::from_str_radix(caught.trim(), 16).expect("a number");
        assert_ne!(caught & (1 << 14), 0, "SIGTERM would kill it");
        program.stop().await;
    }
}
