//! The log: opened once, shared by everything that has something to record.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use doorward_model::{CallId, Clock, Outcome, Random};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::Notify;

use crate::canonical;
use crate::checkpoint::{self, Checkpoint};
use crate::error::LedgerError;
use crate::index::{CallRow, Filter, Index, Stats, Usage};
use crate::keys::Keys;
use crate::record::{DecisionRecord, EventRecord, OutcomeRecord};
use crate::recover::{self, Bookmark, Recovery};
use crate::verify::{self, Report};
use crate::writer::{Place, Writer};

/// When a decision has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Before the call is dispatched.
    Strict,
    /// Written before dispatch, on disk before the answer leaves.
    #[default]
    Durable,
    /// Within 100 ms.
    Relaxed,
}

/// What a record keeps of arguments, beside their salted digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Capture {
    /// Nothing.
    None,
    /// The names of the outermost members.
    Keys,
    /// Those, and a short text with secret-looking values masked.
    #[default]
    Preview,
}

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its folder, created with mode 0700.
    pub folder: PathBuf,
    /// Where its keys are; another owner or disk may keep them.
    pub keys: PathBuf,
    /// See [`Durability`].
    pub durability: Durability,
    /// See [`Capture`].
    pub capture: Capture,
    /// The name that checkpoints are signed under.
    pub origin: String,
    /// A checkpoint at least every so many entries.
    pub checkpoint_entries: u64,
    /// A checkpoint this long after something new was written.
    pub checkpoint_interval: Duration,
    /// Size at which a new segment begins.
    pub segment_bytes: u64,
    /// Files elsewhere that every checkpoint is appended to.
    pub anchors: Vec<PathBuf>,
}

impl Options {
    /// The usual options for a log in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            keys: folder.join("keys"),
            folder,
            durability: Durability::default(),
            capture: Capture::default(),
            origin: "doorward".to_owned(),
            checkpoint_entries: 10_000,
            checkpoint_interval: Duration::from_secs(1),
            segment_bytes: 64 << 20,
            anchors: Vec::new(),
        }
    }
}

/// A decision that stands in the log and waits for its outcome.
#[derive(Debug)]
#[must_use = "a decision without outcome is closed as `unknown` at the next start"]
pub struct Ticket {
    place: Place,
    call: CallId,
}

impl Ticket {
    /// The sequence number of the decision.
    pub fn sequence(&self) -> u64 {
        self.place.sequence
    }
}

/// The log. Cheap to clone; the last clone to go closes it.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    options: Options,
    clock: Arc<dyn Clock>,
    keys: Keys,
    writer: Writer,
    open: Mutex<BTreeMap<u64, Waiting>>,
    synced: AtomicU64,
    sync_failed: Mutex<Option<LedgerError>>,
    progress: Notify,
    /// Somebody wants a sync that has not begun.
    wanted: AtomicBool,
    closing: AtomicBool,
    sync_thread: Mutex<Option<thread::Thread>>,
    index: Mutex<Index>,
    _lock: File,
}

/// A decision whose outcome is not in the file yet.
struct Waiting {
    call: CallId,
    /// The sequence number of its outcome, once that has a place.
    closed_by: Option<u64>,
}

const CHECKPOINTS: &str = "checkpoints";
const PUBLIC_KEY: &str = "ledger.pub";
/// How often a relaxed log is synced.
const RELAXED_SYNC: Duration = Duration::from_millis(100);
/// How long a sync waits for company, for each entry that the one before it had: a
/// disk takes many entries as cheaply as one, and a single caller is not made to wait.
const GATHER_PER_ENTRY: Duration = Duration::from_micros(30);
/// The longest it waits.
const GATHER_AT_MOST: Duration = Duration::from_millis(3);
/// A call leaves two entries; more than a few are more than one caller.
const ALONE: u64 = 3;
/// How often the index follows the log by itself.
const INDEX_PACE: Duration = Duration::from_millis(250);

impl Ledger {
    /// Opens the log, puts right what the last process left unfinished, and starts
    /// the threads that sync, sign and index.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] while another process has it open,
    /// [`LedgerError::Damaged`] when its past is not as a gateway wrote it.
    pub fn open(
        options: Options,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<(Self, Recovery), LedgerError> {
        let folder = options.folder.clone();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(LedgerError::file("create", &folder))?;
        let lock = lock(&options)?;
        let keys = Keys::open(&options.keys, random)?;
        let verifier = checkpoint::verifier_key(&options.origin, &keys.signing);
        let public = folder.join(PUBLIC_KEY);
        fs::write(&public, format!("{verifier}\n")).map_err(LedgerError::file("write", &public))?;
        let checkpointed = last_checkpoint(&options, &verifier)?;
        let found = recover::recover(&folder, checkpointed)?;
        let entries = found.end.tree.size();
        let writer = Writer::new(&folder, options.segment_bytes, found.end)?;
        let index = Index::open(&folder)?;
        let shared = Arc::new(Shared {
            options,
            clock,
            keys,
            writer,
            open: Mutex::new(
                found.open.into_iter().map(|(of, call)| (of, Waiting { call, closed_by: None })).collect(),
            ),
            synced: AtomicU64::new(0),
            sync_failed: Mutex::new(None),
            progress: Notify::new(),
            wanted: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            sync_thread: Mutex::new(None),
            index: Mutex::new(index),
            _lock: lock,
        });
        let recovery = shared.close_open_decisions(entries, found.cut_bytes)?;
        let threads = Mutex::new(vec![
            spawn("ledger-sync", &shared, Shared::sync_loop),
            spawn("ledger-index", &shared, Shared::index_loop),
        ]);
        Ok((Self(Arc::new(Handle { shared, threads })), recovery))
    }

    /// Writes a decision. When this returns, a killed process loses nothing of it.
    ///
    /// # Errors
    /// When it could not be written; then nothing of it is in the log, and the call
    /// must not go on.
    pub fn decide(&self, record: &DecisionRecord<'_>) -> Result<Ticket, LedgerError> {
        let shared = &self.0.shared;
        let mut rest = String::with_capacity(1_024);
        canonical::decision(&mut rest, record, &shared.keys.salt, shared.options.capture);
        let call = record.call;
        let place = if record.terminal.is_some() {
            shared.writer.place(&rest)
        } else {
            // Under one lock, so that no bookmark sees the decision without its wait.
            let mut open = shared.open();
            let place = shared.writer.place(&rest);
            open.insert(place.sequence, Waiting { call, closed_by: None });
            place
        };
        if let Err(error) = shared.writer.write(place) {
            shared.open().remove(&place.sequence);
            return Err(error);
        }
        shared.want_sync();
        Ok(Ticket { place, call })
    }

    /// Waits until the call may be dispatched.
    ///
    /// # Errors
    /// When the disk does not take what was written.
    pub async fn before_dispatch(&self, ticket: &Ticket) -> Result<(), LedgerError> {
        match self.0.shared.options.durability {
            Durability::Strict => self.0.shared.on_disk(ticket.place.sequence).await,
            Durability::Durable | Durability::Relaxed => Ok(()),
        }
    }

    /// Waits until the answer may leave.
    ///
    /// # Errors
    /// When the disk does not take what was written.
    pub async fn before_answer(&self, ticket: &Ticket) -> Result<(), LedgerError> {
        match self.0.shared.options.durability {
            Durability::Strict | Durability::Durable => self.0.shared.on_disk(ticket.place.sequence).await,
            Durability::Relaxed => Ok(()),
        }
    }

    /// Writes how a call ended.
    ///
    /// # Errors
    /// When it could not be written; the decision is then closed at the next start.
    pub fn settle(&self, ticket: Ticket, record: &OutcomeRecord<'_>) -> Result<(), LedgerError> {
        self.0.shared.settle(ticket.place.sequence, ticket.call, record)
    }

    /// Writes something that is no call.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn event(&self, record: &EventRecord<'_>) -> Result<(), LedgerError> {
        let mut rest = String::with_capacity(256);
        canonical::event(&mut rest, record);
        let shared = &self.0.shared;
        shared.writer.write(shared.writer.place(&rest))?;
        shared.want_sync();
        Ok(())
    }

    /// Whether the log can be written. After a failure this tries again, so that
    /// readiness comes back by itself when the disk does.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn healthy(&self) -> Result<(), LedgerError> {
        let shared = &self.0.shared;
        if shared.writer.is_failing() {
            let now = shared.clock.now();
            let reason = "the log can be written again";
            self.event(&EventRecord { kind: "recovered", time: now, reason, ..EventRecord::default() })?;
            shared.writer.sync()?;
        }
        let failed = shared.sync_failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        failed.map_or(Ok(()), Err)
    }

    /// Calls that match, newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn query(&self, filter: &Filter) -> Result<Vec<CallRow>, LedgerError> {
        self.flush_index()?;
        self.reader()?.query(filter)
    }

    /// Counts of the calls that match.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn stats(&self, filter: &Filter) -> Result<Stats, LedgerError> {
        self.flush_index()?;
        self.reader()?.stats(filter)
    }

    /// Usage of the calls that match.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn usage(&self, filter: &Filter) -> Result<Usage, LedgerError> {
        self.flush_index()?;
        self.reader()?.usage(filter)
    }

    fn reader(&self) -> Result<Index, LedgerError> {
        Index::open_read_only(&self.0.shared.options.folder)
    }

    /// Returns once everything written so far can be queried.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn flush_index(&self) -> Result<(), LedgerError> {
        self.0.shared.follow()
    }

    /// Signs a checkpoint over everything written, then checks the whole log.
    ///
    /// # Errors
    /// When files cannot be read; a log that does not hold is a [`Report`], not an error.
    pub fn verify(&self) -> Result<Report, LedgerError> {
        let shared = &self.0.shared;
        shared.checkpoint()?;
        verify::verify(&shared.options.folder, &shared.options.anchors)
    }

    /// The public key as a signed-note verifier key.
    pub fn verifier_key(&self) -> String {
        checkpoint::verifier_key(&self.0.shared.options.origin, &self.0.shared.keys.signing)
    }

    /// Signs a last checkpoint and stops the threads. Writing afterwards still works
    /// until the last clone is gone.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!(target: "doorward::ledger", "a thread of the log panicked");
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, of: u64, call: CallId, record: &OutcomeRecord<'_>) -> Result<(), LedgerError> {
        let mut rest = String::with_capacity(384);
        canonical::outcome(&mut rest, of, call, self.clock.now(), record);
        let place = {
            let mut open = self.open();
            let place = self.writer.place(&rest);
            if let Some(waiting) = open.get_mut(&of) {
                waiting.closed_by = Some(place.sequence);
            }
            place
        };
        let written = self.writer.write(place);
        let mut open = self.open();
        match (&written, open.get_mut(&of)) {
            (Err(_), Some(waiting)) => waiting.closed_by = None,
            _ => {
                open.remove(&of);
            }
        }
        written
    }

    fn close_open_decisions(&self, entries: u64, cut_bytes: u64) -> Result<Recovery, LedgerError> {
        let open: Vec<(u64, CallId)> = self.open().iter().map(|(of, waiting)| (*of, waiting.call)).collect();
        for (sequence, call) in &open {
            let record = OutcomeRecord {
                outcome: Outcome::Unknown,
                duration_us: 0,
                upstream_us: 0,
                bytes_in: 0,
                bytes_out: 0,
                upstream_status: None,
                error: Some("the gateway stopped before the end of this call was known"),
                dlp: "none",
                result: None,
            };
            self.settle(*sequence, *call, &record)?;
        }
        Ok(Recovery { entries, closed: open.into_iter().map(|(of, _)| of).collect(), cut_bytes })
    }

    fn want_sync(&self) {
        if self.options.durability == Durability::Relaxed || self.wanted.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(thread) = &*self.sync_thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }

    async fn on_disk(&self, sequence: u64) -> Result<(), LedgerError> {
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
            if let Some(error) = &*self.sync_failed.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(error.clone());
            }
            if self.closing.load(Ordering::Acquire) {
                return self.sync_once();
            }
            self.want_sync();
            progress.await;
        }
    }

    fn sync_once(&self) -> Result<(), LedgerError> {
        let result = self.writer.sync();
        *self.sync_failed.lock().unwrap_or_else(PoisonError::into_inner) = result.as_ref().err().cloned();
        let result = result.map(|written| {
            self.synced.fetch_max(written, Ordering::AcqRel);
        });
        self.progress.notify_waiters();
        result
    }

    fn sync_loop(self: &Arc<Self>) {
        *self.sync_thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        let idle = match self.options.durability {
            Durability::Relaxed => RELAXED_SYNC,
            Durability::Strict | Durability::Durable => self.options.checkpoint_interval,
        };
        let mut signed = (self.synced.load(Ordering::Acquire), self.clock.elapsed());
        let mut company = 0;
        loop {
            let closing = self.closing.load(Ordering::Acquire);
            if !closing && !self.wanted.load(Ordering::Acquire) {
                thread::park_timeout(idle);
            }
            if company > ALONE && !closing {
                // While `wanted` stays set nobody unparks this thread, so it sleeps.
                let entries = u32::try_from(company).unwrap_or(u32::MAX);
                thread::park_timeout(GATHER_PER_ENTRY.saturating_mul(entries).min(GATHER_AT_MOST));
            }
            self.wanted.store(false, Ordering::Release);
            let before = self.synced.load(Ordering::Acquire);
            let written = self.writer.written();
            if written > before
                && let Err(error) = self.sync_once()
            {
                tracing::error!(target: "doorward::ledger", %error, "the log could not be put on disk");
                thread::park_timeout(RELAXED_SYNC);
            }
            company = self.synced.load(Ordering::Acquire).saturating_sub(before);
            let now = self.clock.elapsed();
            let due = written >= signed.0 + self.options.checkpoint_entries
                || now.saturating_sub(signed.1) >= self.options.checkpoint_interval
                || closing;
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

    /// Signs the tree over everything written, once that is on disk.
    fn checkpoint(&self) -> Result<u64, LedgerError> {
        let (tree, previous, open) = {
            let open = self.open();
            let (tree, previous) = self.writer.tree();
            let size = tree.size();
            let waits = |waiting: &Waiting| waiting.closed_by.is_none_or(|outcome| outcome >= size);
            let open = open.iter().filter(|(of, waiting)| **of < size && waits(waiting));
            (tree, previous, open.map(|(of, waiting)| (*of, waiting.call)).collect())
        };
        self.sync_once()?;
        let checkpoint = Checkpoint::new(&self.options.origin, tree.size(), tree.root(), self.clock.now());
        let note = checkpoint.sign(&self.keys.signing) + "\n";
        let own = self.options.folder.join(CHECKPOINTS);
        for path in std::iter::once(&own).chain(&self.options.anchors) {
            append(path, &note)?;
        }
        let size = tree.size();
        Bookmark { tree, previous, open }.save(&self.options.folder)?;
        Ok(size)
    }

    fn index_loop(self: &Arc<Self>) {
        loop {
            let closing = self.closing.load(Ordering::Acquire);
            if let Err(error) = self.follow() {
                tracing::error!(target: "doorward::ledger", %error, "the index could not follow the log");
            }
            if closing {
                return;
            }
            thread::park_timeout(INDEX_PACE);
        }
    }

    fn follow(&self) -> Result<(), LedgerError> {
        let written = self.writer.written();
        self.index.lock().unwrap_or_else(PoisonError::into_inner).follow(written)
    }
}

fn spawn(name: &str, shared: &Arc<Shared>, work: fn(&Arc<Shared>)) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&shared))
        .expect("a process that cannot start a thread cannot serve either")
}

fn lock(options: &Options) -> Result<File, LedgerError> {
    let path = options.folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(LedgerError::file("open", &path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| LedgerError::Locked(options.folder.clone()))?;
    Ok(file)
}

fn append(path: &std::path::Path, text: &str) -> Result<(), LedgerError> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_data()))
        .map_err(LedgerError::file("write", path))
}

/// The size of the last checkpoint that was signed with our key.
fn last_checkpoint(options: &Options, verifier: &str) -> Result<u64, LedgerError> {
    let path = options.folder.join(CHECKPOINTS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(LedgerError::file("read", &path)(error)),
    };
    let sizes = checkpoint::notes(&text);
    let sizes = sizes.iter().filter_map(|(_, note)| Checkpoint::open(note, verifier)).map(|note| note.size);
    Ok(sizes.max().unwrap_or(0))
}
