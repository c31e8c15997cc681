//! May they call it? Role rules and Rego, asked together.
//!
//! The answer is a pure function of one [`Inquiry`] and one immutable
//! [`PolicySet`]: no clock, no network, no random number, no state from call to
//! call. What an answer may depend on is all in the inquiry, and the inquiry has
//! one written form ([`PolicySet::input_document`]); so a recorded decision can
//! be reached again, byte for byte, a year later ([`simulate`]).
//!
//! Both layers are always evaluated completely. `hide` beats `deny` beats
//! `approve` beats `allow`; when nobody says anything the answer is `deny`.

mod bundle;
mod config;
mod document;
mod facts;
mod prepared;
mod problem;
mod rego;
mod roles;
mod ruling;
mod set;
mod simulate;
mod value;

pub use bundle::BundleError;
pub use config::{Condition, Mode, Options, RegoSource, RolePolicy, Rule};
pub use facts::{
    Arguments, Context, DefinitionFacts, EarlierCall, Inquiry, ServerFacts, SessionFacts, Target,
};
pub use problem::{At, PolicyError, Warning};
pub use rego::trial_compile;
pub use roles::claims_named;
pub use ruling::{Listing, Ruling};
pub use set::{Compiled, PolicySet, Trial, sha256};
pub use simulate::{InvalidInput, asked, simulate};
