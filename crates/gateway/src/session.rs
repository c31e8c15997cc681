//! Sessions of the legacy era: opened by `initialize`, bound to their principal,
//! capped, and ended by silence, because most clients never say goodbye.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_model::{Caller, CapabilityKind, ClientLabel, GrantKind, Random};
use doorward_wire::log::Level;
use doorward_wire::{Abilities, Revision};
use tokio::sync::{mpsc, oneshot};

use crate::ask::Questions;
use crate::surface::Surface;

/// Bounds on sessions.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Sessions in all.
    pub total: usize,
    /// Sessions of one principal; its longest idle one makes room.
    pub each: usize,
    /// A session this long without a message ends.
    pub idle: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { total: 10_000, each: 1_000, idle: Duration::from_secs(30 * 60) }
    }
}

/// What `initialize` settled.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The endpoint it was sent to; the session is good for no other.
    pub surface: Surface,
    /// The revision agreed on.
    pub revision: Revision,
    /// What the client calls itself.
    pub client: ClientLabel,
    /// `clientInfo` as sent, JSON text.
    pub client_info: String,
    /// What the client can be asked.
    pub abilities: Abilities,
}

/// One session.
pub struct Session {
    /// What the client sends back in `Mcp-Session-Id`.
    pub id: Box<str>,
    /// What `initialize` settled.
    pub opening: Opening,
    owner: Arc<Caller>,
    last_used: AtomicU64,
    state: Mutex<State>,
    /// What the client has been asked and has not answered.
    pub(crate) questions: Questions,
}

#[derive(Default)]
struct State {
    log_level: Option<Level>,
    /// Requests being worked on, by their id as written.
    running: HashMap<String, oneshot::Sender<()>>,
    outbox: Option<mpsc::Sender<Bytes>>,
    /// Kinds whose list changed while nobody listened.
    missed: Vec<CapabilityKind>,
}

/// How many notifications may wait for a slow listener before it is let go.
pub(crate) const OUTBOX: usize = 64;

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `caller` is who opened the session.
    pub fn belongs_to(&self, caller: &Caller) -> bool {
        principal(&self.owner) == principal(caller)
    }

    /// Who opened it.
    pub fn owner(&self) -> &Arc<Caller> {
        &self.owner
    }

    /// The level set by `logging/setLevel`.
    pub fn log_level(&self) -> Option<Level> {
        self.state().log_level
    }

    /// Sets the level.
    pub fn set_log_level(&self, level: Level) {
        self.state().log_level = Some(level);
    }

    /// Notes a request, so that it can be cancelled; `None` when the id is already running.
    pub fn begin(&self, id: &str) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        let mut state = self.state();
        if state.running.contains_key(id) {
            return None;
        }
        state.running.insert(id.to_owned(), cancel);
        Some(cancelled)
    }

    /// Forgets a request that was answered.
    pub fn end(&self, id: &str) {
        self.state().running.remove(id);
    }

    /// Cancels a running request; an unknown id is no error.
    pub fn cancel(&self, id: &str) {
        if let Some(cancel) = self.state().running.remove(id) {
            // The request may have been answered this instant.
            let _ = cancel.send(());
        }
    }

    /// Opens the stream for messages that belong to no request. An earlier one ends:
    /// each message goes to exactly one stream.
    pub fn listen(&self) -> (mpsc::Receiver<Bytes>, Vec<CapabilityKind>) {
        let (sender, receiver) = mpsc::channel(OUTBOX);
        let mut state = self.state();
        state.outbox = Some(sender);
        (receiver, std::mem::take(&mut state.missed))
    }

    /// Sends a notification on the open stream, or remembers that one is due.
    pub fn notify_changed(&self, kind: CapabilityKind, message: Bytes) {
        let mut state = self.state();
        let delivered = state.outbox.as_ref().is_some_and(|outbox| outbox.try_send(message).is_ok());
        if !delivered {
            state.outbox = None;
            if !state.missed.contains(&kind) {
                state.missed.push(kind);
            }
        }
    }
}

/// All sessions of this process.
pub struct Sessions {
    limits: SessionLimits,
    open: Mutex<HashMap<Box<str>, Arc<Session>>>,
}

impl Sessions {
    /// An empty table.
    pub fn new(limits: SessionLimits) -> Self {
        Self { limits, open: Mutex::new(HashMap::new()) }
    }

    fn open_sessions(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session. Where a bound is reached, the principal's longest idle
    /// session ends first; `None` when the table is full of other principals'.
    pub fn open(
        &self,
        opening: Opening,
        owner: Arc<Caller>,
        now: Duration,
        random: &dyn Random,
    ) -> Option<Arc<Session>> {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        let id: Box<str> = format!("{:032x}", u128::from_be_bytes(bytes)).into();
        let session = Arc::new(Session {
            id: id.clone(),
            opening,
            owner,
            last_used: AtomicU64::new(seconds(now)),
            state: Mutex::default(),
            questions: Questions::default(),
        });
        let mut open = self.open_sessions();
        let mine: Vec<_> = open.values().filter(|other| other.belongs_to(&session.owner)).cloned().collect();
        if mine.len() >= self.limits.each || open.len() >= self.limits.total {
            let oldest = mine.iter().min_by_key(|other| other.last_used.load(Ordering::Relaxed))?;
            open.remove(&oldest.id);
        }
        open.insert(id, Arc::clone(&session));
        Some(session)
    }

    /// The session with this id, if it is this caller's and on this endpoint.
    pub fn find(&self, id: &str, caller: &Caller, surface: &Surface, now: Duration) -> Option<Arc<Session>> {
        let session = self.open_sessions().get(id).cloned()?;
        let idle = seconds(now).saturating_sub(session.last_used.load(Ordering::Relaxed));
        if idle > self.limits.idle.as_secs() {
            self.open_sessions().remove(id);
            return None;
        }
        if !session.belongs_to(caller) || session.opening.surface != *surface {
            return None;
        }
        session.last_used.store(seconds(now), Ordering::Relaxed);
        Some(session)
    }

    /// Ends a session.
    pub fn close(&self, session: &Session) {
        self.open_sessions().remove(&session.id);
    }

    /// Ends what has been idle too long.
    pub fn sweep(&self, now: Duration) {
        let limit = self.limits.idle.as_secs();
        self.open_sessions().retain(|_, session| {
            seconds(now).saturating_sub(session.last_used.load(Ordering::Relaxed)) <= limit
                || session.state().outbox.as_ref().is_some_and(|outbox| !outbox.is_closed())
        });
    }

    /// Every open session.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.open_sessions().values().cloned().collect()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open_sessions().len()
    }
}

/// Who a caller is, beyond the credential of the moment: a token that was renewed makes
/// nobody else of its bearer, another key does.
pub(crate) fn principal(caller: &Caller) -> String {
    let kind = caller.grant.kind;
    let key = if kind == GrantKind::Key { caller.grant.id.as_str() } else { "" };
    let person = caller.person.as_ref().map_or("", |person| &person.id);
    let agent = caller.agent.as_ref().map_or("", |agent| &agent.id);
    // Quoted, so that no id can pose as two.
    format!("{}\0{key:?}\0{person:?}\0{agent:?}", kind.as_str())
}

fn seconds(now: Duration) -> u64 {
    now.as_secs()
}

#[cfg(test)]
mod tests {
    use doorward_model::clock::Fixed;
    use doorward_model::{Agent, Grant};

    use super::*;

    fn caller(id: &str) -> Arc<Caller> {
        Arc::new(Caller {
            grant: Grant {
                id: id.to_owned(),
                kind: GrantKind::Key,
                roles: Vec::new(),
                servers: None,
                scopes: Vec::new(),
                expires_at: None,
                rate_limit: None,
            },
            person: None,
            agent: Some(Agent { id: "agent".to_owned() }),
        })
    }

    fn opening() -> Opening {
        Opening {
            surface: Surface::Aggregate,
            revision: Revision::NEWEST_LEGACY,
            client: ClientLabel::default(),
            client_info: String::new(),
            abilities: Abilities::default(),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_is_its_principals_its_endpoints_and_mortal() {
        let sessions = Sessions::new(SessionLimits { total: 10, each: 10, idle: at(60) });
        let (ana, ben) = (caller("ana"), caller("ben"));
        let opened = sessions.open(opening(), Arc::clone(&ana), at(0), &Fixed::new(1)).expect("room");
        let find =
            |id: &str, who: &Caller, surface: &Surface, now| sessions.find(id, who, surface, now).is_some();
        assert!(find(&opened.id, &ana, &Surface::Aggregate, at(1)));
        assert!(!find(&opened.id, &ben, &Surface::Aggregate, at(1)), "another principal's");
        assert!(!find(&opened.id, &ana, &Surface::Gateway, at(1)), "another endpoint's");
        assert!(!find("0", &ana, &Surface::Aggregate, at(1)), "never opened");
        assert!(find(&opened.id, &ana, &Surface::Aggregate, at(61)), "use keeps it");
        assert!(!find(&opened.id, &ana, &Surface::Aggregate, at(122)), "silence ends it");
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn a_full_table_takes_room_from_the_same_principal_only() {
        let sessions = Sessions::new(SessionLimits { total: 3, each: 2, idle: at(60) });
        let random = Fixed::new(1);
        let (ana, ben) = (caller("ana"), caller("ben"));
        let first = sessions.open(opening(), Arc::clone(&ana), at(0), &random).expect("room");
        let second = sessions.open(opening(), Arc::clone(&ana), at(1), &random).expect("room");
        let other = sessions.open(opening(), Arc::clone(&ben), at(2), &random).expect("room");
        let third = sessions.open(opening(), Arc::clone(&ana), at(3), &random).expect("room");
        let open = |session: &Session, who: &Caller| {
            sessions.find(&session.id, who, &Surface::Aggregate, at(3)).is_some()
        };
        assert!(!open(&first, &ana), "the longest idle made room");
        assert!(open(&second, &ana) && open(&third, &ana) && open(&other, &ben));
        assert!(sessions.open(opening(), caller("cid"), at(4), &random).is_none(), "nobody else's is taken");
    }

    #[test]
    fn what_changed_while_nobody_listened_is_told_on_the_next_stream() {
        let sessions = Sessions::new(SessionLimits::default());
        let session = sessions.open(opening(), caller("ana"), at(0), &Fixed::new(1)).expect("room");
        session.notify_changed(CapabilityKind::Tool, Bytes::from_static(b"1"));
        session.notify_changed(CapabilityKind::Tool, Bytes::from_static(b"2"));
        let (mut stream, missed) = session.listen();
        assert_eq!(missed, [CapabilityKind::Tool]);
        session.notify_changed(CapabilityKind::Prompt, Bytes::from_static(b"3"));
        assert_eq!(stream.try_recv().ok(), Some(Bytes::from_static(b"3")));
    }
}
