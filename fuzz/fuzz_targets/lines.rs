//! The framing of stdio: the same lines however the pipe cuts them.

#![no_main]

use doorward_wire::lines::{Framer, Line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (limit, step, bytes) = input;
    let limit = usize::from(limit);
    let mut framer = Framer::new(limit);
    let mut lines = Vec::new();
    for piece in bytes.chunks(usize::from(step).max(1)) {
        framer.push(piece, &mut lines);
    }
    assert_eq!(lines, simply(limit, bytes));
});

/// The same, as one would write it with everything in memory.
fn simply(limit: usize, bytes: &[u8]) -> Vec<Line> {
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let mut lines = Vec::new();
    for line in bytes[..end].split(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limit {
            lines.push(Line::TooLong);
        } else if !text.is_empty() {
            lines.push(Line::Text(text.to_vec().into()));
        }
    }
    lines
}
