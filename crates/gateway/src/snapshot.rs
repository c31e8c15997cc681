//! One consistent world: everything a decision depends on, swapped whole.

use std::sync::Arc;

use doorward_identity::Authenticator;
use doorward_ledger::{Dimensions, KnownSecrets};
use doorward_limit::{Limiter, Quotas, Requests};
use doorward_model::{Caller, CapabilityKind, Map, ServerId};
use doorward_policy::{DefinitionFacts, PolicySet, ServerFacts};
use doorward_registry::{Capability, Catalogs, Registry, Server};

use crate::door::Front;
use crate::method::Offer;

/// What the configuration says, ready for use.
#[derive(Clone)]
pub struct Rulebook {
    /// From where one may speak at all.
    pub front: Arc<Front>,
    /// Who may come in.
    pub authenticator: Arc<Authenticator>,
    /// The registered servers, in configuration order.
    pub servers: Vec<Arc<Server>>,
    /// Role rules and Rego.
    pub policy: Arc<PolicySet>,
    /// Rate limits. Shared by successive rulebooks whose limits are equal, so that
    /// a reload does not refill anybody's bucket.
    pub limiter: Arc<Limiter>,
    /// How many requests one caller may make that are no calls; shared in the same way.
    pub requests: Arc<Requests>,
    /// Secrets of the configuration, which no preview of arguments shows.
    pub known: Arc<KnownSecrets>,
    /// Quotas. What they have counted is kept elsewhere and outlives every rulebook.
    pub quotas: Arc<Quotas>,
    /// What is reported of usage; `None` if nothing is.
    pub metering: Option<Dimensions>,
}

/// The world as one call sees it.
pub struct Snapshot {
    /// What the configuration says.
    pub rulebook: Rulebook,
    /// What there is to call.
    pub registry: Registry,
    facts: Map<ServerId, Arc<ServerFacts>>,
    /// Of each server, those to its audiences, in the registry's order.
    offers: Map<ServerId, Vec<Offer>>,
    /// Facts of the capability with this position in the registry.
    definitions: Vec<DefinitionFacts>,
}

impl Snapshot {
    /// Builds the world from the configuration and what servers offered last.
    pub fn build(rulebook: Rulebook, catalogs: Catalogs) -> Self {
        let registry = Registry::build(rulebook.servers.clone(), catalogs);
        let facts = registry
            .servers()
            .iter()
            .map(|server| {
                let facts =
                    ServerFacts::new(server.id.clone(), server.tags.clone(), server.transport.to_owned());
                (server.id.clone(), Arc::new(facts))
            })
            .collect();
        let definitions = registry
            .all()
            .iter()
            .map(|capability| DefinitionFacts::new(&capability.fingerprint, &capability.annotations))
            .collect();
        let offers = registry
            .servers()
            .iter()
            .map(|server| {
                let listings = registry.listings(&server.id).iter();
                (server.id.clone(), listings.map(|listing| Offer::read(&listing.catalog)).collect())
            })
            .collect();
        Self { rulebook, registry, facts, offers, definitions }
    }

    /// What policies know of a server.
    pub fn server_facts(&self, id: &ServerId) -> Option<&Arc<ServerFacts>> {
        self.facts.get(id)
    }

    /// What a server declares towards clients that declare this; `None` while it has not
    /// answered any of them.
    pub(crate) fn offer(&self, id: &ServerId, declared: &str) -> Option<Offer> {
        let mut listings = self.registry.listings(id).iter();
        let at = listings.position(|listing| listing.audience().holds(declared))?;
        self.offers.get(id)?.get(at).copied()
    }

    /// What policies know of a definition.
    pub fn definition_facts(&self, capability: &Capability) -> Option<&DefinitionFacts> {
        self.definitions.get(capability.position)
    }

    /// Layers 2 and 3 for a whole server: whether it exists for this caller.
    pub fn reaches(&self, caller: &Caller, server: &Server) -> bool {
        server.enabled && is_granted(caller, server)
    }

    /// Whether this caller may know that there is such a server, in service or not: some rule
    /// could allow it something there.
    pub fn may_see(&self, caller: &Caller, server: &Server) -> bool {
        is_granted(caller, server) && self.rulebook.policy.may_allow(caller, &server.id)
    }

    /// What a server calls `name`, if it has it for clients that declare this and its
    /// registration leaves it callable.
    pub fn offered(
        &self,
        server: &ServerId,
        declared: &str,
        kind: CapabilityKind,
        name: &str,
    ) -> Option<&Arc<Capability>> {
        let named = self.registry.listing(server, declared)?.named(kind, name);
        named.filter(|capability| capability.server.offers(kind, name))
    }
}

fn is_granted(caller: &Caller, server: &Server) -> bool {
    caller.grant.servers.as_ref().is_none_or(|allowed| allowed.contains(&server.id))
}
