//! Opens many `subscriptions/listen` streams and holds them until standard input ends.
//!
//! Each is one connection, as clients have it. Prints one line once all are
//! acknowledged, with how long that took.

#![allow(clippy::disallowed_methods, reason = "time is what is measured here")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// Connections that are being opened at once.
const AT_ONCE: usize = 64;

struct Options {
    address: String,
    count: usize,
    tokens: Vec<String>,
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options { address: String::new(), count: 1000, tokens: Vec::new() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("address") => options.address = parser.value()?.string()?,
            Long("count") => options.count = parser.value()?.parse()?,
            Long("token") => options.tokens.push(parser.value()?.string()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let options = options()?;
    let started = Instant::now();
    let mut open = Vec::with_capacity(options.count);
    let mut opening = JoinSet::new();
    for number in 0..options.count {
        let token = options.tokens.get(number % options.tokens.len().max(1)).cloned().unwrap_or_default();
        opening.spawn(listen(options.address.clone(), token));
        if opening.len() >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            open.push(opened??);
        }
    }
    while let Some(opened) = opening.join_next().await {
        open.push(opened??);
    }
    println!("{{\"streams\":{},\"seconds\":{:.2}}}", open.len(), started.elapsed().as_secs_f64());
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Opens one stream and waits for its acknowledgement.
async fn listen(address: String, token: String) -> Result<TcpStream, std::io::Error> {
    let mut stream = TcpStream::connect(&address).await?;
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !contains(&answer, b"acknowledged") {
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer));
        let read = read.await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        if read == 0 || contains(&answer, b"HTTP/1.1 4") {
            return Err(std::io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
    Ok(stream)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(text, wanted).is_some()
}
