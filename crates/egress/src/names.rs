//! Where names lead.
//!
//! A name is asked about once a connection, and the connection goes to one of the addresses of
//! that answer: between the check and the dial nobody is asked again.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

/// A question about a name under way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Knows the addresses of names.
pub trait Names: fmt::Debug + Send + Sync + 'static {
    /// All addresses of `host`, with this port.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a>;
}

/// What the machine itself is set up to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Names for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}
