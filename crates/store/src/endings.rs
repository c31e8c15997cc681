//! Sessions that have ended, in a file of a process that is alone.
//!
//! A line each: when it was opened, and its id. The file grows by a line with each end, and is
//! written anew when half of it is of no use. Beyond a number, the sessions that were opened
//! first are no longer named: then everything that was opened until then counts as ended. So
//! does everything, if the file cannot be understood: clients open new sessions by themselves.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorward_model::endings::{Earlier, EndedSession};
use doorward_model::{Endings, Timestamp};

/// Sessions that are known by name.
const MOST: usize = 50_000;
/// The line that says until when everything counts as ended.
const BEFORE: &str = "before";

/// Keeps them in a file.
pub struct EndedSessions {
    path: PathBuf,
    earlier: Earlier,
    state: Mutex<State>,
}

struct State {
    file: File,
    known: Known,
    lines: usize,
}

#[derive(Clone, Default)]
struct Known {
    named: BTreeSet<EndedSession>,
    before: Timestamp,
}

impl EndedSessions {
    /// The sessions in the file at `path`, without those whose tickets are too old to open.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(path: PathBuf, now: Timestamp, longest: Duration) -> io::Result<Self> {
        let mut known = match fs::read_to_string(&path) {
            Ok(text) => Known::read(&text).unwrap_or_else(|| {
                tracing::warn!(
                    target: "doorward::store",
                    "{} cannot be understood: sessions opened until now count as ended", path.display()
                );
                Known { before: now, ..Known::default() }
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Known { before: now, ..Known::default() }
            }
            Err(error) => return Err(error),
        };
        known.forget(now, longest);
        let earlier = Earlier { ended: known.named.iter().copied().collect(), before: known.before };
        let file = known.write(&path)?;
        let lines = known.named.len();
        Ok(Self { path, earlier, state: Mutex::new(State { file, known, lines }) })
    }
}

impl Endings for EndedSessions {
    fn earlier(&self) -> Earlier {
        self.earlier.clone()
    }

    fn note(&self, ended: EndedSession) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.known.add(ended);
        if state.lines >= 2 * MOST {
            state.file = state.known.write(&self.path)?;
            state.lines = state.known.named.len();
            return Ok(());
        }
        state.lines += 1;
        // In one piece, so that a kill leaves a whole line or none.
        state.file.write_all(line(ended).as_bytes())
    }
}

impl Known {
    /// `None` for what no gateway wrote. A last line without its end was cut off.
    fn read(text: &str) -> Option<Self> {
        let mut known = Self::default();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        for line in whole.lines() {
            match line.split_once(' ')? {
                (BEFORE, opened) => known.before = known.before.max(time(opened)?),
                (opened, id) if id.len() == 32 => {
                    known.add(EndedSession { opened: time(opened)?, id: u128::from_str_radix(id, 16).ok()? })
                }
                _ => return None,
            }
        }
        Some(known)
    }

    fn add(&mut self, ended: EndedSession) {
        self.named.insert(ended);
        if self.named.len() > MOST
            && let Some(first) = self.named.pop_first()
        {
            self.before = self.before.max(first.opened);
        }
    }

    /// Forgets the sessions whose tickets are too old to open.
    fn forget(&mut self, now: Timestamp, longest: Duration) {
        let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        let oldest = Timestamp::from_micros(now.as_micros().saturating_sub(longest));
        self.named = self.named.split_off(&EndedSession { opened: oldest, id: 0 });
    }

    /// Writes the file anew, whole or not at all, and leaves it open at its end.
    fn write(&self, path: &Path) -> io::Result<File> {
        let mut text = String::new();
        if self.before > Timestamp::default() {
            writeln!(text, "{BEFORE} {}", self.before.as_micros()).map_err(io::Error::other)?;
        }
        self.named.iter().for_each(|ended| text.push_str(&line(*ended)));
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)?;
        Ok(file)
    }
}

fn line(ended: EndedSession) -> String {
    format!("{} {:032x}\n", ended.opened.as_micros(), ended.id)
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().map(Timestamp::from_micros)
}

impl fmt::Debug for EndedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndedSessions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    fn ended(opened: u64, id: u128) -> EndedSession {
        EndedSession { opened: at(opened), id }
    }

    #[test]
    fn what_has_ended_is_known_to_the_next_process_until_its_ticket_is_too_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessions-ended");
        let open = |now| EndedSessions::open(path.clone(), at(now), DAY).expect("opened");
        let first = open(1_000);
        assert_eq!(first.earlier(), Earlier::default());
        for one in [ended(20, 2), ended(10, 1), ended(10, 1)] {
            first.note(one).expect("noted");
        }
        drop(first);
        // Cut off while it was written.
        let mut text = fs::read_to_string(&path).expect("readable");
        text.push_str("30 0000");
        fs::write(&path, text).expect("written");
        let second = open(2_000);
        assert_eq!(second.earlier().ended, [ended(10, 1), ended(20, 2)]);
        second.note(ended(86_400_000_015, 3)).expect("noted");
        drop(second);
        assert_eq!(open(86_400_000_015).earlier().ended, [ended(20, 2), ended(86_400_000_015, 3)]);
        assert_eq!(open(86_400_000_021).earlier().ended, [ended(86_400_000_015, 3)]);
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_no_gateway_wrote_ends_every_session_that_was_opened_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessions-ended");
        let id = "0".repeat(32);
        for nonsense in [
            b"nonsense\n".to_vec(),
            format!("x {id}\n").into(),
            format!("5 {id}0\n").into(),
            vec![0xff, b'\n'],
        ] {
            fs::write(&path, &nonsense).expect("written");
            for _ in 0..2 {
                let opened = EndedSessions::open(path.clone(), at(7_000), DAY).expect("opened");
                assert_eq!(opened.earlier(), Earlier { ended: vec![], before: at(7_000) }, "{nonsense:?}");
            }
        }
    }

    #[test]
    fn the_file_is_bounded_and_what_is_not_named_counts_as_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessions-ended");
        let kept = EndedSessions::open(path.clone(), at(1), DAY).expect("opened");
        let all = 2 * MOST as u64 + 10;
        for number in 1..=all {
            kept.note(ended(number, number.into())).expect("noted");
        }
        drop(kept);
        let lines = fs::read_to_string(&path).expect("readable").lines().count();
        assert!(lines <= MOST + 11, "{lines}");
        let earlier = EndedSessions::open(path, at(all), DAY).expect("opened").earlier();
        assert_eq!((earlier.ended.len(), earlier.before), (MOST, at(all - MOST as u64)));
    }
}
