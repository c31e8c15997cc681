//! How much of the room for messages one principal's unread answers may take.
//!
//! An answer stays in memory until its client has read it. Clients that ask for large answers and
//! do not read them would otherwise fill the room for everybody. A principal has a quarter of
//! the room. An answer beyond that is withheld, and while the share is full, new requests are put
//! off. One answer always fits, however large, so that little memory refuses nobody altogether.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use doorward_model::room::SMALL;
use doorward_model::{Caller, NoRoom, Room};

use crate::session::principal;

/// The share of one principal, as a part of the room.
const PART: usize = 4;

/// So many principals are noted before those that hold nothing are forgotten.
const NOTED: usize = 256;

/// Who holds how much of the room.
pub(crate) struct Shares {
    room: Arc<Room>,
    /// Bytes that one principal may hold.
    each: usize,
    held: Mutex<HashMap<String, Weak<Room>>>,
}

impl Shares {
    pub(crate) fn of(room: Arc<Room>) -> Self {
        Self { each: room.size() / PART, room, held: Mutex::default() }
    }

    /// This answer, which takes of its principal's share until it was read.
    ///
    /// # Errors
    /// [`NoRoom`] when the share is used up by answers before it.
    pub(crate) fn keep(&self, caller: &Caller, answer: Bytes) -> Result<Bytes, NoRoom> {
        // Small answers are what nearly all are, and are not worth counting.
        if answer.len() <= SMALL { Ok(answer) } else { self.share(caller).keep_one(answer) }
    }

    /// Whether this principal's unread answers fill its share.
    pub(crate) fn is_full(&self, caller: &Caller) -> bool {
        // While all hold less than that, nobody does.
        self.room.used() >= self.each
            && self
                .known()
                .get(&principal(caller))
                .and_then(Weak::upgrade)
                .is_some_and(|it| it.used() >= self.each)
    }

    fn share(&self, caller: &Caller) -> Arc<Room> {
        let mut held = self.known();
        let name = principal(caller);
        if let Some(share) = held.get(&name).and_then(Weak::upgrade) {
            return share;
        }
        if held.len() >= NOTED {
            held.retain(|_, share| share.strong_count() > 0);
        }
        let share = self.room.share(self.each);
        held.insert(name, Arc::downgrade(&share));
        share
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Weak<Room>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use crate::callers::caller;

    use super::*;

    #[test]
    fn unread_answers_fill_the_share_of_their_principal_and_no_others() {
        let room = Room::new(4 << 20);
        let shares = Shares::of(Arc::clone(&room));
        let (ana, ben) = (caller("ana"), caller("ben"));
        let answer = |size: usize| Bytes::from(vec![b'x'; size]);
        let half = 512 << 10;
        let first = shares.keep(&ana, answer(half)).expect("room");
        assert!(!shares.is_full(&ana));
        let second = shares.keep(&ana, answer(half)).expect("room");
        assert_eq!((shares.is_full(&ana), shares.is_full(&ben)), (true, false));
        assert_eq!(shares.keep(&ana, answer(half)), Err(NoRoom));
        assert!(shares.keep(&ana, answer(SMALL)).is_ok(), "small ones always pass");
        let theirs = shares.keep(&ben, answer(half)).expect("room of his own");
        assert_eq!(room.used(), 3 * half);
        drop((first, second));
        assert_eq!((shares.is_full(&ana), room.used()), (false, half));
        let large = shares.keep(&ana, answer(2 << 20)).expect("one always fits");
        assert_eq!(shares.keep(&ana, answer(half)), Err(NoRoom));
        drop((large, theirs));
        assert_eq!(room.used(), 0);
    }
}
