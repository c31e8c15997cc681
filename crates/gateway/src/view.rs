//! The view: what one caller may see on one endpoint.
//!
//! A list asks of each capability the question that a call would ask, with the
//! arguments left open.

use std::sync::Arc;
use std::time::Duration;

use doorward_model::{Caller, CapabilityKind, Decision, Operation, ServerId, Timestamp, Verdict};
use doorward_policy::{Arguments, Context, DefinitionFacts, Inquiry, Listing, Target};
use doorward_registry::{Capability, Problem, Server};

use crate::catalogs;
use crate::pipeline::Asked;
use crate::snapshot::Snapshot;
use crate::standpoint::Standpoint;
use crate::surface::Surface;

/// The name of no tool. Of patterns, only those match it that match everything.
const UNHEARD_OF: &str = "\u{1}";

/// One caller's look at one endpoint of one world.
pub(crate) struct View<'a> {
    snapshot: &'a Snapshot,
    caller: &'a Caller,
    surface: &'a Surface,
    context: Context<'a>,
    /// What servers are told of the caller's client.
    declared: &'a str,
}

impl<'a> View<'a> {
    pub(crate) fn of(asked: &'a Asked<'_>) -> Self {
        let surface = &asked.incoming.arrival.surface;
        Self {
            snapshot: &asked.snapshot,
            caller: asked.caller,
            surface,
            context: asked.context(),
            declared: &asked.declared,
        }
    }

    pub(crate) fn from(standpoint: &'a Standpoint, snapshot: &'a Snapshot, time: Timestamp) -> Self {
        let context = standpoint.context(time);
        Self {
            snapshot,
            caller: &standpoint.caller,
            surface: &standpoint.surface,
            context,
            declared: &standpoint.declared,
        }
    }

    /// The servers that exist for this caller on this endpoint and could allow it anything.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &'a Arc<Server>> + use<'a> {
        let Self { snapshot, caller, surface, .. } = *self;
        snapshot.registry.servers().iter().filter(move |server| {
            let is_here = match surface {
                Surface::Server(id) => server.id == *id,
                Surface::Aggregate | Surface::Gateway => true,
            };
            is_here
                && snapshot.reaches(caller, server)
                && snapshot.rulebook.policy.may_allow(caller, &server.id)
        })
    }

    /// What may be seen of one server.
    pub(crate) fn of_server(
        &self,
        server: &'a Server,
        kind: CapabilityKind,
    ) -> impl Iterator<Item = &'a Arc<Capability>> {
        let registry = &self.snapshot.registry;
        let listing = registry.listing(&server.id, self.declared);
        let offered = listing.into_iter().flat_map(|listing| &listing.offered);
        // Under its own name it is the only one.
        let has_own_names = *self.surface != Surface::Aggregate;
        offered.filter(move |capability| {
            capability.kind == kind
                && server.offers(kind, &capability.name)
                && (has_own_names || registry.is_exposed(capability))
                && self.shows(capability)
        })
    }

    fn shows(&self, capability: &Capability) -> bool {
        let definition = self.snapshot.definition_facts(capability);
        let target = Target::new(capability.kind, &capability.name);
        self.lists(&capability.server.id, operation(capability.kind), target, definition)
    }

    /// Whether a rule hides it, or denies it whatever the arguments: then a call has its own answer,
    /// unlike that of what nobody allows.
    pub(crate) fn is_refused_by_rule(&self, capability: &Capability) -> bool {
        let definition = self.snapshot.definition_facts(capability);
        let target = Target::new(capability.kind, &capability.name);
        let server = &capability.server.id;
        let listing = self.listing(server, operation(capability.kind), target, definition);
        let decision = listing.map(|listing| listing.decision);
        decision.is_some_and(|decision| match decision.verdict {
            Verdict::Hide => true,
            Verdict::Deny => decision.rule.is_some(),
            Verdict::Allow | Verdict::Approve => false,
        })
    }

    /// Why a tool that no rule has ever heard of is denied, if it is on every server that could allow
    /// this caller anything.
    pub(crate) fn denial_of_the_unheard_of(&self) -> Option<Decision> {
        let target = Target::new(CapabilityKind::Tool, UNHEARD_OF);
        let mut denial = None;
        for server in self.servers() {
            let listing = self.listing(&server.id, Operation::ToolsCall, target, None)?;
            if listing.shown || listing.decision.verdict != Verdict::Deny {
                return None;
            }
            denial.get_or_insert(listing.decision);
        }
        denial
    }

    /// Whether a list may name a resource that is in no catalog.
    pub(crate) fn names(&self, server: &Server, operation: Operation, uri: &str) -> bool {
        let target = Target::new(CapabilityKind::Resource, uri);
        server.offers(CapabilityKind::Resource, uri) && self.lists(&server.id, operation, target, None)
    }

    /// Whether this caller may hear what is wrong with what a server offers.
    pub(crate) fn tells(&self, server: &Server, problem: &Problem) -> bool {
        match &problem.name {
            None => true,
            Some(name) => {
                let target = Target::new(problem.kind, name);
                server.offers(problem.kind, name)
                    && self.lists(&server.id, operation(problem.kind), target, None)
            }
        }
    }

    fn lists(
        &self,
        server: &ServerId,
        operation: Operation,
        target: Target<'_>,
        definition: Option<&DefinitionFacts>,
    ) -> bool {
        self.listing(server, operation, target, definition).is_some_and(|listing| listing.shown)
    }

    fn listing(
        &self,
        server: &ServerId,
        operation: Operation,
        target: Target<'_>,
        definition: Option<&DefinitionFacts>,
    ) -> Option<Listing> {
        let snapshot = self.snapshot;
        let server = snapshot.server_facts(server)?;
        let inquiry = Inquiry {
            operation,
            server,
            target,
            arguments: Arguments::Listing,
            caller: self.caller,
            definition,
            session: None,
            context: &self.context,
            limits: &[],
        };
        Some(snapshot.rulebook.policy.lists(&inquiry))
    }
}

/// The operation that a list of this kind is about.
fn operation(kind: CapabilityKind) -> Operation {
    match kind {
        CapabilityKind::Tool => Operation::ToolsCall,
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => Operation::ResourcesRead,
        CapabilityKind::Prompt => Operation::PromptsGet,
    }
}

/// The servers that exist for this caller on this endpoint and could allow it anything.
pub(crate) fn servers(asked: &Asked<'_>) -> Vec<Arc<Server>> {
    View::of(asked).servers().cloned().collect()
}

/// The servers that this caller may see on this endpoint, whether they are in service or not.
pub(crate) fn registered(asked: &Asked<'_>) -> Vec<Arc<Server>> {
    let snapshot = &asked.snapshot;
    let all = snapshot.registry.servers().iter();
    all.filter(|server| snapshot.may_see(asked.caller, server)).cloned().collect()
}

/// Makes sure that these servers have been asked what they offer, then looks again.
pub(crate) async fn refresh(asked: &mut Asked<'_>) {
    refresh_within(asked, asked.gateway.settings.list_wait).await;
    let servers: Vec<_> = View::of(asked).servers().map(|server| server.id.clone()).collect();
    catalogs::forget_replaced(asked.gateway, &servers);
    asked.snapshot = asked.gateway.snapshot();
}

/// The same, waiting no longer than this.
pub(crate) async fn refresh_within(asked: &mut Asked<'_>, patience: Duration) {
    let registry = &asked.snapshot.registry;
    let unknown: Vec<ServerId> = View::of(asked)
        .servers()
        .filter(|server| {
            registry.listing(&server.id, &asked.declared).is_none()
                || asked.gateway.asking.is_replaced(&server.id)
        })
        .map(|server| server.id.clone())
        .collect();
    catalogs::ensure_all(asked.gateway, unknown, &asked.declared, patience).await;
    asked.snapshot = asked.gateway.snapshot();
}

/// Everything of one kind that this caller may see, in configuration order and
/// within it in the servers' own order.
pub(crate) fn capabilities(asked: &Asked<'_>, kind: CapabilityKind) -> Vec<Arc<Capability>> {
    let view = View::of(asked);
    view.servers().flat_map(|server| view.of_server(server, kind)).cloned().collect()
}
