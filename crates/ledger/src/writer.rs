//! Putting entries into the log, in order, from many threads at once.
//!
//! One lock gives an entry its place and its hash; another guards the file. While
//! one thread writes, others line up behind the first lock, and the next write takes
//! all of them together: a batch. A batch is written whole or not at all. When it is
//! not, every entry of it, and of the batch that was gathering behind it, loses its
//! place; the next entry continues where the file really ends, so a failure leaves
//! neither a hole nor half a line.
//!
//! While many calls wait for the disk, the file is extended ahead of the entries with
//! zeros: a sync then has nothing to write but the entries, because neither the length
//! of the file nor the place of its blocks changes. Zeros are the end of the log to
//! whoever reads it; they go when there is a pause, when a segment is full, and when
//! the log is opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorward_model::CallId;

use crate::canonical::{self, Draft};
use crate::error::LedgerError;
use crate::index::feed::{Briefs, Feed, Position};
use crate::merkle::{Hash, Tree, leaf_hash};
use crate::recover::{Bookmark, Open};
use crate::segment::{self, Lines};

/// A place in the log that may not be written yet.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub sequence: u64,
    batch: Arc<Batch>,
}

impl Place {
    /// The place of an entry that an earlier process wrote.
    pub(crate) fn of_old(sequence: u64) -> Self {
        Self { sequence, batch: Arc::new(Batch(AtomicU8::new(WRITTEN))) }
    }

    /// Whether the entry is in the file: once it is, or is known not to be, that stays.
    /// `None` while it waits.
    pub(crate) fn result(&self) -> Option<Result<(), LedgerError>> {
        self.batch.result()
    }
}

/// Entries that share one write, and its end.
#[derive(Debug, Default)]
struct Batch(AtomicU8);

const WRITTEN: u8 = 1;
const FAILED: u8 = 2;

impl Batch {
    fn result(&self) -> Option<Result<(), LedgerError>> {
        match self.0.load(Ordering::Acquire) {
            WRITTEN => Some(Ok(())),
            FAILED => Some(Err(LedgerError::NotWritten)),
            _ => None,
        }
    }

    fn end(&self, how: u8) {
        self.0.store(how, Ordering::Release);
    }
}

/// Where the next entry goes.
struct Head {
    tree: Tree,
    previous: Hash,
    pending: Vec<u8>,
    /// What the index needs of them.
    briefs: Briefs,
    batch: Arc<Batch>,
    /// Decisions that wait for their outcome. They stand here because an entry and
    /// what is known of it must change together.
    open: Open,
}

/// Zeros that are put ahead of the entries at once, and how few may be left of them.
const AHEAD: u64 = 256 << 10;
const AHEAD_LEAST: u64 = 32 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// A call leaves two entries; more than a few in one sync are more than one caller's.
pub(crate) const ALONE: u64 = 3;

/// What is in the file.
struct Tail {
    file: File,
    /// The same file, to sync: a failure is told once for each handle, and the one that
    /// turns segments over must not take it away from this one.
    disk: Arc<File>,
    path: PathBuf,
    /// The number of the first entry in it.
    first: u64,
    /// Bytes of the current segment that hold whole entries.
    length: u64,
    /// Bytes in the file; those behind `length` are zeros.
    extent: u64,
    tree: Tree,
    previous: Hash,
    /// How far the current segment is known to be on disk.
    synced: (u64, Tree),
    /// A failed write may have left part of a line behind `length`.
    dirty: bool,
    /// A sync failed. The system may have dropped what it could not put on disk and
    /// would call the next sync a success, so what is behind `synced` is written anew.
    suspect: bool,
    spare: (Vec<u8>, Briefs),
}

/// The end of the log as recovery found it.
pub(crate) struct End {
    pub tree: Tree,
    pub previous: Hash,
    /// The current segment, by the number of its first entry, and its length.
    pub segment: u64,
    pub length: u64,
    /// Decisions without outcome.
    pub open: Open,
}

/// Puts what was written to a file on disk: `File::sync_data`, but for tests.
pub(crate) type SyncFile = fn(&File) -> io::Result<()>;

/// The writing end of the log.
pub(crate) struct Writer {
    folder: PathBuf,
    segment_bytes: u64,
    sync_file: SyncFile,
    head: Mutex<Head>,
    tail: Mutex<Tail>,
    /// Held while a sync is under way, so that two never share one failure.
    syncing: Mutex<()>,
    /// Entries that are in the file.
    written: AtomicU64,
    feed: Feed,
    failing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding a lock leaves the data as it was between two steps that
    // each keep it whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Continues a log at its end, and puts on disk what the last process may have
    /// left in memory only.
    pub(crate) fn new(
        folder: &Path,
        segment_bytes: u64,
        end: End,
        sync_file: SyncFile,
    ) -> Result<Self, LedgerError> {
        let path = segment::path(folder, end.segment);
        let (file, disk) = open(&path)?;
        file.set_len(end.length).map_err(LedgerError::file("cut", &path))?;
        sync_file(&disk).map_err(LedgerError::file("sync", &path))?;
        sync_folder(&segment::folder(folder))?;
        let written = end.tree.size();
        Ok(Self {
            folder: folder.to_path_buf(),
            segment_bytes,
            sync_file,
            head: Mutex::new(Head {
                tree: end.tree.clone(),
                previous: end.previous,
                pending: Vec::with_capacity(1 << 14),
                briefs: Briefs::default(),
                batch: Arc::default(),
                open: end.open,
            }),
            tail: Mutex::new(Tail {
                file,
                disk,
                path,
                first: end.segment,
                length: end.length,
                extent: end.length,
                synced: (end.length, end.tree.clone()),
                tree: end.tree,
                previous: end.previous,
                dirty: false,
                suspect: false,
                spare: (Vec::with_capacity(1 << 14), Briefs::default()),
            }),
            syncing: Mutex::new(()),
            written: AtomicU64::new(written),
            feed: Feed::new(written),
            failing: AtomicBool::new(false),
        })
    }

    /// Gives an entry its place. A decision that `waits` for its outcome is remembered
    /// until [`ended`](Self::ended).
    ///
    /// # Errors
    /// [`LedgerError::TooLarge`] for an entry that no reader would take back.
    pub(crate) fn place(&self, draft: &Draft, waits: Option<CallId>) -> Result<Place, LedgerError> {
        if draft.text.len() > segment::LONGEST_ENTRY {
            return Err(LedgerError::TooLarge(draft.text.len()));
        }
        let mut head = lock(&self.head);
        let head = &mut *head;
        let sequence = head.tree.size();
        let start = head.pending.len();
        canonical::place(&mut head.pending, &head.previous, sequence, &draft.text);
        let hash = leaf_hash(&head.pending[start..]);
        head.pending.push(b'\n');
        head.briefs.push(&draft.text, &draft.marks, start);
        head.tree.push(hash);
        head.previous = hash;
        if let Some(call) = waits {
            head.open.insert(sequence, call);
        }
        Ok(Place { sequence, batch: Arc::clone(&head.batch) })
    }

    /// Returns once the entry is in the file: a process that dies afterwards loses nothing.
    ///
    /// # Errors
    /// When it is not; then nothing of it is.
    pub(crate) fn write(&self, place: &Place) -> Result<(), LedgerError> {
        if let Some(result) = place.batch.result() {
            return result;
        }
        let mut tail = lock(&self.tail);
        // A batch is taken and ended under the lock of the file: one that has not
        // ended by now is still gathering.
        match place.batch.result() {
            Some(result) => result,
            None => self.write_pending(&mut tail),
        }
    }

    /// Writes whatever has a place.
    pub(crate) fn flush(&self) -> Result<(), LedgerError> {
        let mut tail = lock(&self.tail);
        if lock(&self.head).pending.is_empty() { Ok(()) } else { self.write_pending(&mut tail) }
    }

    /// Forgets decisions whose outcome is in the file.
    pub(crate) fn ended(&self, decisions: impl IntoIterator<Item = u64>) {
        let mut head = lock(&self.head);
        for sequence in decisions {
            head.open.remove(&sequence);
        }
    }

    fn write_pending(&self, tail: &mut Tail) -> Result<(), LedgerError> {
        let (bytes, mut briefs, batch, tree, previous) = {
            let mut head = lock(&self.head);
            let spare = std::mem::take(&mut tail.spare);
            let bytes = std::mem::replace(&mut head.pending, spare.0);
            let briefs = std::mem::replace(&mut head.briefs, spare.1);
            (bytes, briefs, std::mem::take(&mut head.batch), head.tree.clone(), head.previous)
        };
        let result = self.append(tail, &bytes);
        match &result {
            Ok(()) => {
                let end =
                    Position { next: tree.size(), segment: tail.first, offset: tail.length, head: previous };
                // Before they are called written, so that whoever follows finds them.
                self.feed.add(&mut briefs, tail.length - bytes.len() as u64, end);
                // Whether it can be written again is another question: this may have been
                // small enough for what room there was.
                self.written.store(tree.size(), Ordering::Release);
                tail.tree = tree;
                tail.previous = previous;
                batch.end(WRITTEN);
            }
            Err(error) => {
                self.failing.store(true, Ordering::Release);
                let mut head = lock(&self.head);
                head.pending.clear();
                head.briefs.clear();
                head.tree = tail.tree.clone();
                head.previous = tail.previous;
                head.open.split_off(&tail.tree.size());
                batch.end(FAILED);
                std::mem::take(&mut head.batch).end(FAILED);
                tracing::error!(target: "doorward::ledger", %error, "the log cannot be written; calls are refused");
            }
        }
        tail.spare = (bytes, briefs);
        tail.spare.0.clear();
        tail.spare.1.clear();
        result
    }

    fn append(&self, tail: &mut Tail, bytes: &[u8]) -> Result<(), LedgerError> {
        if tail.suspect {
            self.write_anew(tail)?;
        }
        if tail.dirty {
            tail.trim()?;
        }
        if tail.length >= self.segment_bytes {
            self.turn_over(tail)?;
        }
        if let Err(error) = tail.file.write_all_at(bytes, tail.length) {
            tail.dirty = true;
            // If this fails as well, it is tried again before anything else is written.
            let _ = tail.trim();
            return Err(LedgerError::file("write", &tail.path)(error));
        }
        tail.length += bytes.len() as u64;
        tail.extent = tail.extent.max(tail.length);
        Ok(())
    }

    /// Begins the next segment, once the last one is on disk.
    fn turn_over(&self, tail: &mut Tail) -> Result<(), LedgerError> {
        if tail.extent > tail.length {
            tail.trim()?;
        }
        if let Err(error) = (self.sync_file)(&tail.file) {
            tail.suspect = true;
            return Err(LedgerError::file("sync", &tail.path)(error));
        }
        tail.synced = (tail.length, tail.tree.clone());
        let first = tail.tree.size();
        let path = segment::path(&self.folder, first);
        let (file, disk) = open(&path)?;
        sync_folder(&segment::folder(&self.folder))?;
        (tail.file, tail.disk, tail.path, tail.first) = (file, disk, path, first);
        (tail.length, tail.extent) = (0, 0);
        tail.synced.0 = 0;
        Ok(())
    }

    /// Writes what is not known to be on disk a second time, where it already stands,
    /// and puts it there. It is read back from memory or disk and believed only when
    /// it hashes to what was written.
    fn write_anew(&self, tail: &mut Tail) -> Result<(), LedgerError> {
        let failed = LedgerError::file("read back", &tail.path);
        let (start, mut tree) = tail.synced.clone();
        let mut lines = Lines::open(&tail.path, start)?;
        let mut bytes = Vec::new();
        while start + (bytes.len() as u64) < tail.length {
            let Some(line) = lines.next()?.filter(|line| line.complete) else { break };
            tree.push(leaf_hash(&line.entry));
            bytes.extend_from_slice(&line.entry);
            bytes.push(b'\n');
        }
        if tree != tail.tree {
            return Err(failed(io::Error::other("it is not what was written")));
        }
        let file = OpenOptions::new().write(true).open(&tail.path);
        file.and_then(|file| file.write_all_at(&bytes, start).and_then(|()| (self.sync_file)(&file)))
            .map_err(LedgerError::file("write", &tail.path))?;
        tail.suspect = false;
        tail.synced = (tail.length, tree);
        Ok(())
    }

    /// Puts everything written so far on disk, and says how many entries that is. With
    /// `ahead`, a log that many write to is made longer beforehand.
    pub(crate) fn sync(&self, ahead: bool) -> Result<u64, LedgerError> {
        let _one = lock(&self.syncing);
        let (disk, first, length, tree) = {
            let mut tail = lock(&self.tail);
            if tail.suspect {
                let result = self.write_anew(&mut tail);
                self.failing.store(result.is_err(), Ordering::Release);
                return result.map(|()| tail.tree.size());
            }
            if ahead && tail.tree.size() > tail.synced.1.size() + ALONE {
                tail.extend();
            }
            (Arc::clone(&tail.disk), tail.first, tail.length, tail.tree.clone())
        };
        // Outside the lock: a slow disk must not stop others from writing behind it.
        let result = (self.sync_file)(&disk);
        let mut tail = lock(&self.tail);
        match result {
            Ok(()) => {
                let size = tree.size();
                if tail.first == first && tail.synced.0 < length {
                    tail.synced = (length, tree);
                }
                Ok(size)
            }
            Err(error) => {
                tail.suspect = true;
                self.failing.store(true, Ordering::Release);
                Err(LedgerError::file("sync", &segment::path(&self.folder, first))(error))
            }
        }
    }

    /// Returns if the log could be made longer by more than an entry.
    ///
    /// # Errors
    /// When there is no room for that.
    pub(crate) fn try_room(&self) -> Result<(), LedgerError> {
        let mut tail = lock(&self.tail);
        let tried = tail.file.write_all_at(&ZEROS, tail.extent);
        let tried = tried.map_err(LedgerError::file("write", &tail.path));
        tail.dirty = true;
        tail.trim()?;
        tried
    }

    /// Takes back what the log was made longer by.
    pub(crate) fn trim(&self) -> Result<(), LedgerError> {
        let mut tail = lock(&self.tail);
        if tail.extent > tail.length { tail.trim() } else { Ok(()) }
    }

    /// Entries in the file.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// What was written, for the index.
    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Everything that is to be known of the entries in the file.
    pub(crate) fn bookmark(&self) -> Bookmark {
        let tail = lock(&self.tail);
        let mut open = lock(&self.head).open.clone();
        open.split_off(&tail.tree.size());
        Bookmark { tree: tail.tree.clone(), previous: tail.previous, open }
    }

    /// The log is known to work again.
    pub(crate) fn recovered(&self) {
        self.failing.store(false, Ordering::Release);
    }

    /// Whether a write or sync failed, since the log was last known to work.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }
}

impl Tail {
    /// Cuts the file off behind the entries.
    fn trim(&mut self) -> Result<(), LedgerError> {
        self.file.set_len(self.length).map_err(LedgerError::file("cut", &self.path))?;
        (self.extent, self.dirty) = (self.length, false);
        Ok(())
    }

    /// Puts zeros behind the entries, unless enough are there. Where there is no room
    /// for them, the log goes on without.
    fn extend(&mut self) {
        if self.extent >= self.length + AHEAD_LEAST {
            return;
        }
        let end = self.length + AHEAD;
        while self.extent < end {
            let piece = (end - self.extent).min(ZEROS.len() as u64);
            let zeros = ZEROS.get(..usize::try_from(piece).unwrap_or(0)).unwrap_or_default();
            if self.file.write_all_at(zeros, self.extent).is_err() {
                self.dirty = true;
                let _ = self.trim();
                return;
            }
            self.extent += piece;
        }
    }
}

/// Opens a segment twice: to write, and to sync.
fn open(path: &Path) -> Result<(File, Arc<File>), LedgerError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let open = || options.open(path).map_err(LedgerError::file("open", path));
    Ok((open()?, Arc::new(open()?)))
}

/// Makes a new file's name survive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), LedgerError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(LedgerError::file("sync", folder))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;

    use super::*;
    use crate::index::feed::Marks;

    thread_local! {
        /// Syncs that fail before one succeeds again, on this thread.
        static FAILURES: Cell<u32> = const { Cell::new(0) };
    }

    fn failing_sync(_: &File) -> io::Result<()> {
        match FAILURES.get() {
            0 => Ok(()),
            left => {
                FAILURES.set(left - 1);
                Err(io::Error::other("the disk is gone"))
            }
        }
    }

    fn draft(text: &str) -> Draft {
        Draft { text: format!("\"x\":\"{text}\""), marks: Marks::default() }
    }

    struct World {
        folder: tempfile::TempDir,
        writer: Writer,
    }

    impl World {
        fn new(segment_bytes: u64) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(segment::folder(folder.path())).expect("created");
            let end =
                End { tree: Tree::default(), previous: [0; 32], segment: 0, length: 0, open: Open::new() };
            let writer = Writer::new(folder.path(), segment_bytes, end, failing_sync).expect("opens");
            Self { folder, writer }
        }

        fn append(&self, text: &str) -> Result<(), LedgerError> {
            self.writer.write(&self.writer.place(&draft(text), None)?)
        }

        /// Every entry in the files, told by its text, and the root over them.
        fn entries(&self) -> (Vec<String>, Hash) {
            let (mut texts, mut tree) = (Vec::new(), Tree::default());
            for (_, path) in segment::list(self.folder.path()).expect("readable") {
                let mut lines = Lines::open(&path, 0).expect("opens");
                while let Some(line) = lines.next().expect("readable") {
                    assert!(line.complete);
                    tree.push(leaf_hash(&line.entry));
                    let entry = String::from_utf8(line.entry).expect("text");
                    texts.extend(entry.split('"').nth_back(1).map(str::to_owned));
                }
            }
            (texts, tree.root())
        }
    }

    #[test]
    fn a_failed_sync_is_not_forgotten_by_the_next() {
        let world = World::new(1 << 20);
        world.append("a").expect("written");
        FAILURES.set(3);
        assert!(world.writer.sync(false).is_err());
        assert!(world.writer.is_failing());
        assert!(world.append("b").is_err(), "nothing is taken that could not be kept");
        assert!(world.writer.sync(false).is_err());
        assert_eq!(world.writer.sync(false).ok(), Some(1), "what was there is written anew");
        assert!(!world.writer.is_failing());
        world.append("c").expect("written");
        assert_eq!(
            world.entries(),
            (vec!["a".to_owned(), "c".to_owned()], world.writer.bookmark().tree.root())
        );
    }

    #[test]
    fn what_the_system_dropped_is_not_called_kept() {
        let world = World::new(1 << 20);
        world.append("a").expect("written");
        FAILURES.set(1);
        assert!(world.writer.sync(false).is_err());
        // The page came back from disk as it was before.
        let path = segment::path(world.folder.path(), 0);
        let zeros = vec![0; fs::read(&path).expect("readable").len()];
        fs::write(&path, zeros).expect("written");
        assert!(world.writer.sync(false).is_err());
        assert!(world.append("b").is_err());
    }

    #[test]
    fn a_segment_is_left_only_when_it_is_on_disk() {
        let world = World::new(1);
        world.append("a").expect("written");
        FAILURES.set(2);
        assert!(world.append("b").is_err(), "the sync of the first segment fails");
        assert!(world.append("b").is_err(), "and so does writing it anew");
        world.append("b").expect("written");
        assert_eq!(segment::list(world.folder.path()).expect("readable").len(), 2);
        assert_eq!(
            world.entries(),
            (vec!["a".to_owned(), "b".to_owned()], world.writer.bookmark().tree.root())
        );
    }

    #[test]
    fn a_place_in_a_failed_batch_is_never_called_written() {
        let world = World::new(1);
        world.append("a").expect("written");
        let early = world.writer.place(&draft("early"), None).expect("placed");
        let late = world.writer.place(&draft("late"), None).expect("placed");
        FAILURES.set(1);
        assert!(world.writer.write(&early).is_err());
        // Another entry takes the number that `late` had, and is written.
        world.append("b").expect("written");
        assert!(world.writer.write(&late).is_err());
        assert!(late.result().is_some_and(|result| result.is_err()));
        assert_eq!(world.entries().0, ["a", "b"]);
    }

    #[test]
    fn an_entry_that_no_reader_would_take_is_refused() {
        let world = World::new(1 << 20);
        let long = "x".repeat(segment::LONGEST_ENTRY);
        assert!(matches!(world.append(&long), Err(LedgerError::TooLarge(_))));
        world.append("a").expect("written");
        assert_eq!(world.entries().0, ["a"]);
    }

    /// Bytes of the file, and those of them that are entries.
    fn sizes(world: &World) -> (u64, u64) {
        let tail = lock(&world.writer.tail);
        (fs::metadata(&tail.path).expect("a file").len(), tail.length)
    }

    #[test]
    fn a_log_that_many_write_to_is_longer_than_its_entries_until_there_is_a_pause() {
        let world = World::new(300_000);
        let long = "x".repeat(1_000);
        world.append("a").expect("written");
        world.writer.sync(true).expect("synced");
        let (bytes, entries) = sizes(&world);
        assert_eq!(bytes, entries, "one alone");
        for at in 0..500 {
            world.append(&long).expect("written");
            if at % 10 == 9 {
                world.writer.sync(true).expect("synced");
                let (bytes, entries) = sizes(&world);
                assert!(bytes >= entries + AHEAD_LEAST && bytes <= entries + AHEAD, "{entries} of {bytes}");
            }
        }
        world.writer.trim().expect("trimmed");
        let (bytes, entries) = sizes(&world);
        assert_eq!(bytes, entries);
        let segments = segment::list(world.folder.path()).expect("readable");
        assert!(segments.len() > 1);
        for (_, path) in segments {
            assert!(!fs::read(path).expect("readable").contains(&0), "a full segment is cut off as well");
        }
        assert_eq!(world.entries().1, world.writer.bookmark().tree.root());
    }

    #[test]
    fn whoever_reads_along_sees_whole_entries_in_order() {
        let world = World::new(1 << 30);
        let path = segment::path(world.folder.path(), 0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..400 {
                    for at in 0..6 {
                        let text = format!("{round}-{at}-{}", "y".repeat(200 * at));
                        world.writer.place(&draft(&text), None).expect("placed");
                    }
                    world.writer.flush().expect("written");
                    world.writer.sync(true).expect("synced");
                }
                done.store(true, Ordering::Release);
            });
            let mut last = false;
            while !last {
                last = done.load(Ordering::Acquire);
                let mut lines = Lines::open(&path, 0).expect("opens");
                let mut previous = [0; 32];
                let mut count = 0;
                while let Some(line) = lines.next().expect("readable").filter(|line| line.complete) {
                    crate::recover::Entry::read(&line.entry, count, &previous).expect("an entry");
                    previous = leaf_hash(&line.entry);
                    count += 1;
                }
                assert!(!last || count == 2_400, "{count}");
            }
        });
    }
}
