//! What a child prints on its standard error: kept for whoever wants to look, and
//! logged, but not without end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorward_wire::lines::{Framer, Line};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::hub::Hub;

/// How much is kept, in bytes.
const KEPT: usize = 64 << 10;

/// Longest line, in bytes; a longer one is left out.
const LONGEST: usize = 16 << 10;

/// How many lines a second go into the log.
const LOGGED_PER_SECOND: u32 = 10;

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

/// Counts what is logged within a second.
#[derive(Default)]
struct Meter {
    second: u64,
    logged: u32,
    left_out: u32,
}

impl Meter {
    /// Whether a line may be logged, and how many before it were not.
    fn admit(&mut self, now: Duration) -> Option<u32> {
        if now.as_secs() != self.second {
            self.second = now.as_secs();
            self.logged = 0;
        }
        if self.logged == LOGGED_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.left_out))
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

    #[test]
    fn chatter_is_counted_instead_of_logged() {
        let mut meter = Meter::default();
        let second = Duration::from_secs(1);
        let admitted = (0..100).filter(|_| meter.admit(second).is_some()).count();
        assert_eq!(admitted, 10);
        assert_eq!(meter.admit(second * 2), Some(90));
        assert_eq!(meter.admit(second * 2), Some(0));
    }
}
