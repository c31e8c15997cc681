//! Putting entries into the log, in order, from many threads at once.
//!
//! One lock gives an entry its place and its hash; another guards the file. While
//! one thread writes, others line up behind the first lock, and the next write takes
//! all of them together. A write that fails takes back every place that was given
//! out since the last one that succeeded: whoever holds such a place gets an error,
//! and the next entry continues where the file really ends, so a failure leaves
//! neither a hole nor a half line.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::canonical;
use crate::error::LedgerError;
use crate::merkle::{Hash, Tree, leaf_hash};
use crate::segment;

/// A place in the log that may not be written yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub sequence: u64,
    generation: u64,
}

/// Where the next entry goes.
struct Head {
    tree: Tree,
    previous: Hash,
    pending: Vec<u8>,
    generation: u64,
}

/// What is in the file.
struct Tail {
    file: File,
    path: PathBuf,
    /// Bytes of the current segment that hold whole entries.
    length: u64,
    tree: Tree,
    previous: Hash,
    generation: u64,
    /// A failed write may have left part of a line behind `length`.
    dirty: bool,
    spare: Vec<u8>,
}

/// The end of the log as recovery found it.
pub(crate) struct End {
    pub tree: Tree,
    pub previous: Hash,
    /// The current segment and its length.
    pub segment: PathBuf,
    pub length: u64,
}

/// The writing end of the log.
pub(crate) struct Writer {
    folder: PathBuf,
    segment_bytes: u64,
    head: Mutex<Head>,
    tail: Mutex<Tail>,
    /// Entries that are in the file.
    written: AtomicU64,
    failing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding a lock leaves the data as it was between two steps that
    // each keep it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    pub(crate) fn new(folder: &Path, segment_bytes: u64, end: End) -> Result<Self, LedgerError> {
        let file = open(&end.segment)?;
        let written = end.tree.size();
        Ok(Self {
            folder: folder.to_path_buf(),
            segment_bytes,
            head: Mutex::new(Head {
                tree: end.tree.clone(),
                previous: end.previous,
                pending: Vec::with_capacity(1 << 14),
                generation: 0,
            }),
            tail: Mutex::new(Tail {
                file,
                path: end.segment,
                length: end.length,
                tree: end.tree,
                previous: end.previous,
                generation: 0,
                dirty: false,
                spare: Vec::with_capacity(1 << 14),
            }),
            written: AtomicU64::new(written),
            failing: AtomicBool::new(false),
        })
    }

    /// Gives an entry its place.
    pub(crate) fn place(&self, rest: &str) -> Place {
        let mut head = lock(&self.head);
        let head = &mut *head;
        let sequence = head.tree.size();
        let start = head.pending.len();
        canonical::place(&mut head.pending, &head.previous, sequence, rest);
        let hash = leaf_hash(&head.pending[start..]);
        head.pending.push(b'\n');
        head.tree.push(hash);
        head.previous = hash;
        Place { sequence, generation: head.generation }
    }

    /// Returns once the entry is in the file: a process that dies afterwards loses nothing.
    pub(crate) fn write(&self, place: Place) -> Result<(), LedgerError> {
        if self.written.load(Ordering::Acquire) > place.sequence && !self.failing.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut tail = lock(&self.tail);
        if tail.generation != place.generation {
            return Err(LedgerError::NotWritten);
        }
        if tail.tree.size() > place.sequence {
            return Ok(());
        }
        self.write_pending(&mut tail)
    }

    fn write_pending(&self, tail: &mut Tail) -> Result<(), LedgerError> {
        let (batch, tree, previous) = {
            let mut head = lock(&self.head);
            let spare = std::mem::take(&mut tail.spare);
            (std::mem::replace(&mut head.pending, spare), head.tree.clone(), head.previous)
        };
        let first = tail.tree.size();
        let result = self.append(tail, first, &batch);
        tail.spare = batch;
        tail.spare.clear();
        match result {
            Ok(()) => {
                self.written.store(tree.size(), Ordering::Release);
                self.failing.store(false, Ordering::Release);
                tail.tree = tree;
                tail.previous = previous;
                Ok(())
            }
            Err(error) => {
                self.failing.store(true, Ordering::Release);
                let mut head = lock(&self.head);
                head.pending.clear();
                head.tree = tail.tree.clone();
                head.previous = tail.previous;
                head.generation += 1;
                tail.generation = head.generation;
                tracing::error!(target: "doorward::ledger", %error, "the log cannot be written; calls are refused");
                Err(error)
            }
        }
    }

    fn append(&self, tail: &mut Tail, first: u64, batch: &[u8]) -> Result<(), LedgerError> {
        let failed = |tail: &Tail| {
            let path = tail.path.clone();
            move |error| LedgerError::file("write", &path)(error)
        };
        if tail.dirty {
            tail.file.set_len(tail.length).map_err(failed(tail))?;
            tail.dirty = false;
        }
        if tail.length >= self.segment_bytes {
            tail.file.sync_data().map_err(failed(tail))?;
            let path = segment::path(&self.folder, first);
            tail.file = open(&path)?;
            sync_folder(&segment::folder(&self.folder))?;
            tail.path = path;
            tail.length = 0;
        }
        if let Err(error) = tail.file.write_all(batch) {
            tail.dirty = tail.file.set_len(tail.length).is_err();
            return Err(failed(tail)(error));
        }
        tail.length += batch.len() as u64;
        Ok(())
    }

    /// Puts everything written so far on disk, and says how many entries that is.
    pub(crate) fn sync(&self) -> Result<u64, LedgerError> {
        let (file, path, written) = {
            let tail = lock(&self.tail);
            let file = tail.file.try_clone().map_err(LedgerError::file("sync", &tail.path))?;
            (file, tail.path.clone(), tail.tree.size())
        };
        // Outside the lock: a slow disk must not stop others from writing behind it.
        match file.sync_data() {
            Ok(()) => Ok(written),
            Err(error) => {
                self.failing.store(true, Ordering::Release);
                Err(LedgerError::file("sync", &path)(error))
            }
        }
    }

    /// Entries in the file.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The tree over all entries in the file, and the hash of the last.
    pub(crate) fn tree(&self) -> (Tree, Hash) {
        let tail = lock(&self.tail);
        (tail.tree.clone(), tail.previous)
    }

    /// Whether the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }
}

fn open(path: &Path) -> Result<File, LedgerError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(LedgerError::file("open", path))
}

/// Makes a new file's name survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), LedgerError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LedgerError::file("sync", folder))
}
