//! What the callers of the log and its two threads share: one thread puts entries on
//! disk and signs checkpoints, the other keeps the index behind them.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use doorward_model::{CallId, Clock, Outcome, Random, Timestamp};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::Notify;

use crate::anchors::Anchors;
use crate::canonical::{self, Draft};
use crate::checkpoint::{self, Checkpoint};
use crate::ends::{End, Ends};
use crate::error::LedgerError;
use crate::expiry;
use crate::index::{Index, SAMPLE};
use crate::kept::REMOVED;
use crate::keys::Keys;
use crate::known::Known;
use crate::notes;
use crate::options::{Durability, Options};
use crate::payload::{Part, Payloads};
use crate::promises::Promises;
use crate::record::{EventRecord, OutcomeRecord};
use crate::recover::{self, Open, Recovery};
use crate::whole;
use crate::writer::{ALONE, Place, Writer};

/// An open log.
pub(crate) struct Shared {
    pub options: Options,
    pub keys: Keys,
    pub payloads: Option<Payloads>,
    clock: Arc<dyn Clock>,
    writer: Writer,
    anchors: Anchors,
    known: Known,
    ends: Ends,
    /// Calls that were decided and have not ended, and those of them, and of the
    /// refused ones, that wait for the disk.
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    /// Entries that are on disk.
    synced: AtomicU64,
    sync_failed: Mutex<Option<LedgerError>>,
    progress: Notify,
    /// Somebody wants a sync that has not begun.
    wanted: AtomicBool,
    /// Outcomes wait to be written.
    ended: AtomicBool,
    closing: AtomicBool,
    sync_thread: Mutex<Option<thread::Thread>>,
    /// Held while a checkpoint is made, so that they stand in order: how much the last one covers.
    signing: Mutex<Option<u64>>,
    index: Mutex<Index>,
    /// Chooses the rows that are compared with the log; gone once that is done.
    sample: Mutex<Option<Vec<u64>>>,
    /// When payloads were last looked through for those whose time is over.
    looked: Mutex<Timestamp>,
    _lock: File,
}

/// The file of the public key.
pub(crate) const PUBLIC_KEY: &str = "ledger.pub";
/// The file that is locked.
pub(crate) const LOCK: &str = "lock";
/// Bytes of the words about who holds the lock.
const LONGEST_HOLDER: u64 = 200;
/// How often a relaxed log is synced.
const RELAXED_SYNC: Duration = Duration::from_millis(100);
/// How long a sync waits for company, for each entry that the one before it had: a
/// disk takes many entries as cheaply as one. Once every call under way waits for the
/// disk, there is no company to wait for.
const GATHER_PER_ENTRY: Duration = Duration::from_micros(50);
/// The longest it waits.
const GATHER_AT_MOST: Duration = Duration::from_millis(3);
/// How long nothing is written before the log is cut off behind its entries.
const PAUSE: Duration = Duration::from_secs(1);
/// How long outcomes wait for company.
const ENDS_PACE: Duration = Duration::from_millis(5);
/// How often payloads are looked through for those whose time is over.
const EXPIRY_PACE: Duration = Duration::from_secs(60 * 60);
/// How often the index follows the log by itself.
const INDEX_PACE: Duration = Duration::from_millis(250);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Opens the log and closes what the last process left open.
    ///
    /// * `lock`: what [`lock_folder`] gave, held as long as the log is open.
    pub(crate) fn open(
        options: Options,
        lock: File,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<(Arc<Self>, Recovery), LedgerError> {
        let folder = options.folder.clone();
        let seal = options.seal.clone();
        if options.captures_payloads() && seal.is_none() {
            return Err(LedgerError::NoSeal);
        }
        let (keys, known) = Known::open(&options, random)?;
        let verifier = checkpoint::verifier_key(&options.origin, &keys.signing);
        let promises = Promises::gather(&folder, &verifier, known.before(), &options.anchors)?;
        publish(&options, &verifier)?;
        notes::mend(&notes::own(&folder), &verifier)?;
        let found = recover::recover(&folder, &promises)?;
        known.remember(promises.last.as_ref());
        let signed_at = promises.last.as_ref().and_then(|last| Timestamp::parse(&last.time).ok());
        let (entries, head) = (found.end.tree.size(), found.end.previous);
        let open = found.end.open.clone();
        let writer = Writer::new(&folder, options.segment_bytes, found.end, File::sync_data)?;
        let shared = Arc::new(Self {
            keys,
            payloads: seal.map(|seal| Payloads::new(&folder, seal)),
            clock,
            writer,
            anchors: Anchors::new(&options.anchors, &verifier),
            known,
            ends: Ends::default(),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            synced: AtomicU64::new(entries),
            sync_failed: Mutex::new(None),
            progress: Notify::new(),
            wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            sync_thread: Mutex::new(None),
            signing: Mutex::default(),
            index: Mutex::new(Index::open(&folder, entries, &head)?),
            sample: Mutex::new(Some(chosen(random))),
            looked: Mutex::new(signed_at.unwrap_or_default()),
            options,
            _lock: lock,
        });
        shared.close_open_decisions(&open)?;
        let recovery = Recovery { entries, closed: open.into_keys().collect(), cut_bytes: found.cut_bytes };
        Ok((shared, recovery))
    }

    /// Gives a decision its place; `waits` for an outcome, or not.
    pub(crate) fn decide(&self, draft: &Draft, waits: Option<CallId>) -> Result<Place, LedgerError> {
        self.writer.place(draft, waits)
    }

    /// A call is under way until what this returns is dropped.
    pub(crate) fn under_way(self: &Arc<Self>) -> UnderWay {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Waits until the entry in this place is in the file.
    ///
    /// Where other calls are under way, those that are ready to go on get their places
    /// first, so that one write takes all of them.
    pub(crate) async fn written(&self, place: &Place) -> Result<(), LedgerError> {
        if place.result().is_none() && self.in_flight.load(Ordering::Relaxed) > 1 {
            tokio::task::yield_now().await;
        }
        self.writer.write(place)?;
        self.want_sync();
        Ok(())
    }

    /// Takes the outcome of a decision; it is written soon.
    pub(crate) fn settle(
        &self,
        of: Place,
        call: CallId,
        record: &OutcomeRecord<'_>,
        kept: bool,
    ) -> Result<(), LedgerError> {
        let draft = canonical::outcome((of.sequence, call), self.clock.now(), record, kept);
        self.ends.push(End { of, draft });
        if self.closing.load(Ordering::Acquire) {
            return self.write_ends();
        }
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.wake();
        }
        Ok(())
    }

    /// Writes everything that waits in memory.
    pub(crate) fn flush(&self) -> Result<(), LedgerError> {
        self.write_ends()?;
        self.writer.flush()
    }

    fn write_ends(&self) -> Result<(), LedgerError> {
        let _one = lock(&self.ends.writing);
        self.ends.write(&self.writer)
    }

    /// Writes something that is no call.
    pub(crate) fn event(&self, record: &EventRecord<'_>) -> Result<(), LedgerError> {
        let place = self.writer.place(&canonical::event(record), None)?;
        self.writer.write(&place)?;
        self.want_sync();
        Ok(())
    }

    /// Keeps a part of a call apart from the log.
    pub(crate) fn keep<'a>(
        &self,
        call: CallId,
        part: Part,
        text: impl FnOnce() -> Cow<'a, str>,
    ) -> Result<(), LedgerError> {
        self.payloads.as_ref().ok_or(LedgerError::NoSeal)?.keep(call, part, &text())
    }

    /// Whether the log can be written; after a failure, tried anew.
    pub(crate) fn healthy(&self) -> Result<(), LedgerError> {
        if self.writer.is_failing() {
            // The words below are shorter than what calls leave, and may still fit where
            // those do not.
            self.writer.try_room()?;
            let now = self.clock.now();
            let reason = "the log can be written again";
            self.event(&EventRecord { kind: "recovered", time: now, reason, ..EventRecord::default() })?;
            self.write_ends()?;
            self.sync_once()?;
            self.writer.recovered();
            return Ok(());
        }
        let failed = lock(&self.sync_failed).is_some();
        if failed { self.sync_once() } else { Ok(()) }
    }

    /// Waits until the entry with this number is on disk.
    pub(crate) async fn on_disk(&self, sequence: u64) -> Result<(), LedgerError> {
        if self.synced.load(Ordering::Acquire) > sequence {
            return Ok(());
        }
        let waiting = Waiting::enter(self);
        if waiting.is_last() {
            self.wake();
        }
        loop {
            if self.synced.load(Ordering::Acquire) > sequence {
                return Ok(());
            }
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            // Once more, now that no progress can be missed.
            if self.synced.load(Ordering::Acquire) > sequence {
                return Ok(());
            }
            if let Some(error) = &*lock(&self.sync_failed) {
                return Err(error.clone());
            }
            if self.closing.load(Ordering::Acquire) {
                return self.sync_once();
            }
            self.want_sync();
            progress.await;
        }
    }

    /// Takes into the index what was written so far.
    pub(crate) fn follow(&self) -> Result<(), LedgerError> {
        self.flush()?;
        let written = self.writer.written();
        let mut index = lock(&self.index);
        index.follow(written, self.writer.feed())?;
        if let Some(sample) = lock(&self.sample).take() {
            self.hold_index(&mut index, &sample, written)?;
        }
        self.known.note_index(index.taken_in());
        Ok(())
    }

    /// Compares a few rows of the index, and their number, with the log and with what `keyDir`
    /// remembers. Where they differ, the index is built anew.
    fn hold_index(&self, index: &mut Index, sample: &[u64], written: u64) -> Result<(), LedgerError> {
        let remembered = self.known.before().and_then(|(memory, _)| memory.index);
        let mut places = sample.iter().copied().cycle();
        let Some(wrong) = index.sampled(remembered, || places.next().unwrap_or_default())? else {
            return Ok(());
        };
        let reason = format!("the index was not what the log says ({wrong}) and was built anew");
        tracing::warn!(target: "doorward::ledger", "{reason}");
        *index = Index::begin(&self.options.folder)?;
        index.follow(written, self.writer.feed())?;
        let time = self.clock.now();
        self.event(&EventRecord { kind: "reindexed", time, reason: &reason, ..EventRecord::default() })
    }

    /// Writes down what is known of log and index, once both have ended.
    pub(crate) fn remember(&self) {
        self.known.remember(None);
    }

    /// Lets both threads end after one last round.
    pub(crate) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Signs the tree over everything written, once that is on disk, unless it was signed last;
    /// says how many entries that is.
    pub(crate) fn checkpoint(&self) -> Result<u64, LedgerError> {
        let mut signed = lock(&self.signing);
        let bookmark = {
            // Between two outcomes, not in the middle of them.
            let _none = lock(&self.ends.writing);
            self.writer.bookmark()
        };
        if let Some(payloads) = &self.payloads {
            payloads.sync()?;
        }
        self.sync_once()?;
        let size = bookmark.tree.size();
        if *signed == Some(size) {
            return Ok(size);
        }
        let checkpoint = Checkpoint::new(&self.options.origin, size, bookmark.tree.root(), self.clock.now());
        let note = checkpoint.sign(&self.keys.signing) + "\n";
        notes::append(&notes::own(&self.options.folder), &note)?;
        self.anchors.offer(&note);
        self.known.remember(Some(&checkpoint));
        bookmark.save(&self.options.folder)?;
        *signed = Some(size);
        Ok(size)
    }

    /// The work of the first thread.
    pub(crate) fn sync_loop(self: &Arc<Self>) {
        *lock(&self.sync_thread) = Some(thread::current());
        let idle = match self.options.durability {
            Durability::Relaxed => RELAXED_SYNC,
            Durability::Strict | Durability::Durable => self.options.checkpoint_interval,
        };
        let mut signed = (0, self.clock.elapsed());
        let mut synced = self.clock.elapsed();
        let mut written_at = synced;
        let mut company = 0;
        loop {
            let closing = self.closing.load(Ordering::Acquire);
            if !closing {
                self.rest(idle, company);
            }
            // What is asked for from here on is the next round's.
            let only_ends = self.ended.swap(false, Ordering::AcqRel);
            let only_ends = !self.wanted.swap(false, Ordering::AcqRel) && only_ends && !closing;
            if let Err(error) = self.write_ends() {
                // They are tried again the next time.
                tracing::debug!(target: "doorward::ledger", %error, "outcomes wait for the log");
            }
            let now = self.clock.elapsed();
            if only_ends && now.saturating_sub(synced) < idle {
                continue;
            }
            synced = now;
            company = self.sync_what_is_new();
            if company > 0 {
                written_at = now;
            }
            if now.saturating_sub(written_at) >= PAUSE || closing {
                self.writer.trim().unwrap_or_else(|error| {
                    tracing::debug!(target: "doorward::ledger", %error, "the log keeps zeros at its end");
                });
            }
            let now = self.clock.elapsed();
            let written = self.writer.written();
            let due = written >= signed.0 + self.options.checkpoint_entries
                || now.saturating_sub(signed.1) >= self.options.checkpoint_interval
                || closing;
            if due {
                self.anchors.catch_up();
            }
            if due && written > signed.0 {
                match self.checkpoint() {
                    Ok(size) => signed = (size, now),
                    Err(error) => {
                        tracing::error!(target: "doorward::ledger", %error, "no checkpoint could be written");
                        signed.1 = now;
                    }
                }
            }
            if closing {
                return;
            }
        }
    }

    /// Sleeps until there is something to do, and a little longer for company.
    fn rest(&self, idle: Duration, company: u64) {
        let is_wanted = || self.wanted.load(Ordering::Acquire);
        if !is_wanted() && !self.ended.load(Ordering::Acquire) {
            thread::park_timeout(idle);
        }
        if !is_wanted() && self.ended.load(Ordering::Acquire) {
            thread::park_timeout(ENDS_PACE);
        }
        if is_wanted() && company > ALONE {
            // Nobody wakes it but the last call that can come to wait for the disk.
            let entries = u32::try_from(company).unwrap_or(u32::MAX);
            thread::park_timeout(GATHER_PER_ENTRY.saturating_mul(entries).min(GATHER_AT_MOST));
        }
    }

    /// Removes payloads whose time is over; how many days that were.
    ///
    /// Whoever sets the clock wrong for a moment must not lose everything by it: what counts is
    /// the earlier of this look's time and the last one's, or of the last checkpoint's.
    pub(crate) fn remove_expired(&self) -> Result<usize, LedgerError> {
        let Some(days) = self.options.payload_days else { return Ok(0) };
        let now = self.clock.now();
        let last = std::mem::replace(&mut *lock(&self.looked), now);
        let kept = expiry::first_kept(now.min(last), days);
        let expired = expiry::before(&self.options.folder, &kept)?;
        if expired.is_empty() {
            return Ok(0);
        }
        let reason = format!("kept for {days} days (`audit.retention.payloads`)");
        self.event(&EventRecord {
            kind: REMOVED,
            time: now,
            reason: &reason,
            detail: Some(&kept),
            ..EventRecord::default()
        })?;
        self.sync_once()?;
        for folder in &expired {
            fs::remove_dir_all(folder).map_err(LedgerError::file("remove", folder))?;
        }
        Ok(expired.len())
    }

    /// The work of the second thread.
    pub(crate) fn index_loop(self: &Arc<Self>) {
        let mut looked: Option<Duration> = None;
        loop {
            let closing = self.closing.load(Ordering::Acquire);
            let now = self.clock.elapsed();
            if looked.is_none_or(|looked| now.saturating_sub(looked) >= EXPIRY_PACE) {
                looked = Some(now);
                if let Err(error) = self.remove_expired() {
                    tracing::error!(target: "doorward::ledger", %error, "payloads could not be removed after their time");
                }
            }
            if let Err(error) = self.follow() {
                tracing::error!(target: "doorward::ledger", %error, "the index could not follow the log");
            }
            if closing {
                return;
            }
            thread::park_timeout(INDEX_PACE);
        }
    }

    /// Puts on disk what is not there yet; says how many entries that were.
    fn sync_what_is_new(&self) -> u64 {
        let before = self.synced.load(Ordering::Acquire);
        let failed = lock(&self.sync_failed).is_some();
        if (self.writer.written() > before || failed)
            && let Err(error) = self.sync_once()
        {
            tracing::error!(target: "doorward::ledger", %error, "the log could not be put on disk");
            thread::park_timeout(RELAXED_SYNC);
        }
        self.synced.load(Ordering::Acquire).saturating_sub(before)
    }

    fn sync_once(&self) -> Result<(), LedgerError> {
        let result = self.writer.sync(self.options.durability != Durability::Relaxed);
        *lock(&self.sync_failed) = result.as_ref().err().cloned();
        let result = result.map(|written| {
            self.synced.fetch_max(written, Ordering::AcqRel);
        });
        self.progress.notify_waiters();
        result
    }

    fn want_sync(&self) {
        if self.options.durability != Durability::Relaxed && !self.wanted.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &*lock(&self.sync_thread) {
            thread.unpark();
        }
    }

    fn close_open_decisions(&self, open: &Open) -> Result<(), LedgerError> {
        for (sequence, call) in open {
            let record = OutcomeRecord {
                outcome: Outcome::Unknown,
                duration_us: 0,
                upstream_us: 0,
                bytes_in: 0,
                bytes_out: 0,
                upstream_status: None,
                error: Some("the gateway stopped before the end of this call was known"),
                code: None,
                dlp: "none",
                result: None,
            };
            self.settle(Place::of_old(*sequence), *call, &record, false)?;
        }
        self.flush()
    }
}

/// A call that was decided and has not ended.
pub(crate) struct UnderWay(Arc<Shared>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that waits for the disk.
struct Waiting<'a>(&'a Shared, usize);

impl<'a> Waiting<'a> {
    fn enter(shared: &'a Shared) -> Self {
        Self(shared, shared.waiting.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Whether nobody else is expected to share a sync.
    fn is_last(&self) -> bool {
        self.1 >= self.0.in_flight.load(Ordering::Acquire)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Numbers by chance.
fn chosen(random: &dyn Random) -> Vec<u64> {
    let mut bytes = [0; 8 * SAMPLE];
    random.fill(&mut bytes);
    bytes.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number)).collect()
}

/// Takes the log for this process.
pub(crate) fn lock_folder(options: &Options) -> Result<File, LedgerError> {
    let path = options.folder.join(LOCK);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = file.map_err(LedgerError::file("open", &path))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(LedgerError::Locked { folder: options.folder.clone(), holder: holder(file) });
    }
    // For people only: a log whose disk is full is opened all the same.
    let _ = file.set_len(0).and_then(|()| file.write_all(options.holder.as_bytes()));
    Ok(file)
}

/// Who holds the lock, as far as it has said so.
pub(crate) fn holder(lock: File) -> String {
    let mut text = String::new();
    let read = lock.take(LONGEST_HOLDER).read_to_string(&mut text);
    let is_plain = read.is_ok() && !text.is_empty() && !text.contains(char::is_control);
    if is_plain { text } else { "another gateway".to_owned() }
}

/// Writes the public key where everybody who checks the log looks for it.
fn publish(options: &Options, verifier: &str) -> Result<(), LedgerError> {
    let path = options.folder.join(PUBLIC_KEY);
    let text = format!("{verifier}\n");
    if fs::read_to_string(&path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    whole::write(&path, text.as_bytes()).map_err(LedgerError::file("write", &path))
}
