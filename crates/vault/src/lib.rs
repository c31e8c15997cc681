//! Who can read this?
//!
//! Keys that never leave their folder, and what is sealed with them.

mod key;
mod sealer;

pub use key::{KeyError, open};
pub use sealer::Sealer;
