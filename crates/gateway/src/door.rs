//! The doors: HTTP, stdio and the socket. All lead to the same pipeline.

mod admit;
mod body;
mod collect;
mod cors;
mod guard;
mod look;
mod media;
mod offered;
mod order;
mod paced;
mod peer;
mod post;
mod preface;
mod refuse;
mod request;
mod respond;
mod serve;
mod socket;
mod stdio;
mod strangers;
mod tell;
mod until;

pub(crate) use body::{Body, CallStream, EventStream, ListenStream, Pending};
pub use guard::Guard;
pub use offered::{Offered, Offers, offers, read_offers};
pub use order::{Doing, Doings, Level, Levels, NoServer, Order, read_doings, read_order_answer};
pub use peer::Peers;
pub use preface::{Foreign, InForce, Preface, Turned, read_answer, read_line};
pub use serve::{Front, Listener, MAX_HEAD, ServeError, serve};
pub use socket::{Holder, Open, Socket, connect, serve_socket};
pub use stdio::serve_stdio;
pub(crate) use strangers::Strangers;
pub use until::Until;
