//! One row of the table: a server, the way to it, and what is known of it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::world::ecosystem;

pub struct Entry {
    /// What the gateway knows it by.
    pub id: &'static str,
    pub package: Package,
    pub way: Way,
    pub start: Start,
    /// The revision that the gateway speaks with it.
    pub revision: &'static str,
    /// How many tools it has, for a client that declares nothing.
    pub tools: usize,
    /// The calls that every client makes, in this order. What is said of the answer is said of
    /// the last one.
    pub calls: Vec<(&'static str, Value)>,
    pub says: Says,
    /// The tool that a guest is denied.
    pub denied: &'static str,
}

/// Where it comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// Of npm, in this folder.
    Npm(&'static str, &'static str),
    /// Of PyPI, in this environment.
    PyPi(&'static str, &'static str),
}

/// How the gateway reaches it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A child of the gateway.
    Stdio,
    /// A process of the test, at this path.
    Http(&'static str),
    /// The same, with the event stream there.
    Sse(&'static str),
}

/// How it is started.
pub struct Start {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub variables: Vec<(&'static str, String)>,
    /// The variable, or the argument, that takes the port.
    pub port: &'static str,
}

/// What the last answer holds.
#[derive(Clone, Copy)]
pub enum Says {
    /// A result.
    Result(&'static str),
    /// A result that says that it failed (`isError`): whatever the server works with is not there.
    Failure(&'static str),
    /// The same, and only its words say so.
    Words(&'static str),
    /// The same as an error of the protocol.
    Error(&'static str),
}

impl Start {
    pub fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self { program: program.into(), arguments, variables: Vec::new(), port: "PORT" }
    }

    /// A script, run by a Node.js that all of them can do with.
    pub fn node(script: &Path, arguments: &[&str]) -> Self {
        let script = script.display().to_string();
        Self::new(ecosystem::node_22(), &[&[script.as_str()], arguments].concat())
    }

    /// The same, of the servers' packages.
    pub fn npm(program: &str, arguments: &[&str]) -> Self {
        Self::node(&ecosystem::folder().join("servers/node_modules/.bin").join(program), arguments)
    }

    /// A program of a virtual environment.
    pub fn python(environment: &str, program: &str, arguments: &[&str]) -> Self {
        Self::new(ecosystem::folder().join(environment).join("bin").join(program), arguments)
            .with("FASTMCP_CHECK_FOR_UPDATES", "off")
            .with("FASTMCP_SHOW_SERVER_BANNER", "false")
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// With an argument for the port, rather than the variable `PORT`.
    pub fn port_as(self, argument: &'static str) -> Self {
        Self { port: argument, ..self }
    }
}

impl Way {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http(_) => "Streamable HTTP",
            Self::Sse(_) => "HTTP+SSE",
        }
    }
}

impl Says {
    /// How the call is recorded.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Result(_) | Self::Words(_) => "success",
            Self::Failure(_) => "tool_error",
            Self::Error(_) => "upstream_error",
        }
    }

    /// In the words of the page.
    fn shown(self) -> &'static str {
        match self {
            Self::Result(_) => "a result",
            Self::Failure(_) => "its own failure",
            Self::Words(_) => "its own failure, in words alone",
            Self::Error(_) => "its own error",
        }
    }
}

impl Package {
    /// What is installed, with its version.
    fn installed(self) -> String {
        match self {
            Self::Npm(folder, name) => {
                let file =
                    ecosystem::folder().join(folder).join("node_modules").join(name).join("package.json");
                let text =
                    std::fs::read_to_string(&file).expect("it is installed: run `cargo xtask test` once");
                let manifest: Value = serde_json::from_str(&text).expect("JSON");
                format!("{name} {}", manifest["version"].as_str().expect("a version"))
            }
            Self::PyPi(environment, name) => {
                let libraries = ecosystem::folder().join(environment).join("lib");
                let prefix = format!("{}-", name.replace('-', "_"));
                let mut folders =
                    entries(&libraries).flat_map(|python| entries(&python.join("site-packages")));
                let version = folders.find_map(|folder| {
                    let folder = folder.file_name()?.to_str()?.to_owned();
                    Some(folder.strip_prefix(&prefix)?.strip_suffix(".dist-info")?.to_owned())
                });
                format!("{name} {}", version.expect("it is installed: run `cargo xtask test` once"))
            }
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).expect("a folder").filter_map(|entry| Some(entry.ok()?.path()))
}

impl Entry {
    /// Its row on the page about servers, once all that the row claims was seen.
    pub fn row(&self) -> String {
        let called = self.calls.iter().map(|(tool, _)| format!("`{tool}`")).collect::<Vec<_>>().join(", ");
        let (package, way) = (self.package.installed(), self.way.as_str());
        let (revision, tools, said) = (self.revision, self.tools, self.says.shown());
        format!("| {package} | {way} | {revision} | {tools} | {called}: {said} | ✓ ✓ ✓ |")
    }
}
