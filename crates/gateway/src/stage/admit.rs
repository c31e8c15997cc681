//! Stage 5 of 8: is there allowance left?
//!
//! Asked last of all questions, so that only a call that everything else allowed
//! uses any of it; and of quotas only when the rate limits have room, so that a call
//! that no quota speaks of waits for nobody.

use std::sync::Arc;

use doorward_limit::{Claim, Exceeded, Reservation, Subject, Unreserved};
use doorward_model::{Decision, Layer, Uncounted};

use crate::ask::state;
use crate::reply::whole_seconds;
use crate::stage::authorize::Permitted;
use crate::stage::{Refusal, Refused};

/// A call that fits into every limit.
pub(crate) struct Admitted<'a> {
    permitted: Permitted<'a>,
    reservation: Option<Reservation>,
}

/// Takes one unit from every limit that speaks of this call, or from none: first of the
/// rate limits, then of the quotas.
pub(crate) async fn admit(permitted: Permitted<'_>) -> Result<Admitted<'_>, Box<Refused<'_>>> {
    let resolved = permitted.resolved();
    let asked = resolved.asked();
    let rulebook = &asked.snapshot.rulebook;
    let subject = Subject {
        caller: asked.caller,
        server: &resolved.server().id,
        tool: resolved.target(),
        ip: asked.incoming.arrival.ip,
    };
    if let Err(exceeded) = rulebook.limiter.take(&subject) {
        return Err(limited(permitted, exceeded));
    }
    // A suspended call that goes on was counted when it was sent.
    let is_counted = state::is_suspended(resolved.round());
    let claim = rulebook.quotas.claim(&subject, asked.incoming.received).filter(|_| !is_counted);
    match claim {
        None => Ok(Admitted { permitted, reservation: None }),
        // On the heap: rare, and every call would have room for it.
        Some(claim) => Box::pin(reserve(permitted, claim)).await,
    }
}

fn limited(permitted: Permitted<'_>, exceeded: Exceeded) -> Box<Refused<'_>> {
    let seconds = whole_seconds(exceeded.retry_after);
    let reason = format!("rate limit `{}` exceeded; try again in {seconds} s", exceeded.name);
    let decision = denied(&exceeded.name, reason);
    permitted.into_refused(Refusal::Limited { decision, retry_after: exceeded.retry_after })
}

async fn reserve(permitted: Permitted<'_>, claim: Claim) -> Result<Admitted<'_>, Box<Refused<'_>>> {
    // In a task of its own: if the client leaves now, the task still learns what was counted,
    // and gives it back.
    let name = claim.name().to_owned();
    let counts = Arc::clone(&permitted.resolved().asked().gateway.counts);
    let reserved = tokio::spawn(claim.reserve(counts)).await.unwrap_or_else(|error| {
        let cause = Uncounted { what: "the gateway stops", cause: error.to_string() };
        Err(Unreserved::Uncounted { name, cause })
    });
    let unreserved = match reserved {
        Ok(reservation) => return Ok(Admitted { permitted, reservation: Some(reservation) }),
        Err(unreserved) => unreserved,
    };
    let reason = unreserved.to_string();
    Err(permitted.into_refused(match unreserved {
        Unreserved::Exceeded { name, resets_at, used, .. } => {
            Refusal::Exhausted { decision: denied(&name, reason), resets_at, used }
        }
        Unreserved::Uncounted { name, .. } => Refusal::Denied(denied(&name, reason)),
    }))
}

fn denied(limit: &str, reason: String) -> Decision {
    let mut decision = Decision::deny(Layer::Limit, reason);
    decision.rule = Some(format!("limits/{limit}"));
    decision
}

impl<'a> Admitted<'a> {
    pub(crate) fn permitted(&self) -> &Permitted<'a> {
        &self.permitted
    }

    /// How many of each quota that speaks of the call are used.
    pub(crate) fn used(&self) -> &[(String, u64)] {
        self.reservation.as_ref().map_or(&[], Reservation::used)
    }

    pub(crate) fn into_parts(self) -> (Permitted<'a>, Option<Reservation>) {
        (self.permitted, self.reservation)
    }
}
