//! Who is calling? Keys and signed tokens in, a [`Caller`](doorward_model::Caller) out.
//!
//! Nothing here reads a file, opens a socket or looks at the system's clock: keys
//! arrive as [`Settings`], time as a [`Clock`](doorward_model::Clock), and the one
//! document that lives elsewhere, an issuer's key set, through a [`KeyFetcher`].
//! To the outside every refusal is the same; the difference is for the log.

mod authenticator;
mod cache;
mod claims;
mod issuer;
mod jwks;
mod key;
mod refused;
mod settings;
mod strength;
mod token;

pub use authenticator::{Authenticator, Presented, keyless};
pub use jwks::{FetchError, Fetching, KeyFetcher, fetch_keys};
pub use key::{Damaged, StoredKey, new_key};
pub use refused::Refused;
pub use settings::{JwtKey, JwtSettings, KEY_SET_MAX_AGE, KeySettings, Settings, SettingsError};
pub use strength::{Weakness, weakness};
