//! A client for the client half of the conformance suite: `walker DOORWARD URL`.
//!
//! It starts a gateway whose one server is the suite's mock at `URL`, and walks
//! through all that the gateway offers: every tool, resource and prompt, once. It
//! is naive on purpose. What a good client has to notice about a server, the
//! gateway has to notice for it.

#![allow(clippy::disallowed_methods, reason = "a program of its own, which runs another")]

mod client;
mod form;
mod gateway;
mod headers;
mod turn;
mod walk;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

/// How long a walk may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whatever went wrong.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let program = PathBuf::from(arguments.next().ok_or("walker DOORWARD URL")?);
    let url = arguments.next().and_then(|url| url.into_string().ok()).ok_or("walker DOORWARD URL")?;
    let revision = std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION")?;
    let context = std::env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_else(|_| "{}".to_owned());
    let context: Value = serde_json::from_str(&context)?;
    let _turn = turn::take().await?;
    let gateway = gateway::start(&program, &url).await?;
    let walk = async {
        let mut client = client::Client::connect(gateway.address, &revision).await?;
        walk::walk(&mut client, &context).await
    };
    // The suite would wait longer, and leave the gateway behind.
    let walked = tokio::time::timeout(PATIENCE, walk).await;
    gateway.stop().await?;
    walked.map_err(|_| "something was never answered")?
}
