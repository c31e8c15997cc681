//! The doors: HTTP and stdio. Both lead to the same pipeline.

mod body;
mod guard;
mod http1;
mod peer;
mod serve;
mod stdio;
mod strangers;

pub(crate) use body::{Body, CallStream, ListenStream, Pending};
pub use guard::Guard;
pub use peer::Peers;
pub use serve::{Front, Listener, ServeError, serve};
pub use stdio::serve_stdio;
pub(crate) use strangers::Strangers;
