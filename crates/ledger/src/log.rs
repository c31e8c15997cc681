//! The log: opened once, shared by everything that has something to record.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use doorward_model::json::canonical as canonical_text;
use doorward_model::{CallId, Clock, Random};

use crate::anew;
use crate::bundles;
use crate::canonical;
use crate::checkpoint;
use crate::error::LedgerError;
use crate::index::{CallRow, Filter, Index, Stats, Usage};
use crate::options::{Capture, Durability, Options};
use crate::payload::Part;
use crate::record::{DecisionRecord, EventRecord, OutcomeRecord};
use crate::recover::Recovery;
use crate::shared::{Shared, UnderWay, lock_folder};
use crate::verify::{self, Against, Report};
use crate::writer::Place;

/// A decision that has its place in the log and waits for its outcome.
#[must_use = "a decision without outcome is closed as `unknown` at the next start"]
pub struct Ticket {
    place: Place,
    call: CallId,
    keep_result: bool,
    _under_way: Option<UnderWay>,
}

/// The log. Cheap to clone; the last clone to go closes it.
#[derive(Clone)]
pub struct Ledger(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Ledger {
    /// Opens the log, puts right what the last process left unfinished, and starts
    /// the threads that sync, sign and index.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] while another process has it open,
    /// [`LedgerError::Damaged`] when its past is not as a gateway wrote it,
    /// [`LedgerError::OtherKey`] when another key signed it,
    /// [`LedgerError::Less`] or [`LedgerError::Fork`] when it is not all that was signed,
    /// [`LedgerError::NoSeal`] when payloads are to be kept and nothing can seal them.
    pub fn open(
        options: Options,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<(Self, Recovery), LedgerError> {
        if !checkpoint::is_origin(&options.origin) {
            return Err(LedgerError::Origin(options.origin));
        }
        let folder = &options.folder;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(LedgerError::file("create", folder))?;
        let lock = lock_folder(&options)?;
        let (shared, recovery) = match options.new_log.clone() {
            None => Shared::open(options, lock, clock, random)?,
            Some(reason) => anew::begin(options, lock, clock, random, &reason)?,
        };
        let threads = Mutex::new(vec![
            spawn("ledger-sync", &shared, Shared::sync_loop),
            spawn("ledger-index", &shared, Shared::index_loop),
        ]);
        Ok((Self(Arc::new(Handle { shared, threads })), recovery))
    }

    /// Whether arguments, results and input documents of calls to this server are kept.
    pub fn keeps_payloads_of(&self, server: &str) -> bool {
        self.0.shared.options.capture_of(Some(server)) == Capture::Full
    }

    /// Keeps a policy bundle under its digest, for who is to reach a verdict again. On disk
    /// when this returns, and to be called before anything is decided by it.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn keep_bundle(&self, digest: &str, bundle: &str) -> Result<(), LedgerError> {
        bundles::keep(&self.0.shared.options.folder, digest, bundle)
    }

    /// Gives a decision its place in the log. Nothing may follow from it before
    /// [`before_dispatch`](Self::before_dispatch), or, for a refusal,
    /// [`before_answer`](Self::before_answer) has returned.
    ///
    /// # Errors
    /// When it is no entry that the log takes; then the call must not go on.
    pub fn decide(&self, record: &DecisionRecord<'_>) -> Result<Ticket, LedgerError> {
        let shared = &self.0.shared;
        let capture = shared.options.capture_of(record.server);
        let draft = canonical::decision(record, &shared.keys.salt, capture);
        if capture == Capture::Full {
            // First, so that the log never speaks of what was not kept.
            if let Some(arguments) = record.arguments {
                shared.keep(record.call, Part::Arguments, || canonical_text(arguments).into())?;
            }
            if let Some(input) = record.input {
                shared.keep(record.call, Part::Input, || input.into())?;
            }
        }
        let waits = record.terminal.is_none();
        let place = shared.decide(&draft, waits.then_some(record.call))?;
        let under_way = waits.then(|| shared.under_way());
        let keep_result = capture == Capture::Full;
        Ok(Ticket { place, call: record.call, keep_result, _under_way: under_way })
    }

    /// Waits until the call may be dispatched. When this returns, a killed process
    /// loses nothing of the decision.
    ///
    /// # Errors
    /// When it could not be written; then the call must not go on.
    pub async fn before_dispatch(&self, ticket: &Ticket) -> Result<(), LedgerError> {
        self.0.shared.written(&ticket.place).await?;
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
        match ticket.place.result() {
            // Another entry's write may have failed for both; the number is then somebody else's.
            Some(known) => known?,
            None => self.0.shared.written(&ticket.place).await?,
        }
        match self.0.shared.options.durability {
            Durability::Strict | Durability::Durable => self.0.shared.on_disk(ticket.place.sequence).await,
            Durability::Relaxed => Ok(()),
        }
    }

    /// Records how a call ended. The outcome is written within milliseconds, or as soon
    /// as the log can be written again; should the process be killed before that, the
    /// next start closes the decision as `unknown`.
    ///
    /// # Errors
    /// When the result was to be kept and could not be.
    pub fn settle(&self, ticket: Ticket, record: &OutcomeRecord<'_>) -> Result<(), LedgerError> {
        let shared = &self.0.shared;
        let result = record.result.filter(|_| ticket.keep_result);
        let kept = match result {
            Some(result) => {
                shared.keep(ticket.call, Part::Result, || String::from_utf8_lossy(result)).map(|()| true)
            }
            None => Ok(false),
        };
        // A result that could not be kept must not cost the call its end.
        shared.settle(ticket.place, ticket.call, record, matches!(kept, Ok(true)))?;
        kept.map(|_| ())
    }

    /// Writes something that is no call.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn event(&self, record: &EventRecord<'_>) -> Result<(), LedgerError> {
        self.0.shared.event(record)
    }

    /// Whether the log can be written. After a failure this tries again, so that
    /// readiness comes back by itself when the disk does.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn healthy(&self) -> Result<(), LedgerError> {
        self.0.shared.healthy()
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

    /// Puts into a row what was kept of its call apart from the log; see
    /// [`CallRow::reveal`].
    ///
    /// # Errors
    /// As there.
    pub fn reveal(&self, row: &mut CallRow) -> Result<(), LedgerError> {
        let shared = &self.0.shared;
        match &shared.options.seal {
            Some(seal) => row.reveal(&shared.options.folder, &**seal),
            None => Ok(()),
        }
    }

    /// Removes payloads whose time is over, which the log says first; how many days that were.
    /// The gateway does it by itself, once an hour.
    ///
    /// # Errors
    /// When they cannot be removed, or that could not be recorded; then they stay.
    pub fn remove_expired(&self) -> Result<usize, LedgerError> {
        self.0.shared.remove_expired()
    }

    /// Writes everything that waits in memory.
    ///
    /// # Errors
    /// When it cannot be written; then it goes on waiting.
    pub fn flush(&self) -> Result<(), LedgerError> {
        self.0.shared.flush()
    }

    /// Returns once everything recorded so far can be queried.
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
        shared.flush()?;
        shared.checkpoint()?;
        let options = &shared.options;
        let keys = Some((&*options.keys, &*options.origin));
        let seal = options.seal.as_deref();
        let against =
            Against { anchors: &options.anchors, keys, key: None, index: true, payloads: true, seal };
        verify::verify(&options.folder, &against)
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
        self.shared.begin_closing();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!(target: "doorward::ledger", "a thread of the log panicked");
            }
        }
        self.shared.remember();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: &str, shared: &Arc<Shared>, work: fn(&Arc<Shared>)) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&shared))
        .expect("a process that cannot start a thread cannot serve either")
}
