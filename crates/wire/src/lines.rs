//! The framing of stdio: one message a line.
//!
//! Lines are cut at the byte `\n`, which no multi-byte character of UTF-8
//! contains, so a character split between two reads arrives whole. A line beyond
//! the limit is skipped to its end and reported; what follows it is read again.

use std::sync::Arc;

use bytes::Bytes;
use doorward_model::room::{Room, SMALL, Space};

/// Longest line that is accepted, in bytes: 64 MiB.
pub const MAX_LINE: usize = 64 << 20;

/// What was found between two line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end. Never empty; not checked to be UTF-8.
    Text(Bytes),
    /// A line of more bytes than the limit, which has been skipped.
    TooLong,
    /// A line that there was no room for, which has been skipped.
    NoRoom,
}

/// Turns bytes into lines.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    partial: Vec<u8>,
    /// Why the rest of a line is passed over.
    skipping: Option<Line>,
    /// What the open line holds of the room for lines.
    space: Space,
}

impl Framer {
    /// A framer for one stream with lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: Vec::new(), skipping: None, space: Space::default() }
    }

    /// The same, for lines that there must be room for.
    #[must_use]
    pub fn within(self, room: &Arc<Room>) -> Self {
        Self { space: room.space(), ..self }
    }

    /// Takes the next bytes and appends the lines they complete to `lines`.
    pub fn push(&mut self, mut bytes: &[u8], lines: &mut Vec<Line>) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let rest = &bytes[..end];
            bytes = &bytes[end + 1..];
            self.fit(rest.len());
            if let Some(skipped) = self.skipping.take() {
                lines.push(skipped);
                continue;
            }
            let space = self.space.take();
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(rest);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if !line.is_empty() {
                lines.push(Line::Text(space.keep(Bytes::from(line))));
            }
        }
        self.fit(bytes.len());
        if self.skipping.is_none() {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// The last line of a stream that ended without ending it, if there is one.
    pub fn finish(&mut self) -> Option<Line> {
        if let Some(skipped) = self.skipping.take() {
            return Some(skipped);
        }
        let space = self.space.take();
        let line = std::mem::take(&mut self.partial);
        (!line.is_empty()).then(|| Line::Text(space.keep(Bytes::from(line))))
    }

    /// Makes room for more of the open line, or begins to skip it.
    fn fit(&mut self, more: usize) {
        let length = self.partial.len() + more;
        let skipped = if self.skipping.is_some() {
            return;
        } else if length > self.limit {
            Line::TooLong
        } else if length > SMALL && self.space.hold(length).is_err() {
            Line::NoRoom
        } else {
            return;
        };
        // The memory goes back at once: whoever sends endless lines gets none.
        self.partial = Vec::new();
        drop(self.space.take());
        self.skipping = Some(skipped);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(limit: usize, pieces: &[&[u8]]) -> Vec<Line> {
        let mut framer = Framer::new(limit);
        let mut lines = Vec::new();
        for piece in pieces {
            framer.push(piece, &mut lines);
        }
        lines
    }

    #[test]
    fn the_last_line_may_lack_its_end() {
        let mut framer = Framer::new(4);
        let mut lines = Vec::new();
        framer.push(b"a\nb", &mut lines);
        assert_eq!((lines.as_slice(), framer.finish()), (&[text("a")][..], Some(text("b"))));
        assert_eq!(framer.finish(), None);
        framer.push(b"too long", &mut lines);
        assert_eq!((framer.finish(), framer.finish()), (Some(Line::TooLong), None));
    }

    fn text(line: &'static str) -> Line {
        Line::Text(Bytes::from(line))
    }

    #[test]
    fn lines_come_out_whole_and_long_ones_are_reported() {
        let cases: &[(&[&[u8]], Vec<Line>)] = &[
            (&[b"{}\n[]\r\n\n\r\n"], vec![text("{}"), text("[]")]),
            (&[b"a", b"b\nc"], vec![text("ab")]),
            (&[b"\"\xe2\x82", b"\xac\"\n"], vec![text("\"€\"")]),
            (&[b"0123456789\n"], vec![text("0123456789")]),
            (&[b"0123456789x\nok\n"], vec![Line::TooLong, text("ok")]),
            (&[b"0123456789", b"x", b"more", b"\nok\n"], vec![Line::TooLong, text("ok")]),
        ];
        for (pieces, expected) in cases {
            assert_eq!(&frame(10, pieces), expected);
        }
    }

    #[test]
    fn a_line_that_there_is_no_room_for_is_skipped_and_others_hold_theirs() {
        let room = Room::new(2 * SMALL);
        let mut framer = Framer::new(1 << 20).within(&room);
        let mut lines = Vec::new();
        let line = [b"x".repeat(SMALL + 10), b"\n".to_vec()].concat();
        for piece in line.chunks(100) {
            framer.push(piece, &mut lines);
        }
        assert_eq!(room.used(), SMALL + 10);
        framer.push(&line, &mut lines);
        framer.push(b"{}\n", &mut lines);
        assert!(matches!(&lines[..], [Line::Text(_), Line::NoRoom, Line::Text(short)] if short == "{}"));
        lines.clear();
        assert_eq!(room.used(), 0);
        framer.push(&line, &mut lines);
        assert!(matches!(lines[..], [Line::Text(_)]));
    }

    proptest! {
        #[test]
        fn the_cuts_between_pieces_change_nothing(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), Just(0xe2)], 0..80),
            cuts in prop::collection::vec(0_usize..80, 0..8),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(frame(6, &pieces), frame(6, &[&bytes]));
        }
    }
}
