//! Checking a log from its files alone, while a gateway may be writing it.
//!
//! Every entry is read once, in memory bounded by the longest. Each must stand in
//! its place and name the hash of the one before; each signed checkpoint must fit
//! the tree over the entries it covers.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, verifier_key};
use crate::error::LedgerError;
use crate::index::Index;
use crate::index::compare::{self, Compared, Comparison};
use crate::kept::{Keeping, Kept};
use crate::keys;
use crate::memory::{self, Memory};
use crate::merkle::{Hash, Tree, leaf_hash};
use crate::notes::{self, Notes};
use crate::recover::Entry;
use crate::segment::{self, Lines};
use crate::shared::PUBLIC_KEY;
use doorward_model::Seal;
use doorward_model::json::push_hex;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries that were read.
    pub entries: u64,
    /// Checkpoints that were checked.
    pub checkpoints: usize,
    /// Entries covered by the last of them.
    pub covered: u64,
    /// The root over all entries, hexadecimal.
    pub head: String,
    /// What came of comparing the index; `None` where there is none, or it was not asked for.
    pub index: Option<Compared>,
    /// What was found of its payloads, if they were looked for.
    pub payloads: Option<Kept>,
    /// What does not hold, in the order of the log. Empty when all holds.
    pub faults: Vec<Fault>,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The entry, where one can be named.
    pub entry: Option<u64>,
    /// The file and the line in it, counted from 1.
    pub place: Option<(PathBuf, u64)>,
    /// What is wrong.
    pub reason: String,
}

impl Fault {
    fn of_file(path: &Path, line: u64, reason: &str) -> Self {
        Self { entry: None, place: Some((path.to_path_buf(), line)), reason: reason.to_owned() }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}: ")?;
        }
        f.write_str(&self.reason)?;
        match &self.place {
            Some((path, line)) => write!(f, " ({}, line {line})", path.display()),
            None => Ok(()),
        }
    }
}

impl Report {
    /// Whether everything holds.
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty()
    }

    /// The first entry that does not hold, as text.
    pub fn first_bad(&self) -> Option<String> {
        let fault = self.faults.first()?;
        Some(fault.entry.map_or_else(|| fault.to_string(), |entry| entry.to_string()))
    }
}

/// What a log is held against, beside its own checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct Against<'a> {
    /// Copies of the checkpoints that are kept elsewhere.
    pub anchors: &'a [PathBuf],
    /// The folder of its keys, and the name it signs with: what is remembered there is believed
    /// rather than what lies beside the log.
    pub keys: Option<(&'a Path, &'a str)>,
    /// A verifier key to believe rather than any of those.
    pub key: Option<&'a str>,
    /// Whether its index is to be compared with it, where there is one.
    pub index: bool,
    /// Whether its payloads are to be looked for.
    pub payloads: bool,
    /// What opens them; without it they are only looked for.
    pub seal: Option<&'a dyn Seal>,
}

/// Checks the log in `folder` against its own checkpoints and everything in `against`.
///
/// # Errors
/// When a file cannot be read. A log that does not hold is a [`Report`] with faults.
pub fn verify(folder: &Path, against: &Against<'_>) -> Result<Report, LedgerError> {
    let mut report = Report::default();
    // Before the checkpoints, and those before the entries: what is signed from now on may
    // cover more than is read below.
    let known = against.keys.map(|(keys, origin)| memory::path(keys, folder, origin));
    let memory = known.as_deref().map(Memory::load).transpose()?.flatten();
    let verifier = verifier(folder, against, memory.as_ref(), &mut report)?;
    let memory = memory.filter(|memory| memory.key == verifier).zip(known);
    let exchanged = match (against.keys, &memory) {
        (Some((keys, _)), Some((memory, _))) => memory.exchanged(keys, against.seal)?,
        _ => Vec::new(),
    };
    let own = notes::own(folder);
    let mut promises = Vec::new();
    for path in std::iter::once(&own).chain(against.anchors) {
        promises.push(Promises::open(path, &verifier, &mut report)?);
    }
    // A log that was never signed has nothing that an anchor could hold.
    let known = memory.as_ref().map_or(0, |(memory, _)| memory.entries);
    let is_signed = known > 0 || promises.first().is_some_and(|own| own.next.is_some());
    for missing in promises.iter().filter(|promises| promises.notes.is_none() && is_signed) {
        report.faults.push(Fault::of_file(&missing.path, 1, "the file of checkpoints is missing"));
    }
    let is_remembered = memory.is_some();
    let remembered_index = memory.as_ref().and_then(|(memory, _)| memory.index);
    report.covered = report.covered.max(known);
    promises.extend(memory.map(|(memory, path)| Promises::remembered(&memory, path, &verifier)));
    // Before the entries as well: an index never has more than the log.
    let index = if against.index { Index::open_read_only(folder).ok() } else { None };
    let mut rows = index.as_ref().map(compare::rows).transpose()?;
    let until = rows.as_ref().map(|(until, _)| *until);
    let rows = rows.as_mut().map(|(until, rows)| Comparison::new(*until, rows));
    let mut comparison = rows.transpose()?;
    let mut keeping = against.payloads.then(|| Keeping::new(folder, against.seal));
    let mut beside = |sequence: u64, entry: &[u8]| {
        comparison.as_mut().map_or(Ok(()), |index| index.pass(sequence, entry))?;
        keeping.as_mut().map_or(Ok(()), |payloads| payloads.pass(sequence, entry))
    };
    walk(folder, &mut promises, &mut beside, &mut report)?;
    let compared = comparison.map(Comparison::end).transpose()?;
    // Its own checkpoints are written before anybody else hears of them.
    let signed = promises.first().map_or(0, |own| own.covered);
    let is_whole = report.faults.is_empty();
    if is_whole && signed < known {
        let reason = format!("keyDir knows {known} signed entries, and the checkpoints cover {signed}");
        report.faults.push(Fault::of_file(&own, 1, &reason));
    } else if is_whole && report.entries > 0 && report.covered == 0 && !is_remembered {
        let reason = format!("no checkpoint vouches for any of {} entries", report.entries);
        report.faults.push(Fault::of_file(&own, 1, &reason));
    }
    if report.faults.is_empty()
        && let Some((entry, wrong)) = compared.as_ref().and_then(|compared| compared.differs.as_ref())
    {
        let place = folder.join(compare::name());
        let reason = format!(
            "the index is not what the log says of entry {entry}: {wrong}; run `doorward audit reindex`"
        );
        report.faults.push(Fault::of_file(&place, 1, &reason));
    }
    // Before the payloads, which another key does not open.
    report.faults.extend(exchanged.into_iter().map(|path| Fault {
        entry: None,
        place: None,
        reason: format!(
            "{} is not the key that this log was written with; put that back from a copy",
            path.display()
        ),
    }));
    if let Some((kept, wrong)) = keeping.map(Keeping::end) {
        report.payloads = Some(kept);
        // A log that does not hold says nothing of what lies beside it.
        if report.faults.is_empty() {
            let fault = |reason| Fault { entry: None, place: None, reason };
            report.faults.extend(wrong.into_iter().map(fault));
        }
    }
    report.index = compared;
    if let (Some(compared), Some(until), Some((taken_in, _))) = (&mut report.index, until, remembered_index)
        && report.faults.is_empty()
        && until < taken_in
    {
        compared.differs = Some((until, "it is missing".to_owned()));
        let place = folder.join(compare::name());
        let reason = format!(
            "the index has taken in {until} entries, and keyDir knows that it had {taken_in}; run `doorward audit reindex`"
        );
        report.faults.push(Fault::of_file(&place, 1, &reason));
    }
    Ok(report)
}

/// The key to check signatures with, and whether everybody names the same.
fn verifier(
    folder: &Path,
    against: &Against<'_>,
    memory: Option<&Memory>,
    report: &mut Report,
) -> Result<String, LedgerError> {
    let public = folder.join(PUBLIC_KEY);
    let published = fs::read_to_string(&public).map(|text| text.trim().to_owned());
    let signing = match against.keys {
        Some((keys, origin)) => keys::existing(keys)?.map(|key| verifier_key(origin, &key)),
        None => None,
    };
    if let (Some(memory), Some(signing)) = (memory, &signing)
        && memory.key != *signing
        && against.key.is_none()
    {
        report.faults.push(Fault::of_file(
            &public,
            1,
            "keyDir has another signing key than the log was written with",
        ));
    }
    let remembered = memory.map(|memory| memory.key.clone());
    let trusted = against.key.map(str::to_owned).or(remembered).or(signing);
    match (trusted, published) {
        (Some(trusted), Ok(published)) => {
            if published != trusted {
                let reason = "the public key beside the log is not the one that it has to be signed with";
                report.faults.push(Fault::of_file(&public, 1, reason));
            }
            Ok(trusted)
        }
        (Some(trusted), Err(_)) => {
            report.faults.push(Fault::of_file(&public, 1, "the public key beside the log is missing"));
            Ok(trusted)
        }
        (None, Ok(published)) => Ok(published),
        (None, Err(error)) => Err(LedgerError::file("read", &public)(error)),
    }
}

/// The checkpoints of one file, in the order they were signed.
struct Promises<'a> {
    path: PathBuf,
    verifier: &'a str,
    notes: Option<Notes<io::Take<BufReader<File>>>>,
    /// The next checkpoint, and its line.
    next: Option<(Checkpoint, u64)>,
    /// How many entries those cover that were read.
    covered: u64,
}

impl<'a> Promises<'a> {
    fn open(path: &Path, verifier: &'a str, report: &mut Report) -> Result<Self, LedgerError> {
        let notes = Notes::open(path)?;
        let mut promises = Self { path: path.to_path_buf(), verifier, notes, next: None, covered: 0 };
        promises.advance(report)?;
        Ok(promises)
    }

    /// What `keyDir` knows; a log without entries has nothing to hold.
    fn remembered(memory: &Memory, path: PathBuf, verifier: &'a str) -> Self {
        let checkpoint = Checkpoint {
            origin: String::new(),
            size: memory.entries,
            root: memory.root,
            time: String::new(),
        };
        let next = (memory.entries > 0).then_some((checkpoint, 1));
        Self { path, verifier, notes: None, next, covered: memory.entries }
    }

    /// Goes on to the next checkpoint that is signed with our key; the others are faults.
    fn advance(&mut self, report: &mut Report) -> Result<(), LedgerError> {
        self.next = None;
        let Some(notes) = &mut self.notes else { return Ok(()) };
        while let Some(note) = notes.next().map_err(LedgerError::file("read", &self.path))? {
            if let Some(checkpoint) = note.open(self.verifier) {
                report.checkpoints += 1;
                report.covered = report.covered.max(checkpoint.size);
                self.covered = self.covered.max(checkpoint.size);
                self.next = Some((checkpoint, note.line));
                break;
            }
            // The last one may be half written while a gateway runs.
            if !note.is_beginning(self.verifier) {
                let reason = "a checkpoint is not signed by this log's key, or was altered";
                report.faults.push(Fault::of_file(&self.path, note.line, reason));
            }
        }
        Ok(())
    }

    /// Holds the tree against the checkpoints of its size; `false` when one differs.
    fn hold(&mut self, tree: &Tree, report: &mut Report) -> Result<bool, LedgerError> {
        while let Some((checkpoint, line)) = &self.next
            && checkpoint.size <= tree.size()
        {
            let fits = checkpoint.size == tree.size() && checkpoint.root == tree.root();
            if !fits {
                let reason = if checkpoint.size < tree.size() {
                    format!("a checkpoint over {} entries comes after one over more", checkpoint.size)
                } else {
                    "the log up to this entry is not the one that was signed".to_owned()
                };
                report.faults.push(Fault {
                    entry: Some(checkpoint.size.saturating_sub(1)),
                    place: Some((self.path.clone(), *line)),
                    reason,
                });
                return Ok(false);
            }
            self.advance(report)?;
        }
        Ok(true)
    }
}

fn hold_all(promises: &mut [Promises<'_>], tree: &Tree, report: &mut Report) -> Result<bool, LedgerError> {
    for promises in promises {
        if !promises.hold(tree, report)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks at what lies beside the log, entry by entry.
type Beside<'a> = dyn FnMut(u64, &[u8]) -> Result<(), LedgerError> + 'a;

fn walk(
    folder: &Path,
    promises: &mut [Promises<'_>],
    beside: &mut Beside<'_>,
    report: &mut Report,
) -> Result<(), LedgerError> {
    let mut tree = Tree::default();
    let mut previous: Hash = [0; 32];
    let segments = segment::list(folder)?;
    let mut suspect: Option<Fault> = None;
    if !hold_all(promises, &tree, report)? {
        return Ok(());
    }
    'segments: for (at, (first, path)) in segments.iter().enumerate() {
        let fault = |line: u64, entry: u64, reason: &str| Fault {
            entry: Some(entry),
            place: Some((path.clone(), line)),
            reason: reason.to_owned(),
        };
        if *first != tree.size() {
            report.faults.push(fault(1, tree.size(), "entries are missing before this segment"));
            break;
        }
        let mut lines = Lines::open(path, 0)?;
        let mut number = 0;
        while let Some(line) = lines.next()? {
            number += 1;
            let sequence = tree.size();
            if !line.complete && at + 1 == segments.len() {
                // Being written this very moment; if not, a checkpoint misses it below.
                break 'segments;
            }
            match Entry::read(&line.entry, sequence, &previous) {
                Ok(_) => {
                    if let Some(earlier) = suspect.take() {
                        report.faults.push(earlier);
                        break 'segments;
                    }
                }
                // An entry that does not follow the one before it accuses both: if
                // the next one follows this one, the earlier was altered.
                Err("it does not follow the entry before it") if sequence > 0 && suspect.is_none() => {
                    suspect = Some(fault(number.max(2) - 1, sequence - 1, "the entry was altered"));
                }
                Err(reason) => {
                    let found = match suspect.take() {
                        Some(_) => fault(number - 1, sequence - 1, "the entry was altered"),
                        None => fault(number, sequence, reason),
                    };
                    report.faults.push(found);
                    break 'segments;
                }
            }
            beside(sequence, &line.entry)?;
            previous = leaf_hash(&line.entry);
            tree.push(previous);
            // What is under suspicion cannot fit, and the entry is to be named first.
            if suspect.is_none() && !hold_all(promises, &tree, report)? {
                break 'segments;
            }
        }
    }
    report.faults.extend(suspect);
    report.entries = tree.size();
    push_hex(&mut report.head, &tree.root());
    for promises in promises {
        while promises.next.is_some() {
            promises.advance(report)?;
        }
    }
    let whole = report.faults.iter().all(|fault| fault.entry.is_none());
    if whole && tree.size() < report.covered {
        report.faults.push(Fault {
            entry: Some(tree.size()),
            place: None,
            reason: format!("the log ends here, but a checkpoint covers {} entries", report.covered),
        });
    }
    Ok(())
}
