//! The view: what one caller may see on one endpoint.
//!
//! A list asks of each capability the question that a call would ask, with the
//! arguments left open.

use std::sync::Arc;

use doorward_model::{CapabilityKind, Operation, ServerId};
use doorward_policy::{Arguments, Inquiry};
use doorward_registry::{Capability, Server};

use crate::catalogs;
use crate::pipeline::Asked;
use crate::surface::Surface;

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
    let snapshot = &asked.snapshot;
    let on_surface = |server: &Server| match &asked.incoming.arrival.surface {
        Surface::Server(id) => server.id == *id,
        Surface::Aggregate | Surface::Gateway => true,
    };
    let registered = snapshot.registry.servers().iter();
    registered
        .filter(|server| {
            on_surface(server)
                && snapshot.reaches(asked.caller, server)
                && snapshot.rulebook.policy.may_allow(asked.caller, &server.id)
        })
        .cloned()
        .collect()
}

/// Makes sure that these servers have been asked what they offer, then looks again.
pub(crate) async fn refresh(asked: &mut Asked<'_>) {
    let registry = &asked.snapshot.registry;
    let unknown: Vec<ServerId> = servers(asked)
        .iter()
        .filter(|server| registry.catalog(&server.id).is_none())
        .map(|server| server.id.clone())
        .collect();
    catalogs::ensure_all(asked.gateway, unknown).await;
    asked.snapshot = asked.gateway.snapshot();
}

/// Everything of one kind that this caller may see, in configuration order and
/// within it in the servers' own order.
pub(crate) fn capabilities(asked: &Asked<'_>, kind: CapabilityKind) -> Vec<Arc<Capability>> {
    let mut shown = Vec::new();
    for server in servers(asked) {
        let offered = asked.snapshot.registry.of_server(&server.id).iter();
        for capability in offered.filter(|capability| capability.kind == kind) {
            if server.offers(kind, &capability.name) && is_shown(asked, capability) {
                shown.push(Arc::clone(capability));
            }
        }
    }
    shown
}

fn is_shown(asked: &Asked<'_>, capability: &Capability) -> bool {
    let snapshot = &asked.snapshot;
    let Some(server) = snapshot.server_facts(&capability.server.id) else { return false };
    let context = asked.context();
    let inquiry = Inquiry {
        operation: operation(capability.kind),
        server,
        target: &capability.name,
        arguments: Arguments::Listing,
        caller: asked.caller,
        definition: snapshot.definition_facts(capability),
        session: None,
        context: &context,
        limits: &[],
    };
    snapshot.rulebook.policy.lists(&inquiry).shown
}
