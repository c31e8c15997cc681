//! Server-sent events: the same however the network cuts them, and the same as a decoder that
//! nobody here wrote.

#![no_main]

use std::collections::VecDeque;
use std::convert::Infallible;

use doorward_wire::sse::{Decoder, Event};
use eventsource_stream::Eventsource as _;
use futures_util::{StreamExt as _, stream};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 20;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    // A last `\r` is half a line end to a decoder that waits for more.
    let bytes = &[bytes, b":\n"].concat();
    let whole = events(bytes, bytes.len().max(1));
    assert_eq!(whole, events(bytes, usize::from(step).max(1)), "cuts every {step} bytes");
    let (Some(whole), Ok(text)) = (whole, std::str::from_utf8(bytes)) else { return };
    let ours: Vec<_> = whole
        .into_iter()
        .filter(|event| !event.data.is_empty())
        .map(|event| {
            let name = if event.name.is_empty() { "message".to_owned() } else { event.name };
            (name, String::from_utf8(event.data.to_vec()).expect("cut out of a text"))
        })
        .collect();
    assert_eq!(ours, others(text));
});

/// Our events; `None` beyond the limit.
fn events(bytes: &[u8], step: usize) -> Option<Vec<Event>> {
    let mut decoder = Decoder::new(LIMIT);
    let mut events = VecDeque::new();
    for piece in bytes.chunks(step) {
        decoder.push(piece, &mut events).ok()?;
    }
    Some(events.into())
}

/// The names and data of the other decoder's events.
fn others(text: &str) -> Vec<(String, String)> {
    let whole = stream::iter([Ok::<_, Infallible>(text.as_bytes().to_vec())]);
    let events = whole.eventsource().filter_map(async |event| event.ok()).collect::<Vec<_>>();
    let events = futures_util::FutureExt::now_or_never(events).expect("nothing to wait for");
    events.into_iter().filter(|event| !event.data.is_empty()).map(|event| (event.event, event.data)).collect()
}
