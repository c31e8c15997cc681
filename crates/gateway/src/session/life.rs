//! How sessions begin, go on in a process that has never seen them, and end.

use std::sync::Arc;

use doorward_model::Caller;
use doorward_model::shared::Unshared;

use super::table::Found;
use super::{Opening, Session, ticket};
use crate::gateway::Gateway;
use crate::surface::Surface;

impl Gateway {
    /// Opens a session; `None` when there is no room for it.
    pub(crate) async fn open_session(
        self: &Arc<Self>,
        opening: Opening,
        owner: &Arc<Caller>,
    ) -> Option<Arc<Session>> {
        let (id, opened) = (ticket::id(&*self.random), self.clock.now());
        let ticket = ticket::seal(&*self.seal, &id, owner, opened, &opening)?;
        let session = Session::new(id, ticket, opened, opening, Arc::clone(owner), self.clock.elapsed());
        let session = self.keep(session)?;
        self.write_down(&session).await;
        Some(session)
    }

    /// The session that a client shows the ticket of. One that this process has never
    /// seen, from before a restart or from another replica, goes on here.
    ///
    /// # Errors
    /// When it is not known here, and whether it has ended cannot be found out.
    pub(crate) async fn session(
        self: &Arc<Self>,
        shown: &str,
        caller: &Arc<Caller>,
        surface: &Surface,
    ) -> Result<Option<Arc<Session>>, Unshared> {
        match self.sessions.find(shown, caller, surface, self.clock.elapsed()) {
            Found::Here(session) => Ok(Some(session)),
            Found::Refused => Ok(None),
            // Larger than all the rest, and rare.
            Found::Idle(session) => Box::pin(self.wake_up(session)).await,
            Found::Unknown => Box::pin(self.take_up(shown, caller, surface)).await,
        }
    }

    /// A session that has been idle too long here: unless it was used elsewhere, it ends.
    async fn wake_up(self: &Arc<Self>, session: Arc<Session>) -> Result<Option<Arc<Session>>, Unshared> {
        if self.has_others && self.is_used_elsewhere(&session).await {
            session.used(self.clock.elapsed());
            return Ok(Some(session));
        }
        self.end_session(&session).await;
        Ok(None)
    }

    async fn take_up(
        self: &Arc<Self>,
        shown: &str,
        caller: &Arc<Caller>,
        surface: &Surface,
    ) -> Result<Option<Arc<Session>>, Unshared> {
        let Some((opened, opening)) = ticket::open(&*self.seal, shown, caller) else { return Ok(None) };
        let too_old = opened.plus(self.settings.sessions.longest) < self.clock.now();
        let Some(id) = ticket::named(shown).filter(|_| !too_old && opening.surface == *surface) else {
            return Ok(None);
        };
        let now = self.clock.elapsed();
        let session = Session::new(id.into(), shown.into(), opened, opening, Arc::clone(caller), now);
        Ok(if self.look_up(&session).await? { self.keep(session) } else { None })
    }

    fn keep(self: &Arc<Self>, session: Session) -> Option<Arc<Session>> {
        let (session, displaced) = self.sessions.keep(session)?;
        session.news.begins(self.steps());
        if let Some(displaced) = displaced {
            self.clear_away(&displaced);
            let gateway = Arc::clone(self);
            tokio::spawn(async move { gateway.write_off(&displaced).await });
        }
        Some(session)
    }

    /// Ends a session, for all replicas.
    pub(crate) async fn end_session(&self, session: &Session) {
        if self.sessions.close(session) {
            self.clear_away(session);
            self.write_off(session).await;
        }
    }

    /// Ends the sessions that have been idle too long, and tells the other replicas which
    /// are not.
    pub(crate) async fn sweep_sessions(self: &Arc<Self>) {
        let (now, time) = (self.clock.elapsed(), self.clock.now());
        for session in self.sessions.sweep(now, time) {
            if self.has_others && self.is_used_elsewhere(&session).await {
                self.sessions.forget(&session);
            } else {
                self.end_session(&session).await;
            }
        }
        if self.has_others {
            for session in self.sessions.all() {
                if session.is_newly_used() {
                    self.write_down(&session).await;
                }
            }
        }
    }

    /// Clears away what a session leaves behind: calls under way, subscriptions, and the sessions that
    /// servers keep for it.
    pub(super) fn clear_away(&self, session: &Session) {
        session.finish();
        session.news.end();
        self.upstreams.end(&session.id, &session.opening.abilities.declared());
    }
}
