//! MCP as bytes: JSON-RPC messages, the two eras, headers, SSE and stdio framing.
//!
//! Nothing here opens a socket or knows a policy; it turns bytes into words and back.

pub mod abilities;
pub mod adapt;
pub mod edit;
pub mod era;
pub mod error;
pub mod header;
pub mod level;
pub mod lines;
pub mod log;
pub mod message;
pub mod meta;
pub mod own;
pub mod reply;
pub mod sse;
pub mod task;

pub use abilities::Abilities;
pub use era::{Era, Revision};
pub use error::RpcError;
