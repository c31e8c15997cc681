//! Server-sent events (WHATWG HTML, section 9.2), in and out.
//!
//! The decoder takes bytes in whatever pieces the network delivers and yields the
//! same events for every way of cutting them. It understands all three line ends,
//! `data` over several lines, comments, a byte order mark at the start, and
//! events that carry nothing but an `id` or a `retry`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::room::{NoRoom, Room, SMALL, Space};

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The event's name; empty when the stream gave none, which means `message`.
    pub name: String,
    /// The data, lines joined with `\n`. Empty for events that only prime a stream.
    pub data: Bytes,
    /// The id this event set, for `Last-Event-ID`.
    pub id: Option<String>,
    /// How long to wait before reconnecting, when this event said so.
    pub retry: Option<Duration>,
}

impl Event {
    /// Whether this is an event of the default name.
    pub fn is_message(&self) -> bool {
        self.name.is_empty() || self.name == "message"
    }
}

/// An event, or a single line of one, that is too much. The stream is of no further use:
/// what followed is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oversized {
    /// It is beyond the limit.
    #[error("an event of the stream is longer than {limit} bytes")]
    Limit {
        /// The limit, in bytes.
        limit: usize,
    },
    /// There is no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

/// Turns bytes into events.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// A line whose end has not arrived yet.
    partial: Vec<u8>,
    /// The last byte seen was `\r`: a `\n` that follows belongs to it.
    after_return: bool,
    /// The first line may start with a byte order mark.
    first_line: bool,
    event: Event,
    data: Vec<u8>,
    has_data: bool,
    /// Whether the open event says anything at all.
    is_open: bool,
    /// What the open event holds of the room for events.
    space: Space,
}

impl Decoder {
    /// A decoder for one stream that refuses events of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            after_return: false,
            first_line: true,
            event: Event::default(),
            data: Vec::new(),
            has_data: false,
            is_open: false,
            space: Space::default(),
        }
    }

    /// The same, for events that there must be room for.
    #[must_use]
    pub fn within(self, room: &Arc<Room>) -> Self {
        Self { space: room.space(), ..self }
    }

    /// Takes the next bytes and appends the events they complete to `events`.
    ///
    /// # Errors
    /// [`Oversized`]; the events before it have been appended.
    pub fn push(&mut self, mut bytes: &[u8], events: &mut VecDeque<Event>) -> Result<(), Oversized> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.fit(bytes.len())?;
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            self.fit(end)?;
            self.after_return = bytes[end] == b'\r';
            if self.partial.is_empty() {
                self.line(&bytes[..end], events);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(&bytes[..end]);
                self.line(&line, events);
                // A usual allocation is kept for the next line that comes in pieces.
                if line.capacity() <= SMALL {
                    line.clear();
                    self.partial = line;
                }
            }
            bytes = &bytes[end + 1..];
            self.let_go();
        }
        Ok(())
    }

    /// How many bytes the open event has so far.
    fn length(&self) -> usize {
        self.data.len() + self.event.name.len() + self.event.id.as_ref().map_or(0, String::len)
    }

    /// Gives back the room for what a line said that is not kept: there may be no end to lines
    /// that say nothing.
    fn let_go(&mut self) {
        let length = self.length();
        self.space.hold_anyway(if length > SMALL { length } else { 0 });
    }

    /// Makes room for more of the open event.
    fn fit(&mut self, more: usize) -> Result<(), Oversized> {
        let length = self.partial.len() + self.length() + more;
        if length > self.limit {
            return Err(Oversized::Limit { limit: self.limit });
        }
        if length > SMALL {
            self.space.hold(length)?;
        }
        Ok(())
    }

    fn line(&mut self, mut line: &[u8], events: &mut VecDeque<Event>) {
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.finish(events);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(0) => return,
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
                self.is_open = true;
            }
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            // An id with a null character is to be ignored.
            b"id" if !value.contains(&0) => {
                self.event.id = Some(String::from_utf8_lossy(value).into_owned());
                self.is_open = true;
            }
            b"retry" => {
                let digits = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
                if let Some(millis) = digits.and_then(|text| text.parse().ok()) {
                    self.event.retry = Some(Duration::from_millis(millis));
                    self.is_open = true;
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, events: &mut VecDeque<Event>) {
        let mut event = std::mem::take(&mut self.event);
        self.has_data = false;
        if std::mem::take(&mut self.is_open) {
            event.data = self.space.take().keep(Bytes::from(std::mem::take(&mut self.data)));
            events.push_back(event);
        }
    }
}

/// One `message` event that carries `data`, ready to be written to a stream.
pub fn event(data: &[u8]) -> Bytes {
    event_with_id("", data)
}

/// The same with an id to come back to; no data at all primes a stream with it. An empty
/// id is none, and one that would end its line is none either.
pub fn event_with_id(id: &str, data: &[u8]) -> Bytes {
    const OPENING: &[u8] = b"event: message\n";
    let mut out = Vec::with_capacity(OPENING.len() + id.len() + data.len() + 24);
    if id.is_empty() || !data.is_empty() {
        out.extend_from_slice(OPENING);
    }
    if !id.is_empty() && !id.contains(['\n', '\r', '\0']) {
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.push(b'\n');
    }
    let mut rest = data;
    loop {
        out.extend_from_slice(b"data: ");
        // Every kind of line end inside the data would end the field.
        let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else { break };
        out.extend_from_slice(&rest[..end]);
        out.push(b'\n');
        let ended_by_pair = rest[end] == b'\r' && rest.get(end + 1) == Some(&b'\n');
        rest = &rest[end + if ended_by_pair { 2 } else { 1 }..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(b"\n\n");
    Bytes::from(out)
}

/// The same in pieces, so that large data are not copied: whoever counts them as long as they
/// are there counts right.
pub fn pieces(id: &str, data: Bytes) -> [Bytes; 3] {
    if data.len() <= SMALL || memchr::memchr2(b'\n', b'\r', &data).is_some() {
        let event = event_with_id(id, &data);
        let event = if data.len() <= SMALL { event } else { Bytes::from_owner(Copied { event, _of: data }) };
        return [event, Bytes::new(), Bytes::new()];
    }
    let around = event_with_id(id, b"-");
    // `-` and two line ends are the end of it.
    let opening = around.slice(..around.len() - 3);
    [opening, data, Bytes::from_static(b"\n\n")]
}

/// A copy of bytes that stay as long as it does.
struct Copied {
    event: Bytes,
    _of: Bytes,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.event
    }
}

/// The end of a stream that goes on elsewhere: how long to wait before coming back for the rest.
pub fn retry(after: Duration) -> Bytes {
    Bytes::from(format!("retry: {}\n\n", after.as_millis()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_in_pieces_is_the_same_event() {
        let long = "x".repeat(SMALL + 1);
        for data in ["", "{}", "a\nb", &long, &format!("{long}\r\n{long}"), &format!("{long}\n")] {
            for id in ["", "7-1", "no\nid"] {
                let whole = event_with_id(id, data.as_bytes());
                let pieces = pieces(id, Bytes::from(data.to_owned()));
                assert_eq!(pieces.concat(), whole, "{id:?}, {} bytes", data.len());
            }
        }
        let data = Bytes::from(long);
        assert_eq!(pieces("", data.clone())[1].as_ptr(), data.as_ptr(), "large data are not copied");
    }

    fn decode(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(1 << 20);
        let mut events = VecDeque::new();
        for piece in pieces {
            decoder.push(piece, &mut events).expect("within the limit");
        }
        events.into()
    }

    fn message(data: &'static str) -> Event {
        Event { data: Bytes::from(data), ..Event::default() }
    }

    #[test]
    fn every_spelling_of_an_event_is_understood() {
        let cases: &[(&[u8], Vec<Event>)] = &[
            (b"data: a\n\n", vec![message("a")]),
            (b"data:a\r\n\r\ndata:b\r\rdata:c\n\r\n", vec![message("a"), message("b"), message("c")]),
            (b"data: a\ndata\ndata:  b\n\n", vec![message("a\n\n b")]),
            (b"\xef\xbb\xbfdata: a\n\n", vec![message("a")]),
            (b": keep-alive\n\n\n\n", vec![]),
            (b"data: unfinished\n", vec![]),
            (
                b"event: endpoint\ndata: /m?s=1\n\n",
                vec![Event { name: "endpoint".into(), ..message("/m?s=1") }],
            ),
            (
                b"data: \nid: 0/7\nretry: 3000\n\n",
                vec![Event { id: Some("0/7".into()), retry: Some(Duration::from_secs(3)), ..message("") }],
            ),
            (b"retry: 20\n\n", vec![Event { retry: Some(Duration::from_millis(20)), ..message("") }]),
            (b"retry: +20\n\nretry: soon\n\n", vec![]),
            (b"id: a\0b\ndata: x\n\n", vec![message("x")]),
            (b"event: lost\n\ndata: x\n\n", vec![message("x")]),
            (b"colour: red\ndata: x\n\n", vec![message("x")]),
        ];
        for (bytes, expected) in cases {
            assert_eq!(&decode(&[bytes]), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_event_beyond_the_limit_is_refused_however_it_comes() {
        let long = format!("data: {}\n\n", "x".repeat(200));
        let many = "data: xxxxxxxxxx\n".repeat(20);
        for text in [&long, &many] {
            let mut decoder = Decoder::new(100);
            let mut events = VecDeque::new();
            let refused = text.bytes().any(|byte| decoder.push(&[byte], &mut events).is_err());
            assert!(refused && events.is_empty());
            assert_eq!(
                Decoder::new(100).push(text.as_bytes(), &mut events),
                Err(Oversized::Limit { limit: 100 })
            );
        }
    }

    #[test]
    fn an_event_that_there_is_no_room_for_is_refused_and_others_hold_theirs() {
        let room = Room::new(3 * SMALL);
        let text = format!("data: {}\n\n", "x".repeat(SMALL + 10));
        let mut events = VecDeque::new();
        let mut decoder = Decoder::new(1 << 20).within(&room);
        for piece in text.as_bytes().chunks(100) {
            decoder.push(piece, &mut events).expect("there is room");
        }
        decoder.push(text.as_bytes(), &mut events).expect("for one more");
        assert_eq!((events.len(), room.used() > 2 * SMALL), (2, true));
        assert_eq!(decoder.push(text.as_bytes(), &mut events), Err(Oversized::NoRoom(NoRoom)));
        drop((decoder, events));
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn what_says_nothing_holds_no_room() {
        let long = "x".repeat(1 << 20);
        let cases = [
            // text                                     held in the end
            (format!(":{long}\n\n"), 0),
            (format!(":{long}\n"), 0),
            (format!("colour: {long}\n"), 0),
            (format!("event: {long}\n\n"), 0),
            (format!("data: {}\n:{long}\n", "x".repeat(SMALL + 10)), SMALL + 10),
            (format!("data: {}\n:{long}\n:{long}\n", "x".repeat(10)), 0),
        ];
        for (text, held) in cases {
            for length in [text.len(), 1000] {
                let room = Room::new(4 << 20);
                let (mut decoder, mut events) = (Decoder::new(3 << 20).within(&room), VecDeque::new());
                for piece in text.as_bytes().chunks(length) {
                    decoder.push(piece, &mut events).expect("there is room");
                }
                let start = text.get(..8);
                assert_eq!((events.len(), room.used()), (0, held), "{start:?} in pieces of {length}");
            }
        }
    }

    #[test]
    fn an_event_counts_with_all_it_says() {
        // Its name and its id are kept as well.
        for field in ["event", "id"] {
            let room = Room::new(4 << 20);
            let (mut decoder, mut events) = (Decoder::new(2 << 20).within(&room), VecDeque::new());
            let long = "x".repeat(1 << 20);
            decoder.push(format!("{field}: {long}\n").as_bytes(), &mut events).expect("there is room");
            assert!(room.used() >= 1 << 20, "{field}: {}", room.used());
            let more = decoder.push(format!("data: {long}\n\n").as_bytes(), &mut events);
            assert_eq!(more, Err(Oversized::Limit { limit: 2 << 20 }), "{field}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let cases = ["{}", "", "{\n\"a\":\r\n1}", "a\rb"];
        for data in cases {
            let events = decode(&[&event(data.as_bytes())]);
            let lines = data.replace("\r\n", "\n").replace('\r', "\n");
            assert_eq!(events.len(), 1);
            assert_eq!((events[0].name.as_str(), &events[0].data[..]), ("message", lines.as_bytes()));
        }
    }

    #[test]
    fn an_event_may_say_where_its_stream_is() {
        let events = decode(&[
            &event_with_id("a_1", b""),
            &event_with_id("a_2", b"{}"),
            &event_with_id("a\nb", b"{}"),
        ]);
        let said: Vec<_> = events.iter().map(|event| (event.id.as_deref(), &event.data[..])).collect();
        assert_eq!(said, [(Some("a_1"), &b""[..]), (Some("a_2"), b"{}"), (None, b"{}")]);
    }

    proptest! {
        #[test]
        fn the_cuts_between_pieces_change_nothing(
            lines in prop::collection::vec(prop_oneof![
                Just("data: x"), Just("data:"), Just("id: 7"), Just("retry: 5"), Just(":c"), Just("event: e"),
                Just(""), Just("data: é€"), Just("\u{feff}"),
            ], 0..24),
            ends in prop::collection::vec(prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], 24),
            cuts in prop::collection::vec(0_usize..200, 0..12),
        ) {
            let text: String = lines.iter().zip(&ends).flat_map(|(line, end)| [*line, *end]).collect();
            let bytes = text.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(decode(&pieces), decode(&[bytes]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = Decoder::new(64).push(&bytes, &mut VecDeque::new());
        }
    }
}
