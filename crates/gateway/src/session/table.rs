//! The sessions that this process knows, and those it knows to have ended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_model::endings::Earlier;
use doorward_model::{Caller, Map, Timestamp};

use super::ended::Ended;
use super::{Session, SessionLimits, principal, ticket};
use crate::surface::Surface;

/// All sessions of this process.
pub(crate) struct Sessions {
    limits: SessionLimits,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    open: Map<Box<str>, Arc<Session>>,
    ended: Ended,
    /// Ended while the other replicas could not be told.
    to_write_off: Vec<Box<str>>,
}

/// What is known of a ticket.
pub(crate) enum Found {
    /// Its session.
    Here(Arc<Session>),
    /// Its session, which has been idle too long.
    Idle(Arc<Session>),
    /// Nothing.
    Unknown,
    /// It is somebody else's, altered, or good for another endpoint.
    Refused,
}

impl Sessions {
    /// An empty table.
    #[cfg(test)]
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self::after(Earlier::default(), limits)
    }

    /// An empty table, after a process that knew of these ends.
    pub(crate) fn after(earlier: Earlier, limits: SessionLimits) -> Self {
        let known = Known { ended: Ended::known(earlier), ..Known::default() };
        Self { limits, known: Mutex::new(known) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session in; one that is known already stays. Where a bound is reached, the
    /// principal's longest idle session ends first, and is returned as well. `None` when
    /// this one has ended, or the table is full of other principals'.
    pub(crate) fn keep(&self, session: Session) -> Option<(Arc<Session>, Option<Arc<Session>>)> {
        let mut known = self.known();
        if let Some(known) = known.open.get(&session.id) {
            return Some((Arc::clone(known), None));
        }
        if known.ended.has(session.opened, &session.id) {
            return None;
        }
        let mine: Vec<_> = known.open.values().filter(|other| other.principal == session.principal).collect();
        let mut displaced = None;
        if mine.len() >= self.limits.each || known.open.len() >= self.limits.total {
            let oldest = Arc::clone(mine.into_iter().min_by_key(|other| other.last_used())?);
            known.end(&oldest);
            displaced = Some(oldest);
        }
        let session = Arc::new(session);
        known.open.insert(session.id.clone(), Arc::clone(&session));
        Some((session, displaced))
    }

    /// The session of this ticket, if it is this caller's and on this endpoint.
    pub(crate) fn find(&self, ticket: &str, caller: &Caller, surface: &Surface, now: Duration) -> Found {
        let Some(id) = ticket::named(ticket) else { return Found::Refused };
        let Some(session) = self.known().open.get(id).cloned() else { return Found::Unknown };
        if *session.ticket != *ticket
            || *session.principal != *principal(caller)
            || session.opening.surface != *surface
        {
            return Found::Refused;
        }
        if session.is_idle(now, self.limits.idle) {
            return Found::Idle(session);
        }
        session.used(now);
        Found::Here(session)
    }

    /// Ends a session; `false` when it had ended already.
    pub(crate) fn close(&self, session: &Session) -> bool {
        self.known().end(session)
    }

    /// Forgets a session that goes on elsewhere.
    pub(crate) fn forget(&self, session: &Session) {
        self.known().open.remove(&session.id);
    }

    /// What has been idle too long.
    pub(crate) fn sweep(&self, now: Duration, time: Timestamp) -> Vec<Arc<Session>> {
        let mut known = self.known();
        known.ended.sweep(time, self.limits.longest);
        let idle = known.open.values().filter(|session| session.is_idle(now, self.limits.idle));
        idle.cloned().collect()
    }

    /// Notes that the other replicas have yet to be told that a session ended.
    pub(crate) fn must_be_written_off(&self, id: &str) {
        self.known().to_write_off.push(id.into());
    }

    /// The sessions whose end the other replicas have yet to be told.
    pub(crate) fn to_write_off(&self) -> Vec<Box<str>> {
        std::mem::take(&mut self.known().to_write_off)
    }

    /// The session of this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.known().open.get(id).cloned()
    }

    /// Every open session.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.known().open.values().cloned().collect()
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.known().open.len()
    }
}

impl Known {
    fn end(&mut self, session: &Session) -> bool {
        self.ended.note(session.opened, &session.id);
        self.open.remove(&session.id).is_some()
    }
}
