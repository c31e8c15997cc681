//! Stage 4 of 8: may this caller call this?
//!
//! Takes a [`Resolved`] call and yields a [`Permitted`] one, or says why not. The
//! decision is a pure function of the call and one snapshot: no clock of its own,
//! no network, no database. That is what lets an auditor reach the same verdict a
//! year later. When nobody has anything to say, the answer is no.

use doorward_model::json::Value;
use doorward_model::{Decision, Layer, Verdict};
use doorward_policy::{Arguments, Inquiry, Ruling, Target, sha256};

use crate::stage::resolve::Resolved;
use crate::stage::{Input, Refusal, Refused};
use crate::tasks;

/// A call that some rule allowed. Its fields are private to this file, so
/// [`authorize`] is the only way to get one, and `admit` accepts nothing else.
pub(crate) struct Permitted<'a> {
    resolved: Resolved<'a>,
    ruling: Ruling,
    input: Input,
}

/// Asks the policy. Allowing is the only path that yields a [`Permitted`].
pub(crate) fn authorize(resolved: Resolved<'_>) -> Result<Permitted<'_>, Box<Refused<'_>>> {
    let (ruling, input) = decide(&resolved);
    match ruling.decision.verdict {
        Verdict::Allow if resolved.exists() => match resolved.unfit().or_else(|| tasks::lacking(&resolved)) {
            None => Ok(Permitted { resolved, ruling, input }),
            Some(error) => Err(resolved.into_refused(Refusal::Invalid(error)).ruled(ruling, input)),
        },
        // Allowed, but there is no such thing, or its registration withholds it.
        Verdict::Allow => {
            let decision = Decision::hide(Layer::Exposure, "no such capability, or disabled");
            Err(resolved.into_refused(Refusal::Unknown(decision)).ruled(ruling, input))
        }
        // To a caller who may not see it, it does not exist.
        Verdict::Hide => {
            let decision = ruling.decision.clone();
            Err(resolved.into_refused(Refusal::Unknown(decision)).ruled(ruling, input))
        }
        // Approvals are not built yet: what needs one is refused, and says so.
        Verdict::Approve => {
            let mut decision = ruling.decision.clone();
            decision.verdict = Verdict::Deny;
            decision.layer = Layer::Approval;
            decision
                .reasons
                .insert(0, "needs the approval of a human, which this version cannot ask for".to_owned());
            Err(resolved.into_refused(Refusal::Denied(decision)).ruled(ruling, input))
        }
        Verdict::Deny => {
            let decision = ruling.decision.clone();
            Err(resolved.into_refused(Refusal::Denied(decision)).ruled(ruling, input))
        }
    }
}

fn decide(resolved: &Resolved<'_>) -> (Ruling, Input) {
    let asked = resolved.asked();
    let snapshot = &asked.snapshot;
    let Some(server) = snapshot.server_facts(&resolved.server().id) else {
        // The server was found in this very snapshot; were it not, nothing is allowed.
        return (
            Ruling::from(Decision::deny(Layer::Scope, doorward_model::decision::DEFAULT_DENY)),
            Input::default(),
        );
    };
    let context = asked.context();
    let inquiry = Inquiry {
        operation: resolved.operation(),
        server,
        target: Target::new(resolved.kind(), resolved.target()),
        arguments: arguments(resolved),
        caller: asked.caller,
        definition: resolved.capability().and_then(|capability| snapshot.definition_facts(capability)),
        session: None,
        context: &context,
        limits: &[],
    };
    let policy = &snapshot.rulebook.policy;
    let document = policy.input_document(&inquiry);
    let digest = sha256(document.as_bytes());
    let is_kept = asked.gateway.ledger.keeps_payloads_of(resolved.server().id.as_str());
    (policy.decide(&inquiry), Input { digest, document: is_kept.then_some(document) })
}

/// The arguments, as far as policies may look at them.
fn arguments<'a>(resolved: &Resolved<'a>) -> Arguments<'a> {
    let arguments = resolved.arguments();
    let holds_beyond = |arguments: &Value<'_>| arguments.unsafe_integers().next().is_some();
    match arguments.filter(|_| resolved.asked().incoming.unless_exact.is_some()).filter(holds_beyond) {
        Some(arguments) => Arguments::Incomparable(arguments),
        None => Arguments::Known(arguments),
    }
}

impl<'a> Permitted<'a> {
    pub(crate) fn resolved(&self) -> &Resolved<'a> {
        &self.resolved
    }

    pub(crate) fn ruling(&self) -> &Ruling {
        &self.ruling
    }

    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    pub(crate) fn into_refused(self, refusal: Refusal) -> Box<Refused<'a>> {
        self.resolved.into_refused(refusal).ruled(self.ruling, self.input)
    }
}
