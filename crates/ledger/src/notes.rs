//! Files of checkpoints: signed notes one behind the other, a blank line after each.
//!
//! They are only ever appended to. The end of one may be torn, by a crash or a full
//! disk; it is mended before anything is put behind it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::LedgerError;

/// The checkpoints of a log, in its folder.
pub(crate) fn own(log: &Path) -> PathBuf {
    log.join("checkpoints")
}

/// A note as it stands in a file. What is none comes out as it is and will not open.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub text: String,
    /// The line it begins on, counted from 1.
    pub line: u64,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Whether the blank line behind it is there.
    pub ended: bool,
}

impl Note {
    /// The checkpoint that it is, also where only its last line end has not been written yet.
    pub(crate) fn open(&self, verifier: &str) -> Option<Checkpoint> {
        let opened = Checkpoint::open(&self.text, verifier);
        let torn = || Checkpoint::open(&format!("{}\n", self.text), verifier);
        opened.or_else(|| (!self.ended && !self.text.ends_with('\n')).then(torn).flatten())
    }

    /// Whether it can be what a crash, or a write under way, has left: the beginning of a
    /// note under this key's name. Anything else was altered.
    pub(crate) fn is_beginning(&self, verifier: &str) -> bool {
        let name = verifier.split_once('+').map_or(verifier, |(name, _)| name);
        !self.ended && is_beginning(&self.text, name)
    }

    /// How many entries it says that it covers, signed or not.
    fn size(&self) -> Option<u64> {
        self.text.lines().nth(1)?.parse().ok()
    }
}

/// Reads notes one after another, in memory bounded by the longest.
pub(crate) struct Notes<R> {
    reader: R,
    line: u64,
    at: u64,
}

/// No note is longer.
const LONGEST: usize = 1 << 16;
/// How much of the end of a file is looked at for the last checkpoints.
const RECENT: u64 = 1 << 16;

impl Notes<io::Take<BufReader<File>>> {
    /// Reads a file as long as it is now; `None` where there is none.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, LedgerError> {
        let Some((file, length)) = existing(path)? else { return Ok(None) };
        Ok(Some(Self::new(BufReader::new(file).take(length))))
    }
}

impl<R: BufRead> Notes<R> {
    fn new(reader: R) -> Self {
        Self { reader, line: 0, at: 0 }
    }

    /// The next note; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Note>> {
        let (line, start) = (self.line + 1, self.at);
        let mut text = Vec::new();
        let (mut ended, mut signed) = (false, false);
        while text.len() < LONGEST {
            let from = text.len();
            let left = (LONGEST - from) as u64;
            if (&mut self.reader).take(left).read_until(b'\n', &mut text)? == 0 {
                break;
            }
            self.line += 1;
            // A blank line behind a signature ends a note; one before it is part of it.
            if signed && text[from..] == *b"\n" {
                text.truncate(from);
                self.at += 1;
                ended = true;
                break;
            }
            signed = text[from..].starts_with("— ".as_bytes()) && text.ends_with(b"\n");
        }
        if text.is_empty() {
            return Ok(None);
        }
        self.at += text.len() as u64;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(Some(Note { text, line, start, ended }))
    }
}

/// Characters of a root, and of a signature with the hash of its key, in base64.
const ROOT: usize = 44;
const SIGNATURE: usize = 92;

/// Whether a text is the beginning of a note, and not all of it.
fn is_beginning(text: &str, name: &str) -> bool {
    // A character may be torn as well.
    let text = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
    let signature = format!("— {name} ");
    let encoded = |text: &str, longest: usize| {
        text.len() <= longest && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"+/=".contains(&it))
    };
    let mut lines: Vec<&str> = text.split('\n').collect();
    let Some(torn) = lines.pop() else { return false };
    let whole = lines.iter().enumerate().all(|(at, line)| match at {
        0 => *line == name,
        1 => !line.is_empty() && line.bytes().all(|it| it.is_ascii_digit()),
        2 => line.len() == ROOT && encoded(line, ROOT),
        3 => line.starts_with("time "),
        4 => line.is_empty(),
        _ => false,
    });
    whole
        && match lines.len() {
            0 => name.starts_with(torn),
            1 => torn.bytes().all(|it| it.is_ascii_digit()),
            2 => encoded(torn, ROOT),
            3 => "time ".starts_with(torn) || torn.starts_with("time "),
            4 => torn.is_empty(),
            5 => {
                signature.starts_with(torn)
                    || torn.strip_prefix(&*signature).is_some_and(|it| encoded(it, SIGNATURE - 1))
            }
            _ => false,
        }
}

/// The last checkpoints of a log, as far as they are signed with its key.
///
/// # Errors
/// [`LedgerError::OtherKey`] when there are some and none is, [`LedgerError::Damaged`] when
/// one of them was altered.
pub(crate) fn recent(log: &Path, verifier: &str) -> Result<Vec<Checkpoint>, LedgerError> {
    let path = own(log);
    let recent = last_of(&path, verifier)?;
    match recent.altered {
        Some(_) if recent.signed.is_empty() => Err(LedgerError::OtherKey(path)),
        Some(line) => Err(LedgerError::Damaged { path, line, reason: "a checkpoint was altered".to_owned() }),
        None => Ok(recent.signed),
    }
}

/// The last notes of a file.
pub(crate) struct Recent {
    /// Those that are signed with the key.
    pub signed: Vec<Checkpoint>,
    /// The line of the first that is not.
    pub altered: Option<u64>,
}

/// Reads the last notes of a file; lines are counted from where that begins.
pub(crate) fn last_of(path: &Path, verifier: &str) -> Result<Recent, LedgerError> {
    let mut recent = Recent { signed: Vec::new(), altered: None };
    let Some((mut file, length)) = existing(path)? else { return Ok(recent) };
    let from = length.saturating_sub(RECENT);
    file.seek(SeekFrom::Start(from)).map_err(LedgerError::file("read", path))?;
    let mut notes = Notes::new(BufReader::new(file).take(length - from));
    while let Some(note) = notes.next().map_err(LedgerError::file("read", path))? {
        match note.open(verifier) {
            Some(checkpoint) => recent.signed.push(checkpoint),
            // Reading may have begun in the middle of a note.
            None if note.start == 0 && from > 0 => {}
            None if note.is_beginning(verifier) => {}
            None => recent.altered = recent.altered.or(Some(note.line)),
        }
    }
    Ok(recent)
}

/// The first checkpoint of a log that covers so many entries, with its note.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn covering(
    log: &Path,
    verifier: &str,
    entries: u64,
) -> Result<Option<(String, Checkpoint)>, LedgerError> {
    first(&own(log), verifier, |size| size >= entries)
}

/// The first checkpoint of a file whose size will do and which is signed with this key.
pub(crate) fn first(
    path: &Path,
    verifier: &str,
    will_do: impl Fn(u64) -> bool,
) -> Result<Option<(String, Checkpoint)>, LedgerError> {
    let Some(mut notes) = Notes::open(path)? else { return Ok(None) };
    while let Some(note) = notes.next().map_err(LedgerError::file("read", path))? {
        // Checking a signature takes a thousand times as long as reading a number.
        if note.size().is_some_and(&will_do)
            && let Some(checkpoint) = Checkpoint::open(&note.text, verifier)
        {
            return Ok(Some((note.text, checkpoint)));
        }
    }
    Ok(None)
}

/// Puts right what a crash left at the end of a file: a whole note gets the line end
/// that it lacks, the beginning of one is cut off.
pub(crate) fn mend(path: &Path, verifier: &str) -> Result<(), LedgerError> {
    let Some((mut file, length)) = existing(path)? else { return Ok(()) };
    let from = length.saturating_sub(RECENT);
    let failed = |error| LedgerError::file("read", path)(error);
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut notes = Notes::new(BufReader::new(file).take(length - from));
    let mut last = None;
    while let Some(note) = notes.next().map_err(failed)? {
        last = Some(note);
    }
    let Some(note) = last.filter(|note| !note.ended) else { return Ok(()) };
    if note.open(verifier).is_some() {
        return append(path, if note.text.ends_with('\n') { "\n" } else { "\n\n" });
    }
    if !note.is_beginning(verifier) {
        // Somebody's alteration is for people to look at.
        return Ok(());
    }
    let file = OpenOptions::new().write(true).open(path);
    file.and_then(|file| file.set_len(from + note.start)).map_err(LedgerError::file("cut", path))
}

/// Appends `text` and puts it on disk. What is written of it when that fails is cut
/// off again.
pub(crate) fn append(path: &Path, text: &str) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::file("write", path)(error);
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(|error| {
        // Where not even that works, the next start mends it.
        let _ = file.set_len(length);
        failed(error)
    })
}

fn existing(path: &Path) -> Result<Option<(File, u64)>, LedgerError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LedgerError::file("open", path)(error)),
    };
    let length = file.metadata().map_err(LedgerError::file("read", path))?.len();
    Ok(Some((file, length)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::Ed25519KeyPair;
    use doorward_model::Timestamp;

    use super::*;
    use crate::checkpoint::verifier_key;

    struct World {
        folder: tempfile::TempDir,
        key: Ed25519KeyPair,
    }

    impl World {
        fn new() -> Self {
            let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
            let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
            Self { folder: tempfile::tempdir().expect("a folder"), key }
        }

        fn sign(&self, size: u64) -> String {
            Checkpoint::new("log", size, [1; 32], Timestamp::from_micros(5)).sign(&self.key)
        }

        fn verifier(&self) -> String {
            verifier_key("log", &self.key)
        }

        fn path(&self) -> PathBuf {
            own(self.folder.path())
        }

        fn sizes(&self) -> Vec<u64> {
            let found = recent(self.folder.path(), &self.verifier()).expect("readable");
            found.into_iter().map(|checkpoint| checkpoint.size).collect()
        }
    }

    #[test]
    fn notes_are_told_apart_in_a_file() {
        let world = World::new();
        let (first, second) = (world.sign(1), world.sign(2));
        let file = format!("{first}\n{second}\n");
        let mut notes = Notes::new(file.as_bytes());
        let mut found = Vec::new();
        while let Some(note) = notes.next().expect("readable") {
            found.push(note);
        }
        let start = first.len() as u64 + 1;
        assert_eq!(
            found,
            [
                Note { text: first, line: 1, start: 0, ended: true },
                Note { text: second, line: 8, start, ended: true },
            ]
        );
    }

    #[test]
    fn a_torn_end_is_mended_wherever_it_was_torn() {
        let world = World::new();
        let first = world.sign(1) + "\n";
        let whole = format!("{first}{}\n", world.sign(2));
        for length in first.len()..whole.len() {
            fs::write(world.path(), &whole.as_bytes()[..length]).expect("written");
            mend(&world.path(), &world.verifier()).expect("mended");
            append(&world.path(), &(world.sign(3) + "\n")).expect("appended");
            let kept = length + 2 >= whole.len();
            assert_eq!(world.sizes(), if kept { vec![1, 2, 3] } else { vec![1, 3] }, "torn at {length}");
            let text = fs::read_to_string(world.path()).expect("text");
            assert_eq!(text.len(), first.len() * if kept { 3 } else { 2 });
        }
    }

    #[test]
    fn the_last_checkpoints_of_a_long_file_are_found_at_its_end() {
        let world = World::new();
        let many: String = (1..=2_000).map(|size| world.sign(size) + "\n").collect();
        fs::write(world.path(), &many).expect("written");
        let sizes = world.sizes();
        assert!(sizes.len() < 1_000 && sizes.last() == Some(&2_000));
        mend(&world.path(), &world.verifier()).expect("nothing to mend");
        assert_eq!(fs::read_to_string(world.path()).expect("text"), many);
    }

    #[test]
    fn the_first_checkpoint_that_covers_enough_is_found_and_no_unsigned_one() {
        let (world, other) = (World::new(), World::new());
        let file = format!("{}\n{}\n{}\n{}\n", world.sign(3), other.sign(5), world.sign(8), world.sign(9));
        fs::write(world.path(), file).expect("written");
        let covering = |entries| {
            let found = covering(world.folder.path(), &world.verifier(), entries).expect("readable");
            found.map(|(note, checkpoint)| {
                assert_eq!(Checkpoint::open(&note, &world.verifier()).as_ref(), Some(&checkpoint));
                checkpoint.size
            })
        };
        assert_eq!([0, 3, 4, 8, 9, 10].map(covering), [Some(3), Some(3), Some(8), Some(8), Some(9), None]);
    }

    #[test]
    fn an_altered_note_is_noticed_wherever_it_stands() {
        let world = World::new();
        let notes: Vec<_> = (1..=3).map(|size| world.sign(size) + "\n").collect();
        for (at, note) in notes.iter().enumerate() {
            for altered in
                [note.replace('—', "–"), note.replace("time", "tame"), note.trim_end().to_owned() + "=\n"]
            {
                let mut file = notes.clone();
                file[at] = altered;
                fs::write(world.path(), file.concat()).expect("written");
                let found = recent(world.folder.path(), &world.verifier());
                assert!(matches!(found, Err(LedgerError::Damaged { .. })), "{at}: {found:?}");
                mend(&world.path(), &world.verifier()).expect("left alone");
                assert_eq!(fs::read_to_string(world.path()).expect("text"), file.concat());
            }
        }
    }

    #[test]
    fn checkpoints_of_another_key_are_no_checkpoints_of_ours() {
        let (world, other) = (World::new(), World::new());
        fs::write(world.path(), other.sign(4) + "\n").expect("written");
        let found = recent(world.folder.path(), &world.verifier());
        assert!(matches!(found, Err(LedgerError::OtherKey(_))));
    }
}
