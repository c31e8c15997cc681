//! The server as a program: `everything --listen 127.0.0.1:0` or `everything --stdio`.
//!
//! With `--listen`, the first line of standard output is the URL.

#![allow(clippy::disallowed_methods, reason = "a server of its own")]

use std::error::Error;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use doorward_everything::{Eras, Everything, http, stdio};
use lexopt::prelude::*;
use tokio::io::BufReader;
use tokio::net::TcpListener;

const USAGE: &str = "everything (--listen ADDRESS | --stdio) [--era both|legacy|modern]";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut listen: Option<SocketAddr> = None;
    let mut pipes = false;
    let mut eras = Eras::Both;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("listen") => listen = Some(arguments.value()?.parse()?),
            Long("stdio") => pipes = true,
            Long("era") => eras = arguments.value()?.to_str().and_then(Eras::parse).ok_or(USAGE)?,
            _ => return Err(argument.unexpected().into()),
        }
    }
    let server = Arc::new(Everything::new(eras));
    match listen {
        Some(address) if !pipes => {
            let listener = TcpListener::bind(address).await?;
            let mut output = std::io::stdout();
            writeln!(output, "http://{}{}", listener.local_addr()?, http::PATH)?;
            output.flush()?;
            http::serve(listener, server).await;
        }
        None if pipes => {
            stdio::serve(server, BufReader::new(tokio::io::stdin()), tokio::io::stdout()).await;
            // A read of standard input cannot be cancelled, so the runtime would wait for it.
            std::process::exit(0);
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}
