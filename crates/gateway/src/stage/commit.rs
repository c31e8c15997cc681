//! Stage 6 of 8: the decision is recorded, before anything leaves the gateway.

use doorward_ledger::{Ledger, LedgerError, Ticket};
use doorward_limit::Reservation;
use doorward_model::Outcome;

use crate::record;
use crate::stage::admit::Admitted;
use crate::stage::authorize::Permitted;
use crate::stage::{Refusal, Refused};

/// A call whose decision stands in the log.
pub(crate) struct Ready<'a> {
    permitted: Permitted<'a>,
    entry: Entry,
    reservation: Option<Reservation>,
}

/// The open end of a call in the log. Whoever drops it without settling it leaves
/// the outcome `cancelled`: no call can vanish.
pub(crate) struct Entry {
    ledger: Ledger,
    ticket: Option<Ticket>,
}

impl Entry {
    /// Waits until the decision stands in the log.
    async fn written(&self) -> Result<(), LedgerError> {
        match &self.ticket {
            Some(ticket) => self.ledger.before_dispatch(ticket).await,
            None => Ok(()),
        }
    }

    /// Takes the ticket to settle it.
    pub(crate) fn take(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let outcome = record::outcome(Outcome::Cancelled);
            if let Err(error) = self.ledger.settle(ticket, &outcome) {
                tracing::error!(target: "doorward::ledger", %error, "a cancelled call could not be settled");
            }
        }
    }
}

/// Writes the decision.
pub(crate) async fn commit(admitted: Admitted<'_>) -> Result<Ready<'_>, Box<Refused<'_>>> {
    let asked = admitted.permitted().resolved().asked();
    let ledger = asked.gateway.ledger.clone();
    if let Some(span) = &asked.span {
        span.decided(&admitted.permitted().ruling().decision);
    }
    let written = record::decision(admitted.permitted(), admitted.used(), |record| ledger.decide(record));
    // Dropped with every error below, so that what is not sent is not counted.
    let (permitted, reservation) = admitted.into_parts();
    let ticket = match written {
        Ok(ticket) => ticket,
        Err(error) => return Err(permitted.into_refused(Refusal::Unrecorded(error))),
    };
    let entry = Entry { ledger, ticket: Some(ticket) };
    match entry.written().await {
        Ok(()) => Ok(Ready { permitted, entry, reservation }),
        Err(error) => Err(permitted.into_refused(Refusal::Unrecorded(error))),
    }
}

impl<'a> Ready<'a> {
    pub(crate) fn permitted(&self) -> &Permitted<'a> {
        &self.permitted
    }

    pub(crate) fn entry(&mut self) -> &mut Entry {
        &mut self.entry
    }

    /// What quotas counted of it.
    pub(crate) fn reservation(&mut self) -> &mut Option<Reservation> {
        &mut self.reservation
    }
}
