//! Stage 6 of 8: is there allowance left?
//!
//! Asked last of all questions, so that only a call that everything else allowed
//! uses any of it.

use doorward_limit::Subject;
use doorward_model::{Decision, Layer};

use crate::stage::authorize::Permitted;
use crate::stage::{Refusal, Refused};

/// A call that fits into every limit.
pub(crate) struct Admitted<'a> {
    permitted: Permitted<'a>,
}

/// Takes one unit from every limit that speaks of this call, or from none.
pub(crate) fn admit(permitted: Permitted<'_>) -> Result<Admitted<'_>, Box<Refused<'_>>> {
    let resolved = permitted.resolved();
    let asked = resolved.asked();
    let subject = Subject {
        caller: asked.caller,
        server: &resolved.server().id,
        tool: resolved.target(),
        ip: asked.incoming.arrival.ip,
    };
    match asked.snapshot.rulebook.limiter.take(&subject) {
        Ok(()) => Ok(Admitted { permitted }),
        Err(exceeded) => {
            let seconds = exceeded.retry_after.as_secs_f64().ceil().max(1.0);
            let reason = format!("rate limit `{}` exceeded; try again in {seconds} s", exceeded.name);
            let mut decision = Decision::deny(Layer::Limit, reason);
            decision.rule = Some(format!("limits/{}", exceeded.name));
            Err(permitted.into_refused(Refusal::Limited { decision, retry_after: exceeded.retry_after }))
        }
    }
}

impl<'a> Admitted<'a> {
    pub(crate) fn permitted(&self) -> &Permitted<'a> {
        &self.permitted
    }

    pub(crate) fn into_permitted(self) -> Permitted<'a> {
        self.permitted
    }
}
