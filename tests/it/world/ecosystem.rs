//! Servers and clients from npm and PyPI, where `cargo xtask test` put them.

use std::path::PathBuf;

/// The folder with everything, or an explanation of how to get it.
pub fn folder() -> PathBuf {
    let folder = std::env::var_os("DOORWARD_ECOSYSTEM").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ecosystem"));
    assert!(folder.join("node").exists(), "{} is empty: run `cargo xtask test` once", folder.display());
    folder
}

/// The entry point of an npm server.
pub fn node_server(name: &str) -> String {
    let path = folder().join("node/node_modules/@modelcontextprotocol").join(name).join("dist/index.js");
    path.display().to_string()
}

/// Node.js 22, for what does not run on older ones.
pub fn node_22() -> PathBuf {
    folder().join("node22/node_modules/node/bin/node")
}

/// An agent, or another program from npm that stands beside them.
pub fn agent(name: &str) -> PathBuf {
    folder().join("agents/node_modules/.bin").join(name)
}
