//! From where a stream looks at the gateway: all that its view depends on.

use std::net::IpAddr;
use std::sync::Arc;

use doorward_identity::Presented;
use doorward_model::{Caller, ClientLabel, Secret, Timestamp};
use doorward_policy::Context;

use crate::pipeline::Asked;
use crate::surface::Surface;

/// Who looks, at what, from where. Outlives the request that it was taken from.
#[derive(Clone, Debug)]
pub(crate) struct Standpoint {
    pub caller: Arc<Caller>,
    pub credential: Credential,
    pub surface: Surface,
    pub ip: Option<IpAddr>,
    pub origin: &'static str,
    pub client: ClientLabel,
    /// What servers are told of the client's capabilities.
    pub declared: Arc<str>,
}

/// What the caller was recognised by. Kept, because only what is presented anew can be judged
/// anew: the key may have another text by now, and the token another reader.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    /// This, or nothing at all.
    Presented(Option<Secret>),
    /// Whatever it was, it was presented elsewhere.
    Elsewhere,
}

impl Credential {
    pub(crate) fn of(presented: Presented<'_>) -> Self {
        Self::Presented(presented.bearer.map(Secret::new))
    }
}

impl Standpoint {
    pub(crate) fn of(asked: &Asked<'_>) -> Self {
        let arrival = &asked.incoming.arrival;
        Self {
            caller: Arc::clone(asked.caller),
            credential: Credential::of(arrival.presented()),
            surface: arrival.surface.clone(),
            ip: arrival.ip,
            origin: arrival.origin,
            client: asked.client.clone(),
            declared: Arc::clone(&asked.declared),
        }
    }

    /// Whether whoever looks from either place may see and do the same under any rules.
    pub(crate) fn has_the_rights_of(&self, other: &Self) -> bool {
        let is_the_same = Arc::ptr_eq(&self.caller, &other.caller) || self.caller == other.caller;
        is_the_same && self.ip == other.ip
    }

    /// Where and when, as policies see it.
    pub(crate) fn context(&self, time: Timestamp) -> Context<'_> {
        Context { time, ip: self.ip, origin: self.origin, client: &self.client }
    }
}
