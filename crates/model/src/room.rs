//! Memory for what comes from outside: so much at once, and no more.
//!
//! Whoever reads a body or an answer sets memory aside as it arrives, not as it is promised.
//! Where none is left it is turned away, so that a crowd, or a few who bring very much, cost
//! themselves an error and not everybody the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use bytes::Bytes;

/// Bytes that are not worth counting one by one. Who may bring so many has set them aside
/// before.
pub const SMALL: usize = 16 << 10;

/// How much memory there is for messages.
#[derive(Debug)]
pub struct Room {
    /// Bytes; below zero when what had to be kept was more than there was.
    free: AtomicIsize,
    size: usize,
    /// The room that this is a share of: what is held here is held there as well.
    whole: Option<Arc<Self>>,
}

/// There is no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for it at the moment")]
pub struct NoRoom;

impl Room {
    /// Room for so many bytes.
    pub fn new(size: usize) -> Arc<Self> {
        let size = size.min(isize::MAX.unsigned_abs());
        Arc::new(Self { free: AtomicIsize::new(size.cast_signed()), size, whole: None })
    }

    /// So many bytes of this room, for one of those who use it.
    pub fn share(self: &Arc<Self>, size: usize) -> Arc<Self> {
        let size = size.min(self.size);
        let whole = Some(Arc::clone(self));
        Arc::new(Self { free: AtomicIsize::new(size.cast_signed()), size, whole })
    }

    /// How many bytes there are in all.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many bytes are set aside.
    pub fn used(&self) -> usize {
        self.size.saturating_add_signed(self.free.load(Ordering::Relaxed).saturating_neg())
    }

    /// These bytes, which exist already and leave less for others while anybody has them.
    pub fn keep(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.len() <= SMALL {
            return bytes;
        }
        let mut space = self.space();
        space.hold_anyway(bytes.len());
        space.keep(bytes)
    }

    /// The same if they fit, or if nothing else is held here.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn keep_one(self: &Arc<Self>, bytes: Bytes) -> Result<Bytes, NoRoom> {
        let mut space = self.space();
        if let Err(full) = space.hold(bytes.len()) {
            let (all, length) = (self.size.cast_signed(), bytes.len().cast_signed());
            // Of several at once, one is the first.
            let alone = self.free.compare_exchange(all, all - length, Ordering::AcqRel, Ordering::Relaxed);
            alone.map_err(|_| full)?;
            if let Some(whole) = &self.whole {
                whole.give(-length);
            }
            space.held = bytes.len();
        }
        Ok(space.keep(bytes))
    }

    /// Takes so many bytes, here and in the whole.
    fn take(&self, more: isize) -> Result<(), NoRoom> {
        // Two that take the last of it at once may both be turned away; neither gets too much.
        if self.free.fetch_sub(more, Ordering::AcqRel) < more
            || self.whole.as_ref().is_some_and(|whole| whole.take(more).is_err())
        {
            self.free.fetch_add(more, Ordering::AcqRel);
            return Err(NoRoom);
        }
        Ok(())
    }

    /// Gives back so many bytes, here and in the whole; takes them, below zero.
    fn give(&self, back: isize) {
        self.free.fetch_add(back, Ordering::AcqRel);
        if let Some(whole) = &self.whole {
            whole.give(back);
        }
    }

    /// A place in it, empty so far.
    pub fn space(self: &Arc<Self>) -> Space {
        Space { room: Some(Arc::clone(self)), held: 0 }
    }
}

/// What one message holds of a [`Room`]; given back when dropped. By default of none, and
/// without bounds.
#[derive(Debug, Default)]
pub struct Space {
    room: Option<Arc<Room>>,
    held: usize,
}

impl Space {
    /// Holds so many bytes in all from now on.
    ///
    /// # Errors
    /// [`NoRoom`]; what it held before it holds still.
    pub fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let Some(room) = &self.room else { return Ok(()) };
        if bytes <= self.held {
            self.hold_anyway(bytes);
            return Ok(());
        }
        room.take((bytes - self.held).cast_signed())?;
        self.held = bytes;
        Ok(())
    }

    /// The same for what exists already: there is less for others, if need be less than nothing.
    pub fn hold_anyway(&mut self, bytes: usize) {
        let Some(room) = self.room.as_ref().filter(|_| bytes != self.held) else { return };
        room.give(self.held.cast_signed() - bytes.cast_signed());
        self.held = bytes;
    }

    /// Everything it holds; what is left is as it was at first, in the same room.
    #[must_use = "what is taken is given back when dropped"]
    pub fn take(&mut self) -> Self {
        // Where nothing is held there is nothing to give back to anybody.
        let room = self.room.as_ref().filter(|_| self.held > 0).map(Arc::clone);
        Self { room, held: std::mem::take(&mut self.held) }
    }

    /// Whether it belongs to no room.
    pub fn is_nowhere(&self) -> bool {
        self.room.is_none()
    }

    /// These bytes, which hold this space for as long as anybody has them.
    pub fn keep(self, bytes: Bytes) -> Bytes {
        if self.held == 0 { bytes } else { Bytes::from_owner(Kept { bytes, _space: self }) }
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.hold_anyway(0);
    }
}

struct Kept {
    bytes: Bytes,
    _space: Space,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_much_and_it_comes_back() {
        let room = Room::new(100);
        let (mut one, mut other) = (room.space(), room.space());
        assert_eq!((one.hold(60), other.hold(41), other.hold(40)), (Ok(()), Err(NoRoom), Ok(())));
        assert_eq!((one.hold(61), room.used()), (Err(NoRoom), 100));
        assert_eq!((one.hold(10), room.used()), (Ok(()), 50), "it may shrink");
        let taken = one.take();
        assert_eq!((one.hold(50), room.used()), (Ok(()), 100), "what is left is in the same room");
        drop((taken, one.take(), one.take()));
        assert_eq!((one.hold(10), room.used()), (Ok(()), 50));
        drop(other);
        assert_eq!(room.used(), 10);
        one.hold_anyway(150);
        assert_eq!((room.space().hold(1), room.used()), (Err(NoRoom), 150));
        drop(one);
        assert_eq!(room.space().hold(100), Ok(()));
        assert_eq!((room.used(), room.size()), (0, 100));
        assert_eq!(Space::default().hold(usize::MAX), Ok(()), "nobody's space has no bounds");
    }

    #[test]
    fn what_is_held_of_a_share_is_held_of_the_whole() {
        let whole = Room::new(100);
        let (one, other) = (whole.share(60), whole.share(60));
        let (mut first, mut second) = (one.space(), other.space());
        assert_eq!((first.hold(61), first.hold(50)), (Err(NoRoom), Ok(())));
        assert_eq!((second.hold(51), second.hold(50)), (Err(NoRoom), Ok(())), "of the whole, 50 are left");
        assert_eq!((one.used(), other.used(), whole.used()), (50, 50, 100));
        assert_eq!(one.keep_one(Bytes::from_static(b"x")), Err(NoRoom));
        drop(first);
        let alone = one.keep_one(Bytes::from(vec![0; 200])).expect("one always fits");
        assert_eq!((one.used(), whole.used()), (200, 250));
        drop((alone, second));
        assert_eq!((one.used(), other.used(), whole.used()), (0, 0, 0));
    }

    #[test]
    fn bytes_hold_their_space_until_the_last_of_them_is_gone() {
        let room = Room::new(100);
        let mut space = room.space();
        space.hold(5).expect("there is room");
        let bytes = space.keep(Bytes::from_static(b"hello"));
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!((&part[..], room.used()), (&b"el"[..], 5));
        drop(part);
        assert_eq!(room.used(), 0);
    }
}
