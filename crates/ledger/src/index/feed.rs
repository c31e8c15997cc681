//! What the writer hands to the index in memory.
//!
//! An entry that was just written need not be read again to become a row: the writer
//! puts aside the members that rows hold, as they stand in the entry. The log stays
//! the truth. What does not fit here is let go, and the index reads it from there, as
//! it does at the start and after every error.

use std::sync::{Mutex, PoisonError};

use super::columns::{Column, Entry, IN_ROW};
use crate::merkle::Hash;

/// So many entries, or bytes of their members, wait at most.
const MOST_ENTRIES: usize = 1 << 16;
const MOST_BYTES: usize = 8 << 20;

/// What an entry is to the index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Kind {
    Decision,
    /// Of the decision with this number.
    Outcome(u64),
    #[default]
    Event,
}

/// Where in the text of an entry the members are that rows hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marks {
    pub kind: Kind,
    at: [(u32, u32); IN_ROW],
}

impl Marks {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Takes note of a member of a row.
    pub(crate) fn mark(&mut self, column: Column, start: usize, end: usize) {
        if let (Some(at), Ok(start), Ok(end)) =
            (self.at.get_mut(column as usize), u32::try_from(start), u32::try_from(end))
        {
            *at = (start, end);
        }
    }
}

/// What a row needs of an entry, but for the members, which stand in [`Briefs`].
#[derive(Clone, Copy, Debug)]
struct Brief {
    kind: Kind,
    segment: u64,
    offset: u64,
    lengths: [u16; IN_ROW],
}

/// What rows need of entries that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Briefs {
    list: Vec<Brief>,
    members: String,
}

impl Briefs {
    /// Adds an entry whose line begins `offset` bytes behind the start of its write.
    pub(crate) fn push(&mut self, text: &str, marks: &Marks, offset: usize) {
        let mut lengths = [0; IN_ROW];
        for (length, (start, end)) in lengths.iter_mut().zip(marks.at) {
            // No member that a row holds is longer: it was cut when it was written.
            let member = text.get(start as usize..end as usize).unwrap_or_default();
            if let Ok(fits) = u16::try_from(member.len()) {
                self.members.push_str(member);
                *length = fits;
            }
        }
        self.list.push(Brief { kind: marks.kind, segment: 0, offset: offset as u64, lengths });
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.members.clear();
    }

    /// The entries in order: what each is, its segment and offset, and its members.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Kind, u64, u64, Entry<'_>)> {
        let mut start = 0;
        self.list.iter().map(move |brief| {
            let entry = Entry::of_row(self.members.as_bytes(), start, &brief.lengths);
            start += brief.lengths.iter().map(|length| usize::from(*length)).sum::<usize>();
            (brief.kind, brief.segment, brief.offset, entry)
        })
    }
}

/// A place between two entries of the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    /// The number of the entry behind it.
    pub next: u64,
    /// The segment and the offset where that entry is to be looked for.
    pub segment: u64,
    pub offset: u64,
    /// The hash of the entry before it.
    pub head: Hash,
}

/// Entries that were written and that the index has not taken in.
#[derive(Debug)]
pub(crate) struct Feed(Mutex<Held>);

#[derive(Debug)]
struct Held {
    /// The number of the first of them.
    first: u64,
    briefs: Briefs,
    end: Position,
}

/// How the index gets on.
pub(super) enum Next {
    /// With what was handed over, which goes this far.
    Handed(Position),
    /// By reading the log, before this entry.
    Read(u64),
}

impl Feed {
    /// Begins with the entry that has this number.
    pub(crate) fn new(first: u64) -> Self {
        Self(Mutex::new(Held { first, briefs: Briefs::default(), end: Position::default() }))
    }

    /// Takes the entries of one write, which begins at `offset` of its segment.
    pub(crate) fn add(&self, written: &mut Briefs, offset: u64, end: Position) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = held.briefs.list.len() + written.list.len() <= MOST_ENTRIES
            && held.briefs.members.len() + written.members.len() <= MOST_BYTES;
        if fits {
            let placed =
                |brief: Brief| Brief { segment: end.segment, offset: offset + brief.offset, ..brief };
            held.briefs.list.extend(written.list.drain(..).map(placed));
            held.briefs.members.push_str(&written.members);
        } else {
            held.briefs = Briefs::default();
            held.first = end.next;
        }
        held.end = end;
        written.clear();
    }

    /// Puts into `briefs`, which is empty, what is held from the entry `next` on.
    pub(super) fn take(&self, next: u64, briefs: &mut Briefs) -> Next {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.briefs.list.is_empty() {
            return Next::Read(u64::MAX);
        }
        if held.first > next {
            return Next::Read(held.first);
        }
        let (first, end) = (held.first, held.end);
        std::mem::swap(&mut held.briefs, briefs);
        held.first = end.next;
        if first == next {
            return Next::Handed(end);
        }
        // The index has already read what this begins with.
        briefs.clear();
        Next::Read(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(feed: &Feed, next: u64) {
        let mut briefs = Briefs::default();
        let mut marks = Marks::new(Kind::Decision);
        marks.mark(Column::Target, 0, 3);
        briefs.push("abc", &marks, 0);
        feed.add(&mut briefs, 10 * next, Position { next, ..Position::default() });
    }

    /// What is taken from `next` on: how many entries and where they end, or where the
    /// log is to be read to.
    fn take(feed: &Feed, next: u64) -> Result<(usize, u64), u64> {
        let mut briefs = Briefs::default();
        match feed.take(next, &mut briefs) {
            Next::Handed(end) => Ok((briefs.iter().count(), end.next)),
            Next::Read(until) => Err(until),
        }
    }

    #[test]
    fn what_is_not_handed_over_is_read() {
        let feed = Feed::new(7);
        assert_eq!(take(&feed, 7), Err(u64::MAX), "nothing is there");
        add(&feed, 8);
        add(&feed, 9);
        assert_eq!(take(&feed, 3), Err(7), "what came before");
        assert_eq!(take(&feed, 7), Ok((2, 9)));
        assert_eq!(take(&feed, 9), Err(u64::MAX));
        add(&feed, 10);
        assert_eq!(take(&feed, 10), Err(u64::MAX), "it was read by then");
        add(&feed, 11);
        assert_eq!(take(&feed, 10), Ok((1, 11)));
    }

    #[test]
    fn what_does_not_fit_is_let_go_and_read() {
        let feed = Feed::new(0);
        let most = MOST_ENTRIES as u64;
        for next in 1..=most + 2 {
            add(&feed, next);
        }
        assert_eq!(take(&feed, 0), Err(most + 1));
        assert_eq!(take(&feed, most + 1), Ok((1, most + 2)));
    }
}
