//! What a child prints on its standard error: kept for whoever wants to look, and
//! logged, but not without end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorward_wire::lines::{Framer, Line};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::hub::Hub;
use crate::meter::Meter;

/// How much is kept, in bytes.
const KEPT: usize = 64 << 10;

/// Longest line, in bytes; a longer one is left out.
const LONGEST: usize = 16 << 10;

/// The last lines of one server, across restarts.
#[derive(Default)]
pub(crate) struct Ring {
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    bytes: usize,
}

impl Ring {
    /// Everything kept, oldest line first.
    pub(crate) fn text(&self) -> String {
        let lines = self.lock();
        let mut text = String::with_capacity(lines.bytes);
        for line in &lines.kept {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn push(&self, line: String) {
        let mut lines = self.lock();
        lines.bytes += line.len() + 1;
        lines.kept.push_back(line);
        while lines.bytes > KEPT
            && let Some(oldest) = lines.kept.pop_front()
        {
            lines.bytes -= oldest.len() + 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a child's standard error to its end.
pub(crate) async fn drain(mut stream: impl AsyncRead + Unpin, ring: Arc<Ring>, hub: Arc<Hub>) {
    let mut framer = Framer::new(LONGEST);
    let mut lines = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    let mut meter = Meter::default();
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        framer.push(&buffer[..read], &mut lines);
        for line in lines.drain(..) {
            let text = match line {
                Line::Text(bytes) => hub.scrubber.scrub_text(&String::from_utf8_lossy(&bytes)),
                Line::TooLong | Line::NoRoom => format!("(a line of more than {LONGEST} bytes)"),
            };
            if let Some(left_out) = meter.admit(hub.clock.elapsed()) {
                if left_out > 0 {
                    tracing::info!(server = %hub.server, left_out, "stderr: lines left out");
                }
                // Escaped: a terminal must not obey what a server prints.
                tracing::info!(server = %hub.server, "stderr: {}", text.escape_debug());
            }
            ring.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let ring = Ring::default();
        for number in 0..10_000 {
            ring.push(format!("line {number:05}"));
        }
        let text = ring.text();
        assert!(text.len() <= KEPT && text.len() > KEPT - 100);
        assert!(text.ends_with("line 09999\n") && !text.contains("line 00000"));
    }
}
