//! How sessions begin, go on in a process that has never seen them, and end.

use std::sync::Arc;

use doorward_model::Caller;

use super::table::Found;
use super::{Opening, Session, ticket};
use crate::gateway::Gateway;
use crate::surface::Surface;

impl Gateway {
    /// Opens a session; `None` when there is no room for it.
    pub(crate) fn open_session(&self, opening: Opening, owner: &Arc<Caller>) -> Option<Arc<Session>> {
        let (id, opened) = (ticket::id(&*self.random), self.clock.now());
        let ticket = ticket::seal(&*self.seal, &id, owner, opened, &opening)?;
        self.keep(Session::new(id, ticket, opened, opening, Arc::clone(owner), self.clock.elapsed()))
    }

    /// The session that a client shows the ticket of. One that this process has never
    /// seen, from before a restart or from another replica, goes on here.
    pub(crate) async fn session(
        &self,
        shown: &str,
        caller: &Arc<Caller>,
        surface: &Surface,
    ) -> Option<Arc<Session>> {
        let now = self.clock.elapsed();
        match self.sessions.find(shown, caller, surface, now) {
            Found::Here(session) => return Some(session),
            Found::Expired(session) => {
                self.ended(&session);
                return None;
            }
            Found::Refused => return None,
            Found::Unknown => {}
        }
        let (opened, opening) = ticket::open(&*self.seal, shown, caller)?;
        let too_old = opened.plus(self.settings.sessions.longest) < self.clock.now();
        if too_old || opening.surface != *surface {
            return None;
        }
        let id = ticket::named(shown)?.into();
        self.keep(Session::new(id, shown.into(), opened, opening, Arc::clone(caller), now))
    }

    fn keep(&self, session: Session) -> Option<Arc<Session>> {
        let (session, displaced) = self.sessions.keep(session)?;
        if let Some(displaced) = displaced {
            self.ended(&displaced);
        }
        Some(session)
    }

    /// Ends a session.
    pub(crate) fn end_session(&self, session: &Session) {
        if self.sessions.close(session) {
            self.ended(session);
        }
    }

    /// Ends the sessions that have been idle too long.
    pub(crate) fn sweep_sessions(&self) {
        for session in self.sessions.sweep(self.clock.elapsed(), self.clock.now()) {
            self.ended(&session);
        }
    }

    /// Clears away what a session leaves behind: calls under way, subscriptions, and the sessions that
    /// servers keep for it.
    fn ended(&self, session: &Session) {
        session.cancel_all();
        session.news.end();
        self.upstreams.end(&session.id);
    }
}
