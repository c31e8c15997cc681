//! Payloads: whole arguments, results and input documents, sealed, apart from the log.
//!
//! They lie in files of one minute each, in folders of one day each, by the time in
//! the id of their call: `payloads/2026-11-21/10-05`. Old days are removed
//! after their time (`expiry.rs`); the log keeps the digests. A file is a row of frames:
//!
//! ```text
//! length of what is sealed (4 bytes, big-endian) ‖ call (16) ‖ kind (1) ‖ sealed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use doorward_model::{CallId, Seal, Timestamp};

use crate::canonical::first;
use crate::error::LedgerError;

/// What was kept of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The arguments, canonical JSON, as far as they were kept.
    pub arguments: Option<String>,
    /// The server's result, as far as it was kept.
    pub result: Option<String>,
    /// The input document, whole.
    pub input: Option<String>,
}

/// Which part of a call a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Arguments = 1,
    Result = 2,
    /// What the policies saw. Of use only as a whole: its digest stands in the record.
    Input = 3,
}

/// Characters that are kept of arguments and result.
const LONGEST: usize = 10_000;
/// Bytes of the longest input document that is kept.
pub(crate) const LONGEST_INPUT: usize = 1 << 20;
const HEADER: usize = 4 + 16 + 1;
/// No frame seals more, whatever its length says.
const LONGEST_SEALED: usize = LONGEST_INPUT + (1 << 10);

/// The payloads of a log that is being written.
pub(crate) struct Payloads {
    log: PathBuf,
    seal: Arc<dyn Seal>,
    /// The files that were written last, the latest behind the others. Calls of one minute end
    /// in the next, so that two are written in turns.
    current: Mutex<Vec<Current>>,
}

/// How many files stay open.
const OPEN: usize = 4;

/// A file that is being written.
struct Current {
    path: PathBuf,
    file: File,
    length: u64,
    /// Something was written that is not on disk yet.
    fresh: bool,
}

impl Payloads {
    pub(crate) fn new(log: &Path, seal: Arc<dyn Seal>) -> Self {
        Self { log: log.to_path_buf(), seal, current: Mutex::default() }
    }

    /// Keeps the beginning of a text; of an input document all or nothing.
    pub(crate) fn keep(&self, call: CallId, part: Part, text: &str) -> Result<(), LedgerError> {
        let text = match part {
            Part::Arguments | Part::Result => first(text, LONGEST),
            Part::Input if text.len() <= LONGEST_INPUT => text,
            Part::Input => return Ok(()),
        };
        let sealed = self.seal.seal(&context(call, part), text.as_bytes());
        let sealed = sealed.map_err(|reason| LedgerError::Payload { call, reason })?;
        let mut frame = Vec::with_capacity(HEADER + sealed.len());
        frame.extend_from_slice(&u32::try_from(sealed.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(&context(call, part));
        frame.extend_from_slice(&sealed);
        let path = path(&self.log, call);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = current.iter_mut().find(|current| current.path == path) {
            return known.append(&frame);
        }
        if current.len() >= OPEN
            && let Some(oldest) = current.first_mut()
        {
            // It goes when it is on disk: what could not be put there must not be forgotten.
            oldest.sync()?;
            current.remove(0);
        }
        let mut fresh = Current::open(path)?;
        fresh.append(&frame)?;
        current.push(fresh);
        Ok(())
    }

    /// Puts on disk what was kept so far.
    pub(crate) fn sync(&self) -> Result<(), LedgerError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.iter_mut().try_for_each(Current::sync)
    }
}

impl Current {
    /// Opens a file behind its last whole frame.
    fn open(path: PathBuf) -> Result<Self, LedgerError> {
        let folder = path.parent().unwrap_or(&path);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(LedgerError::file("create", folder))?;
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(LedgerError::file("open", &path))?;
        let mut frames = Frames::open(&path)?;
        while frames.next()?.is_some() {}
        file.set_len(frames.at).map_err(LedgerError::file("cut", &path))?;
        let length = frames.at;
        Ok(Self { path, file, length, fresh: false })
    }

    fn append(&mut self, frame: &[u8]) -> Result<(), LedgerError> {
        // What an earlier failure may have left is cut off first.
        let written = self.file.metadata().and_then(|metadata| {
            if metadata.len() != self.length {
                self.file.set_len(self.length)?;
            }
            self.file.write_all(frame)
        });
        written.map_err(LedgerError::file("write", &self.path))?;
        self.length += frame.len() as u64;
        self.fresh = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LedgerError> {
        if self.fresh {
            self.file.sync_data().map_err(LedgerError::file("sync", &self.path))?;
            self.fresh = false;
        }
        Ok(())
    }
}

/// What was kept of a call, read from the files alone.
///
/// # Errors
/// [`LedgerError::Payload`] where it is there and cannot be opened.
pub(crate) fn read(log: &Path, seal: &dyn Seal, call: CallId) -> Result<Payload, LedgerError> {
    let path = path(log, call);
    let mut payload = Payload::default();
    let mut frames = match Frames::open(&path) {
        Ok(frames) => frames,
        Err(_) if !path.exists() => return Ok(payload),
        Err(error) => return Err(error),
    };
    while let Some((header, sealed)) = frames.next()? {
        for part in [Part::Arguments, Part::Result, Part::Input] {
            if header == context(call, part) {
                let clear = seal.open(&header, &sealed);
                let clear = clear.map_err(|reason| LedgerError::Payload { call, reason })?;
                let text = Some(String::from_utf8_lossy(&clear).into_owned());
                match part {
                    Part::Arguments => payload.arguments = text,
                    Part::Result => payload.result = text,
                    Part::Input => payload.input = text,
                }
            }
        }
    }
    Ok(payload)
}

/// The folder of all payloads.
pub(crate) fn folder(log: &Path) -> PathBuf {
    log.join("payloads")
}

/// What a payload is bound to: its call, and which part of it it is.
pub(crate) fn context(call: CallId, part: Part) -> [u8; 17] {
    let mut context = [part as u8; 17];
    context[..16].copy_from_slice(call.as_bytes());
    context
}

pub(crate) fn path(log: &Path, call: CallId) -> PathBuf {
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&call.as_bytes()[..6]);
    let time = Timestamp::from_micros(u64::from_be_bytes(millis).saturating_mul(1_000)).to_string();
    // 2026-11-21T10:05:00.000000Z
    let (day, minute) = time.split_once('T').unwrap_or((&time, ""));
    folder(log).join(day).join(first(minute, 5).replace(':', "-"))
}

/// What is sealed, behind what it is bound to.
pub(crate) type Frame = ([u8; 17], Vec<u8>);

/// Reads frames one after another, up to the first that is not whole.
pub(crate) struct Frames {
    reader: BufReader<File>,
    path: PathBuf,
    at: u64,
}

impl Frames {
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let file = File::open(path).map_err(LedgerError::file("open", path))?;
        Ok(Self { reader: BufReader::with_capacity(1 << 16, file), path: path.to_path_buf(), at: 0 })
    }

    pub(crate) fn next(&mut self) -> Result<Option<Frame>, LedgerError> {
        let mut read = || -> io::Result<Frame> {
            let (mut length, mut header) = ([0; 4], [0; 17]);
            self.reader.read_exact(&mut length)?;
            self.reader.read_exact(&mut header)?;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length > LONGEST_SEALED {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut sealed = vec![0; length];
            self.reader.read_exact(&mut sealed)?;
            Ok((header, sealed))
        };
        match read() {
            Ok(frame) => {
                self.at += (HEADER + frame.1.len()) as u64;
                Ok(Some(frame))
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(LedgerError::file("read", &self.path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use doorward_model::clock::Fixed;
    use doorward_model::{Clock as _, SealError};

    use super::*;

    /// No cipher: shows what is sealed with which context, and nothing else.
    #[derive(Debug)]
    struct Labels;

    impl Seal for Labels {
        fn seal(&self, context: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError> {
            Ok([context, clear].concat())
        }

        fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
            sealed.strip_prefix(context).map(<[u8]>::to_vec).ok_or(SealError::Altered)
        }
    }

    struct World {
        folder: tempfile::TempDir,
        clock: Fixed,
    }

    impl World {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().expect("a folder"), clock: Fixed::new(4) }
        }

        fn payloads(&self) -> Payloads {
            Payloads::new(self.folder.path(), Arc::new(Labels))
        }

        fn read(&self, call: CallId) -> Result<Payload, LedgerError> {
            read(self.folder.path(), &Labels, call)
        }

        fn call(&self) -> CallId {
            CallId::new(self.clock.now(), &self.clock)
        }
    }

    fn both(arguments: &str, result: &str) -> Payload {
        Payload {
            arguments: Some(arguments.to_owned()),
            result: Some(result.to_owned()),
            ..Payload::default()
        }
    }

    #[test]
    fn what_was_kept_is_found_by_its_call() {
        let world = World::new();
        let payloads = world.payloads();
        let (early, late) = (world.call(), {
            world.clock.advance(Duration::from_secs(90));
            world.call()
        });
        payloads.keep(early, Part::Arguments, "{}").expect("kept");
        payloads.keep(late, Part::Arguments, "[1]").expect("kept");
        // The end of a long call goes where its beginning is.
        payloads.keep(early, Part::Result, "\"ok\"").expect("kept");
        payloads.keep(late, Part::Result, &"é".repeat(20_000)).expect("kept");
        payloads.sync().expect("on disk");
        assert_eq!(world.read(early).expect("readable"), both("{}", "\"ok\""));
        assert_eq!(world.read(late).expect("readable"), both("[1]", &"é".repeat(LONGEST)));
        assert_eq!(world.read(world.call()).expect("readable"), Payload::default());
        let files = fs::read_dir(world.folder.path().join("payloads/2026-11-21")).expect("a day");
        let mut names: Vec<_> = files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        assert_eq!(names, ["10-00", "10-01"]);
    }

    #[test]
    fn calls_that_end_a_minute_later_do_not_close_the_files_of_others() {
        let world = World::new();
        let payloads = world.payloads();
        let mut calls = Vec::new();
        for _ in 0..OPEN + 2 {
            calls.push(world.call());
            world.clock.advance(Duration::from_secs(60));
        }
        for part in [Part::Arguments, Part::Result] {
            for call in &calls {
                payloads.keep(*call, part, "x").expect("kept");
            }
        }
        let held = payloads.current.lock().expect("not poisoned");
        assert_eq!(held.len(), OPEN);
        assert_eq!(held.last().expect("one").path, path(world.folder.path(), calls[OPEN + 1]));
        drop(held);
        // Two in turns stay open both.
        let opened = || -> Vec<_> {
            let held = payloads.current.lock().expect("not poisoned");
            held.iter().map(|current| std::os::fd::AsRawFd::as_raw_fd(&current.file)).collect()
        };
        let before = opened();
        for _ in 0..3 {
            payloads.keep(calls[OPEN], Part::Input, "y").expect("kept");
            payloads.keep(calls[OPEN + 1], Part::Input, "y").expect("kept");
        }
        assert_eq!(opened(), before);
        payloads.sync().expect("on disk");
        assert!(payloads.current.lock().expect("not poisoned").iter().all(|current| !current.fresh));
        for call in calls {
            assert_eq!(world.read(call).expect("readable").result.as_deref(), Some("x"));
        }
    }

    #[test]
    fn an_input_document_is_kept_whole_or_not_at_all() {
        let world = World::new();
        let (whole, beyond) = (world.call(), world.call());
        let longest = "x".repeat(LONGEST_INPUT);
        let payloads = world.payloads();
        payloads.keep(whole, Part::Input, &longest).expect("kept");
        payloads.keep(beyond, Part::Input, &format!("{longest}x")).expect("not kept");
        payloads.keep(beyond, Part::Arguments, "{}").expect("kept");
        assert_eq!(world.read(whole).expect("readable").input.as_deref(), Some(&*longest));
        let found = world.read(beyond).expect("readable");
        assert_eq!((found.input, found.arguments.as_deref()), (None, Some("{}")));
    }

    #[test]
    fn a_torn_frame_costs_nothing_that_comes_before_or_after() {
        let world = World::new();
        let (first, torn, next) = (world.call(), world.call(), world.call());
        let payloads = world.payloads();
        payloads.keep(first, Part::Arguments, "first").expect("kept");
        let file = path(world.folder.path(), first);
        let kept = fs::read(&file).expect("readable");
        payloads.keep(torn, Part::Arguments, "torn").expect("kept");
        let whole = fs::read(&file).expect("readable");
        for length in kept.len()..whole.len() {
            fs::write(&file, &whole[..length]).expect("written");
            let payloads = world.payloads();
            payloads.keep(next, Part::Arguments, "next").expect("kept");
            let arguments = |call| world.read(call).expect("readable").arguments;
            assert_eq!(arguments(first).as_deref(), Some("first"), "torn at {length}");
            assert_eq!(arguments(torn), None);
            assert_eq!(arguments(next).as_deref(), Some("next"));
        }
    }
}
