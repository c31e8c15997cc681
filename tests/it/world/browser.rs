//! The browser of the system.

use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Where Chromium is.
pub fn chromium() -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&folders).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"].into_iter();
    let mut programs = names.flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    programs.find(|program| program.exists()).expect("Chromium is installed: run `cargo xtask test` once")
}

/// A browser with one page open, until it is dropped.
pub struct Browser {
    _process: Child,
    _profile: TempDir,
}

impl Browser {
    pub fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let process = Command::new(chromium())
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Without a port for its debugger it would leave once the page has loaded.
            .arg("--remote-debugging-port=0")
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("Chromium starts");
        Self { _process: process, _profile: profile }
    }
}
