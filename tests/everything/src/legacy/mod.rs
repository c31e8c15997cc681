//! The eras before 2026-07-28: a handshake, a session, questions that are requests.

mod calls;
mod dispatch;
mod notices;
mod session;
mod tasks;

pub use session::Session;
