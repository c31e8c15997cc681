//! Streams of the modern era that wait for news: `subscriptions/listen`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use doorward_model::CapabilityKind;
use doorward_wire::reply;

use crate::mailbox::Mailbox;
use crate::session::principal;
use crate::standpoint::Standpoint;

/// Bounds on streams and on what they are told of.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Streams of one principal.
    pub each: usize,
    /// Resources that one stream, or one session, is subscribed to.
    pub resources: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { each: 1_000, resources: 500 }
    }
}

/// What lists one listener asked to hear of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
}

impl Wants {
    pub(crate) const ALL: Self = Self { tools: true, prompts: true, resources: true };

    pub(crate) fn hears(self, kind: CapabilityKind) -> bool {
        match kind {
            CapabilityKind::Tool => self.tools,
            CapabilityKind::Prompt => self.prompts,
            CapabilityKind::Resource | CapabilityKind::ResourceTemplate => self.resources,
        }
    }

    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

/// One open stream, as whoever has news sees it.
pub(crate) struct Listener {
    pub standpoint: Arc<Standpoint>,
    pub wants: Wants,
    pub mailbox: Arc<Mailbox>,
    /// The id of the listen request, as written.
    id: Box<str>,
}

impl Listener {
    /// Ends the stream with the result that says it ended in order.
    pub(crate) fn end(&self) {
        self.mailbox.close(Some(farewell(&self.id)));
    }
}

/// All open listen streams.
#[derive(Default)]
pub(crate) struct Streams {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Arc<Listener>>,
    /// How many each principal has.
    each: HashMap<Arc<str>, usize>,
}

/// The place of a stream among the open ones, until it is dropped.
#[must_use = "a stream ends when dropped"]
pub(crate) struct Place {
    all: Arc<Streams>,
    number: u64,
    principal: Arc<str>,
}

impl Streams {
    /// Takes a place for a stream; `None` when its principal has too many.
    pub(crate) fn open(
        self: &Arc<Self>,
        standpoint: &Arc<Standpoint>,
        wants: Wants,
        id: &str,
        since: u64,
        limit: usize,
    ) -> Option<(Place, Arc<Mailbox>)> {
        let owner = principal(&standpoint.caller);
        let mut state = self.state();
        let owner = match state.each.get_key_value(&*owner) {
            Some((_, count)) if *count >= limit => return None,
            Some((owner, _)) => Arc::clone(owner),
            None => owner.into(),
        };
        *state.each.entry(Arc::clone(&owner)).or_default() += 1;
        state.next += 1;
        let number = state.next;
        let mailbox = Arc::new(Mailbox::tagged(id, since));
        let listener = Listener {
            standpoint: Arc::clone(standpoint),
            wants,
            mailbox: Arc::clone(&mailbox),
            id: id.into(),
        };
        state.open.insert(number, Arc::new(listener));
        drop(state);
        Some((Place { all: Arc::clone(self), number, principal: owner }, mailbox))
    }

    /// Every open stream.
    pub(crate) fn all(&self) -> Vec<Arc<Listener>> {
        self.state().open.values().cloned().collect()
    }

    /// Ends every stream with the result that says it ended in order.
    pub(crate) fn close_all(&self) {
        for listener in self.all() {
            listener.end();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.all.state();
        state.open.remove(&self.number);
        if let Some(count) = state.each.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                state.each.remove(&self.principal);
            }
        }
    }
}

fn farewell(id: &str) -> Bytes {
    let result =
        format!(r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#);
    reply::result(id, &result)
}
