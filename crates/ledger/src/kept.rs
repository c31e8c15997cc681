//! Whether the payloads that the log speaks of are there, and are what was sealed.
//!
//! An entry says which parts of its call were kept. Each has to be found and, where the key is
//! at hand, to open. What the gateway itself removed after its time is told by an event in the
//! log, and is not missed.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use doorward_model::{CallId, Seal};

use crate::entry::{Members, Raw};
use crate::error::LedgerError;
use crate::payload::{self, Frames, Part};

/// What was found of the payloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Arguments, results and input documents that are there.
    pub parts: u64,
    /// Whether they were opened; without the key they were only counted.
    pub opened: bool,
    /// The first day whose payloads the gateway has not removed, where it has removed any.
    pub since: Option<String>,
}

/// The event that says so; its detail is that day.
pub(crate) const REMOVED: &str = "payloads-removed";

/// Files of one minute each that are remembered. Calls that end later than they began are
/// looked for where they began.
const FILES: usize = 16;

/// A look at payloads while the log is read from its beginning.
pub(crate) struct Keeping<'a> {
    log: &'a Path,
    seal: Option<&'a dyn Seal>,
    files: VecDeque<Minute>,
    /// What is missing of each day: how many parts, and the first entry.
    missing: BTreeMap<String, (u64, u64)>,
    altered: Vec<String>,
    found: Kept,
}

/// The frames of one file.
struct Minute {
    path: PathBuf,
    length: u64,
    frames: HashSet<[u8; 17]>,
}

/// What of an entry speaks of payloads.
#[derive(Default)]
struct Spoken {
    call: Option<CallId>,
    parts: Vec<Part>,
    is_removal: bool,
    detail: Option<String>,
}

impl Spoken {
    fn of(entry: &[u8]) -> Self {
        let mut spoken = Self::default();
        let is_true = |value: Raw<'_>| value.json() == "true";
        for (key, value) in Members::of(entry) {
            match key {
                b"call" => spoken.call = value.text().and_then(|call| CallId::parse(&call)),
                b"arguments" if value.get("kept").is_some_and(is_true) => spoken.parts.push(Part::Arguments),
                b"input_kept" if is_true(value) => spoken.parts.push(Part::Input),
                b"result_kept" if is_true(value) => spoken.parts.push(Part::Result),
                b"event" => spoken.is_removal = value.text().is_some_and(|event| event == REMOVED),
                b"detail" => spoken.detail = value.text().map(std::borrow::Cow::into_owned),
                _ => {}
            }
        }
        spoken
    }
}

impl<'a> Keeping<'a> {
    pub(crate) fn new(log: &'a Path, seal: Option<&'a dyn Seal>) -> Self {
        Self {
            log,
            seal,
            files: VecDeque::new(),
            missing: BTreeMap::new(),
            altered: Vec::new(),
            found: Kept { opened: seal.is_some(), ..Kept::default() },
        }
    }

    /// Looks for what an entry speaks of.
    pub(crate) fn pass(&mut self, sequence: u64, entry: &[u8]) -> Result<(), LedgerError> {
        let spoken = Spoken::of(entry);
        if spoken.is_removal {
            self.found.since = self.found.since.take().max(spoken.detail);
        }
        let Some(call) = spoken.call else { return Ok(()) };
        for part in spoken.parts {
            let path = payload::path(self.log, call);
            if self.has(&path, &payload::context(call, part))? {
                self.found.parts += 1;
            } else {
                let (count, _) = self.missing.entry(day(&path)).or_insert((0, sequence));
                *count += 1;
            }
        }
        Ok(())
    }

    fn has(&mut self, path: &Path, frame: &[u8; 17]) -> Result<bool, LedgerError> {
        if let Some(known) = self.files.iter().find(|file| file.path == path) {
            if known.frames.contains(frame) {
                return Ok(true);
            }
            // A gateway may have added to it meanwhile.
            if fs::metadata(path).map_or(0, |it| it.len()) <= known.length {
                return Ok(false);
            }
            self.files.retain(|file| file.path != path);
        }
        let minute = self.read(path)?;
        let has = minute.frames.contains(frame);
        if self.files.len() >= FILES {
            self.files.pop_front();
        }
        self.files.push_back(minute);
        Ok(has)
    }

    fn read(&mut self, path: &Path) -> Result<Minute, LedgerError> {
        let mut minute = Minute { path: path.to_path_buf(), length: 0, frames: HashSet::new() };
        let Ok(metadata) = fs::metadata(path) else { return Ok(minute) };
        minute.length = metadata.len();
        let mut frames = Frames::open(path)?;
        while let Some((header, sealed)) = frames.next()? {
            if let Some(seal) = self.seal
                && let Err(reason) = seal.open(&header, &sealed)
            {
                let wrong = format!("a payload in {}: {reason}", path.display());
                if !self.altered.contains(&wrong) {
                    self.altered.push(wrong);
                }
            }
            minute.frames.insert(header);
        }
        Ok(minute)
    }

    /// What was found, and what is wrong.
    pub(crate) fn end(self) -> (Kept, Vec<String>) {
        let mut wrong = self.altered;
        let since = self.found.since.as_deref().unwrap_or_default();
        for (day, (count, first)) in self.missing.iter().filter(|(day, _)| day.as_str() >= since) {
            wrong.push(format!(
                "{count} sealed arguments, results or inputs of {day} are missing, from entry {first} on"
            ));
        }
        (self.found, wrong)
    }
}

/// The day that a file is of.
fn day(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    folder.to_string_lossy().into_owned()
}
