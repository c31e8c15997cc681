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
/// Servers that people use. They are installed without what their packages call optional, which is
/// 200 MB for a runtime that none of them starts here, and without browsers of their own.
pub const SERVERS: &[&str] = &[
    "@modelcontextprotocol/server-memory@2026.8.31",
    "@modelcontextprotocol/server-sequential-thinking@2026.8.31",
    "@modelcontextprotocol/server-postgres@0.6.2",
    "@playwright/mcp@0.0.83",
    "chrome-devtools-mcp@1.11.0",
    "@notionhq/notion-mcp-server@2.5.2",
    "@sentry/mcp-server@0.39.0",
    "mongodb-mcp-server@3.0.4",
    "@upstash/context7-mcp@4.1.1",
    "@zereight/mcp-gitlab@2.1.64",
];
/// A newer Node.js, for clients that need it, as a program inside an npm package.
pub const NODE_22: &[&str] = &["node@22.23.3"];
/// The public conformance suite; needs [`NODE_22`].
pub const CONFORMANCE: &[&str] = &["@modelcontextprotocol/conformance@0.2.0-alpha.12"];
/// The PyPI server of the demo.
pub const PYTHON_SERVER: &[&str] = &["mcp-server-time==2026.10.19"];
/// Servers that stand on the second line of the Python SDK.
pub const PYTHON_SERVERS: &[&str] = &[
    "mcp-server-fetch==2026.10.24",
    "mcp-server-git==2026.10.19",
    "mcp-server-motherduck==1.1.0",
    "excel-mcp-server==2.2.2",
];
/// One that stands on the first.
pub const PYTHON_SERVER_1: &[&str] = &["mcp-server-sqlite==2025.4.25", "mcp==1.30.0"];
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
    node_with(name, packages, &[])
}

/// The same, without what these packages would like to have and can do without.
pub fn node_without_optional(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    node_with(name, packages, &["--omit=optional"])
}

fn node_with(name: &str, packages: &[&str], options: &[&str]) -> anyhow::Result<PathBuf> {
    if output("npm", &["--version"]).is_none() {
        bail!("npm was not found: install Node.js 20 or newer (https://nodejs.org), then run this again");
    }
    let folder = folder().join(name);
    install(&folder, packages, |folder| {
        fs::write(folder.join("package.json"), r#"{"private":true,"type":"module"}"#)?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]);
        npm.args(options).args(packages).current_dir(folder);
        run(npm.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1").env("PUPPETEER_SKIP_DOWNLOAD", "1"))
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

/// Sees to it that Chromium is there, which servers drive.
pub fn chromium() -> anyhow::Result<()> {
    let is_there = || {
        let mut names = ["chromium", "chromium-browser", "google-chrome"].iter();
        names.any(|name| output(name, &["--version"]).is_some())
    };
    of_system("chromium", "Chromium", is_there)
}

/// Sees to it that PostgreSQL is there. Debian keeps its programs out of `PATH`.
pub fn postgres() -> anyhow::Result<()> {
    let is_there = || {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
        output("initdb", &["--version"]).is_some()
            || versions.map(|version| version.path().join("bin/initdb")).any(|initdb| initdb.exists())
    };
    of_system("postgresql", "PostgreSQL 13 or newer", is_there)
}

/// Sees to it that Git is there, which a server runs.
pub fn git() -> anyhow::Result<()> {
    of_system("git", "Git", || output("git", &["--version"]).is_some())
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
