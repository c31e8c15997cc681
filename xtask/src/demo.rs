//! `cargo xtask demo`: governed calls, end to end, with third-party servers and a payment service.

mod client;
mod files;
mod told;
mod tour;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use self::told::Told;
use crate::ecosystem;
use crate::shell::{cargo, root, run};

/// Build Doorward, start it with real servers, show governed calls and a proof, and keep serving
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cargo xtask demo\n  cargo xtask demo --once        # stop after the tour"
)]
pub struct Demo {
    /// Port to listen on
    #[arg(long, default_value_t = 3100)]
    port: u16,
    /// Stop after the tour instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
    /// A program that is built already
    #[arg(long, hide = true)]
    program: Option<PathBuf>,
    /// A folder that has the servers from npm already
    #[arg(long, hide = true)]
    node: Option<PathBuf>,
    /// Where the files of the demo go
    #[arg(long, hide = true)]
    folder: Option<PathBuf>,
}

impl Demo {
    pub fn run(self) -> anyhow::Result<()> {
        must_be_free(self.port)?;
        println!("1. Building Doorward (some minutes the first time)");
        let program = self.program.map_or_else(build, Ok)?;
        println!("2. Three servers from npm and PyPI, and a payment service");
        let node = self.node.map_or_else(|| ecosystem::node("demo", ecosystem::NODE_SERVERS), Ok)?;
        let time = ecosystem::python("time-server", ecosystem::PYTHON_SERVER)?;
        println!("3. A configuration with three identities, one Rego policy and a quota");
        let folder = self.folder.unwrap_or_else(|| root().join(".demo"));
        let files = files::write(&folder, self.port, &node, &time)?;
        println!("   {}", files.config.display());
        println!("4. Starting on http://127.0.0.1:{}", self.port);
        must_be_free(self.port)?;
        let told = Told::listen()?;
        let mut gateway = start(&program, &files)?;
        told.watch(gateway.0.id());
        let toured = wait_until_ready(self.port, &mut gateway.0, &files)
            .and_then(|()| tour::walk(&program, &files, self.port));
        if told.is_told() {
            println!("\nStopped.");
            return Ok(());
        }
        toured?;
        if self.once {
            return Ok(());
        }
        files.print_how_to_connect(self.port);
        println!("\nServing until Ctrl-C. The log of the gateway: {}", files.log.display());
        let status = gateway.0.wait()?;
        if !status.success() && status.code().is_some() {
            bail!("the gateway ended with {status}; its log: {}", files.log.display());
        }
        Ok(())
    }
}

fn build() -> anyhow::Result<PathBuf> {
    run(cargo().args(["build", "--locked", "--release", "--package", "doorward"]))?;
    Ok(target_folder()?.join("release/doorward"))
}

/// Another gateway on the port would be as ready as ours, and be taken for it.
fn must_be_free(port: u16) -> anyhow::Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(()),
        Err(error) => {
            bail!(
                "port {port} cannot be used ({error}): end what listens there, or choose another with --port"
            )
        }
    }
}

/// A gateway that ends with the demo.
struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself, by the same Ctrl-C that ends the demo.
        let _ = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

fn start(program: &std::path::Path, files: &files::Files) -> anyhow::Result<Gateway> {
    let log = std::fs::File::create(&files.log)?;
    let child = Command::new(program)
        .args(["--config"])
        .arg(&files.config)
        .arg("serve")
        .current_dir(root())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("the gateway could not be started")?;
    Ok(Gateway(child))
}

fn wait_until_ready(port: u16, gateway: &mut Child, files: &files::Files) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if let Some(status) = gateway.try_wait()? {
            let log = std::fs::read_to_string(&files.log).unwrap_or_default();
            bail!("the gateway ended at once ({status}):\n{log}");
        }
        if ureq::get(format!("http://127.0.0.1:{port}/readyz")).call().is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("the gateway was not ready within 20 seconds; its log: {}", files.log.display())
}

fn target_folder() -> anyhow::Result<PathBuf> {
    let metadata =
        cargo().args(["metadata", "--no-deps", "--format-version=1"]).current_dir(root()).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    Ok(metadata["target_directory"].as_str().context("cargo names no target folder")?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_where_somebody_listens_is_refused_before_anything_is_started() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = other.local_addr().expect("bound").port();
        let refused = must_be_free(port).expect_err("it is taken").to_string();
        assert!(refused.contains(&format!("port {port}")) && refused.contains("--port"), "{refused}");
        drop(other);
        assert!(must_be_free(port).is_ok());
    }
}
