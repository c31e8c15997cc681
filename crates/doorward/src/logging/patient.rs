//! Standard error, written to only while somebody reads it.
//!
//! A pipe that nobody empties would hold up whoever writes a line, and in the end every call.
//! So a line waits for a moment; after that lines are left out until there is room again, and
//! the first that is written says how many were.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Format;

/// How long the first line waits.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// A pipe that has room has room for so much (POSIX: `PIPE_BUF` is at least 512, on Linux 4096).
const PIECE: usize = 512;

/// What becomes of lines that nobody reads.
#[derive(Debug, Default)]
struct State {
    left_out: u64,
    /// Whether only the beginning of the first of them was written.
    is_torn: bool,
}

static STATE: Mutex<State> = Mutex::new(State { left_out: 0, is_torn: false });

/// A writer of such lines that never waits for long.
#[derive(Debug)]
pub(super) struct Patient(pub(super) Format);

impl Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        state.write(&mut io::stderr(), line, self.0);
        // What is left out is nobody's error.
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn write(&mut self, out: &mut (impl Write + AsFd), line: &[u8], format: Format) {
        // Whoever has waited in vain once does not wait again.
        if self.left_out > 0 {
            if !has_room(out, None) {
                self.left_out += 1;
                return;
            }
            let end = if std::mem::take(&mut self.is_torn) { "\n" } else { "" };
            if out.write_all(format!("{end}{}\n", notice(self.left_out, format)).as_bytes()).is_err() {
                return;
            }
            self.left_out = 0;
        }
        for (at, piece) in line.chunks(PIECE).enumerate() {
            if !has_room(out, Some(&PATIENCE)) {
                self.left_out += 1;
                self.is_torn = at > 0;
                return;
            }
            if out.write_all(piece).is_err() {
                return;
            }
        }
    }
}

/// What is said instead of so many lines.
fn notice(count: u64, format: Format) -> String {
    let what = if count == 1 { "line of the log was" } else { "lines of the log were" };
    let words = format!("{count} {what} left out because nobody read them");
    match format {
        Format::Text => words,
        Format::Json => {
            format!(r#"{{"level":"WARN","fields":{{"message":"{words}"}},"target":"doorward::logging"}}"#)
        }
    }
}

/// Whether a piece can be written without waiting for longer than that.
fn has_room(out: &impl AsFd, within: Option<&Timespec>) -> bool {
    let mut files = [PollFd::new(out, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What cannot be asked is written to; a reader that has left answers with an error there.
    poll(&mut files, Some(within.unwrap_or(&at_once))).map_or(true, |ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_nobody_reads_is_left_out_and_counted() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let mut state = State::default();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..100 {
            state.write(&mut writer, &line, Format::Text);
        }
        let left_out = state.left_out;
        assert!((1..100).contains(&left_out), "{left_out}");
        let mut read = vec![0; 1 << 20];
        let whole = reader.read(&mut read).expect("read");
        assert!(whole >= 60_000, "{whole}");
        let end = if read[whole - 1] == b'\n' { "" } else { "\n" };
        state.write(&mut writer, b"again\n", Format::Text);
        let length = reader.read(&mut read).expect("read");
        let said = String::from_utf8_lossy(&read[..length]).into_owned();
        assert_eq!(
            said,
            format!("{end}{left_out} lines of the log were left out because nobody read them\nagain\n")
        );
        drop(reader);
        state.write(&mut writer, b"nobody is there\n", Format::Text);
        let notice = notice(1, Format::Json);
        let notice: serde_json::Value = serde_json::from_str(&notice).expect("JSON");
        let said = notice["fields"]["message"].as_str();
        assert_eq!(said, Some("1 line of the log was left out because nobody read them"));
    }
}
