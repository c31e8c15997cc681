//! Servers and clients that nobody here wrote, at pinned versions, for the demo
//! and the tests. They are installed once, under `target/ecosystem` or where `DOORWARD_ECOSYSTEM` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::shell::{output, root, run};

/// npm packages that the demo needs.
pub const NODE_SERVERS: &[&str] = &[
    "@modelcontextprotocol/server-everything@2026.8.31",
    "@modelcontextprotocol/server-filesystem@2026.8.31",
];
/// npm packages that the tests need beside them.
pub const NODE_CLIENTS: &[&str] = &[
    "@modelcontextprotocol/sdk@1.32.2",
    "@modelcontextprotocol/client@2.4.0",
    "@modelcontextprotocol/inspector@2.12.0",
];
/// Agents that people use, and what stands beside them. Claude Code, Codex and OpenCode are programs
/// inside npm packages, some hundred megabytes each.
pub const AGENTS: &[&str] = &[
    "@anthropic-ai/claude-code@2.1.197",
    "@openai/codex@0.169.0",
    "opencode-ai@1.18.33",
    "@google/gemini-cli@0.61.0",
    "mcp-remote@0.15.1",
    "mcporter@0.12.3",
];
/// A newer Node.js, for clients that need it, as a program inside an npm package.
pub const NODE_22: &[&str] = &["node@22.23.3"];
/// The public conformance suite; needs [`NODE_22`].
pub const CONFORMANCE: &[&str] = &["@modelcontextprotocol/conformance@0.2.0-alpha.12"];
/// The PyPI server of the demo.
pub const PYTHON_SERVER: &[&str] = &["mcp-server-time==2026.10.19"];
/// The Python SDK, last of its first line, and frameworks that stand on it.
pub const PYTHON_CLIENT_1: &[&str] =
    &["mcp==1.30.0", "openai-agents==0.24.0", "langchain-mcp-adapters==0.3.2"];
/// The same of its second line.
pub const PYTHON_CLIENT_2: &[&str] = &["mcp==2.3.0", "fastmcp==4.1.2", "pydantic-ai-slim==2.68.0"];

/// Where everything is installed.
pub fn folder() -> PathBuf {
    std::env::var_os("DOORWARD_ECOSYSTEM").map_or_else(|| root().join("target/ecosystem"), PathBuf::from)
}

/// Installs npm packages into a folder of their own, unless they are there.
pub fn node(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    if output("npm", &["--version"]).is_none() {
        bail!("npm was not found: install Node.js 20 or newer (https://nodejs.org), then run this again");
    }
    let folder = folder().join(name);
    install(&folder, packages, |folder| {
        fs::write(folder.join("package.json"), r#"{"private":true,"type":"module"}"#)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]);
        run(npm.args(packages).current_dir(folder))
    })?;
    Ok(folder)
}

/// Installs PyPI packages into a virtual environment, unless they are there.
pub fn python(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    if output("python3", &["-c", "import venv, ensurepip"]).is_none() {
        bail!(
            "python3 with venv was not found: install Python 3.10 or newer (and python3-venv), then run this again"
        );
    }
    let folder = folder().join(name);
    install(&folder, packages, |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(packages))
    })?;
    Ok(folder)
}

/// Sees to it that `redis-server` is there, which is a package of the system.
pub fn redis() -> anyhow::Result<()> {
    of_system("redis-server", "Redis 7 or newer", || output("redis-server", &["--version"]).is_some())
}

/// Sees to it that libfaketime is there, which shows a program another time.
pub fn faketime() -> anyhow::Result<()> {
    of_system("faketime", "libfaketime", || output("faketime", &["--version"]).is_some())
}

/// Installs a package of the system where there is apt, unless what it brings is there.
fn of_system(package: &str, what: &str, is_there: impl Fn() -> bool) -> anyhow::Result<()> {
    if is_there() {
        return Ok(());
    }
    if output("apt-get", &["--version"]).is_none() {
        bail!("{package} was not found: install {what}, then run this again");
    }
    println!("  installing {package}");
    run(Command::new("apt-get").args(["update", "--quiet"]))?;
    run(Command::new("apt-get").args(["install", "--yes", "--quiet", "--no-install-recommends", package]))
        .with_context(|| format!("{package} could not be installed: install {what}, then run this again"))
}

/// Runs `work` in a fresh folder, unless a stamp says that it was done before.
fn install(
    folder: &Path,
    packages: &[&str],
    work: impl Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stamp = folder.join(".installed");
    let wanted = packages.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    println!("  installing {}", packages.join(", "));
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    work(folder)?;
    fs::write(stamp, wanted)?;
    Ok(())
}
