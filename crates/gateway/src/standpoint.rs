//! From where a stream looks at the gateway: all that its view depends on.

use std::net::IpAddr;
use std::sync::Arc;

use doorward_model::{Caller, ClientLabel, Timestamp};
use doorward_policy::Context;

use crate::pipeline::Asked;
use crate::surface::Surface;

/// Who looks, at what, from where. Outlives the request that it was taken from.
#[derive(Clone, Debug)]
pub(crate) struct Standpoint {
    pub caller: Arc<Caller>,
    pub surface: Surface,
    pub ip: Option<IpAddr>,
    pub origin: &'static str,
    pub client: ClientLabel,
    /// What servers are told of the client's capabilities.
    pub declared: Arc<str>,
}

impl Standpoint {
    pub(crate) fn of(asked: &Asked<'_>) -> Self {
        let arrival = &asked.incoming.arrival;
        Self {
            caller: Arc::clone(asked.caller),
            surface: arrival.surface.clone(),
            ip: arrival.ip,
            origin: arrival.origin,
            client: asked.client.clone(),
            declared: Arc::clone(&asked.declared),
        }
    }

    /// Where and when, as policies see it.
    pub(crate) fn context(&self, time: Timestamp) -> Context<'_> {
        Context { time, ip: self.ip, origin: self.origin, client: &self.client }
    }
}
