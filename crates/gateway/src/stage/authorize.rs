//! Stage 4 of 8: may this caller call this?
//!
//! Takes a [`Resolved`] call and yields a [`Permitted`] one, or says why not. The
//! decision is a pure function of the call and one snapshot: no clock of its own,
//! no network, no database. That is what lets an auditor reach the same verdict a
//! year later. When nobody has anything to say, the answer is no.

use std::sync::Arc;
use std::time::Duration;

use doorward_model::json::Value;
use doorward_model::{Decision, Layer, Verdict};
use doorward_policy::{Arguments, Inquiry, Ruling, Target, sha256};

use crate::costly::TooMany;
use crate::stage::resolve::{Presence, Resolved};
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
pub(crate) async fn authorize(resolved: Resolved<'_>) -> Result<Permitted<'_>, Box<Refused<'_>>> {
    let (ruling, input) = match decide(&resolved) {
        Decided::At(ruling, input) => (ruling, input),
        // On the heap: rare, and every call would have room for it.
        Decided::Costly(document, input) => match Box::pin(decide_elsewhere(&resolved, document)).await {
            Ok(ruling) => (ruling, input),
            Err(TooMany) => {
                let decision = Decision::deny(Layer::Limit, BUSY);
                return Err(resolved.into_refused(Refusal::Limited { decision, retry_after: SOON }));
            }
        },
    };
    match ruling.decision.verdict {
        Verdict::Allow if resolved.may_exist() => {
            match resolved.unfit().or_else(|| tasks::lacking(&resolved)) {
                None => Ok(Permitted { resolved, ruling, input }),
                Some(error) => Err(resolved.into_refused(Refusal::Invalid(error)).ruled(ruling, input)),
            }
        }
        // Allowed, but there is no such thing, or its registration withholds it.
        Verdict::Allow => {
            let decision = Decision::hide(Layer::Exposure, ABSENT);
            Err(resolved.into_refused(Refusal::Unknown(decision)).ruled(ruling, input))
        }
        // To a caller who may not see it, it does not exist.
        Verdict::Hide => {
            let decision = ruling.decision.clone();
            Err(resolved.into_refused(Refusal::Unknown(decision)).ruled(ruling, input))
        }
        // What is refused but absent, or perhaps absent, must not be told from what is hidden.
        Verdict::Deny | Verdict::Approve if let Some(because) = looks_absent(&resolved) => {
            let mut decision = Decision::hide(Layer::Exposure, because);
            decision.reasons.extend(ruling.decision.reasons.iter().cloned());
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

/// Why a call that is allowed, or would be refused, is answered as unknown.
const ABSENT: &str = "no such capability, or disabled";

/// The same where it is not known whether there is such a thing.
const PERHAPS_ABSENT: &str = "it is not known whether there is such a capability, and some are hidden";

/// Why a refused call is answered like one on what does not exist, if it is. To whoever may not
/// see them, what is hidden and what is absent are one.
fn looks_absent(resolved: &Resolved<'_>) -> Option<&'static str> {
    let asked = resolved.asked();
    let may_hide = || asked.snapshot.rulebook.policy.may_hide(asked.caller, &resolved.server().id);
    match resolved.presence() {
        Presence::Listed => None,
        Presence::Absent => Some(ABSENT),
        Presence::Unknown => may_hide().then_some(PERHAPS_ABSENT),
    }
}

/// The reason of a refusal because a caller has too many costly decisions under way.
const BUSY: &str = "too many calls whose policies take long are under way for this caller; try again in 1 s";

/// When there is room again for them.
const SOON: Duration = Duration::from_secs(1);

/// What came of asking the policy on a thread that serves others as well.
enum Decided {
    At(Ruling, Input),
    /// It takes too many steps; here is the input document, to decide elsewhere.
    Costly(String, Input),
}

fn decide(resolved: &Resolved<'_>) -> Decided {
    let asked = resolved.asked();
    let snapshot = &asked.snapshot;
    let Some(server) = snapshot.server_facts(&resolved.server().id) else {
        // The server was found in this very snapshot; were it not, nothing is allowed.
        let decision = Decision::deny(Layer::Scope, doorward_model::decision::DEFAULT_DENY);
        return Decided::At(Ruling::from(decision), Input::default());
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
    match policy.decide_quickly(&inquiry) {
        Some(ruling) => Decided::At(ruling, Input { digest, document: is_kept.then_some(document) }),
        None => {
            let kept = is_kept.then(|| document.clone());
            Decided::Costly(document, Input { digest, document: kept })
        }
    }
}

async fn decide_elsewhere(resolved: &Resolved<'_>, document: String) -> Result<Ruling, TooMany> {
    let asked = resolved.asked();
    let policy = Arc::clone(&asked.snapshot.rulebook.policy);
    asked.gateway.costly.decide(&asked.caller.grant.id, policy, document).await
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
