//! The stages of a call, and what a refused call carries to the end.

pub(crate) mod admit;
pub(crate) mod authorize;
pub(crate) mod commit;
mod counted;
pub(crate) mod identify;
pub(crate) mod resolve;
pub(crate) mod send;
pub(crate) mod settle;

use std::sync::Arc;
use std::time::Duration;

use doorward_model::{CapabilityKind, Decision, Operation, Timestamp};
use doorward_policy::Ruling;
use doorward_registry::Server;
use doorward_wire::RpcError;

use crate::pipeline::Asked;
use resolve::{Place, Resolved};

/// Why a call goes no further.
pub(crate) enum Refusal {
    /// The request does not say what it wants.
    Invalid(RpcError),
    /// It holds an integer beyond ±(2^53−1), which its server does not take.
    Beyond(RpcError),
    /// To this caller, what it named does not exist.
    Unknown(Decision),
    /// A rule says no.
    Denied(Decision),
    /// Over a rate limit.
    Limited {
        /// Names the limit.
        decision: Decision,
        /// When there is room again.
        retry_after: Duration,
    },
    /// A quota is used up.
    Exhausted {
        /// Names the quota.
        decision: Decision,
        /// When it is renewed.
        resets_at: Timestamp,
        /// How many of each quota that speaks of the call are used.
        used: Vec<(String, u64)>,
    },
    /// The log cannot be written, so nothing may happen.
    Unrecorded(doorward_ledger::LedgerError),
}

/// What a verdict was reached from, as policies saw it.
#[derive(Default)]
pub(crate) struct Input {
    /// Its digest; empty where no policy was asked.
    pub digest: String,
    /// The document itself, where the log keeps it.
    pub document: Option<String>,
}

/// A refused call on its way to its record and its answer.
pub(crate) struct Refused<'a> {
    pub asked: Box<Asked<'a>>,
    pub operation: Operation,
    pub place: Place,
    pub arguments: Option<doorward_model::json::Value<'a>>,
    pub refusal: Refusal,
    pub ruling: Option<Ruling>,
    pub input: Input,
}

impl<'a> Refused<'a> {
    /// A call that was refused before its target was known.
    pub(crate) fn new(asked: Box<Asked<'a>>, operation: Operation, refusal: Refusal) -> Box<Self> {
        let place = Place::default();
        Box::new(Self {
            asked,
            operation,
            place,
            arguments: None,
            refusal,
            ruling: None,
            input: Input::default(),
        })
    }

    /// A call that was refused once its target was known.
    pub(crate) fn resolved(resolved: Resolved<'a>, refusal: Refusal) -> Box<Self> {
        let (operation, arguments) = (resolved.operation(), resolved.arguments());
        let (asked, place) = resolved.into_asked();
        Box::new(Self { asked, operation, place, arguments, refusal, ruling: None, input: Input::default() })
    }

    /// Adds what the client called the target it could not reach.
    pub(crate) fn named(mut self: Box<Self>, kind: CapabilityKind, offered: String) -> Box<Self> {
        self.place.kind = Some(kind);
        self.place.target.clone_from(&offered);
        self.place.offered = offered;
        self
    }

    /// Adds the server that it named.
    pub(crate) fn of(mut self: Box<Self>, server: Arc<Server>) -> Box<Self> {
        self.place.server = Some(server);
        self
    }

    /// Adds what the policy said.
    pub(crate) fn ruled(mut self: Box<Self>, ruling: Ruling, input: Input) -> Box<Self> {
        self.ruling = Some(ruling);
        self.input = input;
        self
    }
}
