//! A log with a few calls in it, for the tests of its files.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use doorward_ledger::{
    Against, DecisionRecord, Durability, Ledger, LedgerError, Options, OutcomeRecord, Recovery, Secrets,
    Ticket, verify,
};
use doorward_model::clock::Fixed;
use doorward_model::json::{Document, Limits};
use doorward_model::{CallId, ClientLabel, Clock, Outcome};

/// A log in a folder of its own, with a clock that stands still.
pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: Arc<Fixed>,
}

impl World {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), clock: Arc::new(Fixed::new(3)) }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn options(&self) -> Options {
        Options { durability: Durability::Relaxed, ..Options::new(self.path()) }
    }

    pub fn open(&self) -> (Ledger, Recovery) {
        self.try_open().expect("the log opens")
    }

    pub fn try_open(&self) -> Result<(Ledger, Recovery), LedgerError> {
        Ledger::open(self.options(), Arc::clone(&self.clock) as Arc<dyn Clock>, &*self.clock)
    }

    /// Writes so many calls, every third of which is denied, and closes the log.
    pub fn fill(&self, calls: usize) {
        let (ledger, _) = self.open();
        for at in 0..calls {
            call(&ledger, &self.clock, at);
        }
        ledger.close();
    }

    pub fn segments(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> = fs::read_dir(self.path().join("segments"))
            .expect("segments")
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        found.sort();
        found
    }

    pub fn verdict(&self) -> Result<(), String> {
        let report = verify(&self.path(), &Against::default()).expect("readable");
        match report.faults.first() {
            None => Ok(()),
            Some(fault) => Err(fault.to_string()),
        }
    }
}

pub fn decide(ledger: &Ledger, clock: &Fixed, at: usize, terminal: bool) -> Result<Ticket, LedgerError> {
    let ticket = place(ledger, clock, at, terminal)?;
    block_on(ledger.before_dispatch(&ticket)).map(|()| ticket)
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(future)
}

/// A decision with its place in the log, not written yet.
pub fn place(ledger: &Ledger, clock: &Fixed, at: usize, terminal: bool) -> Result<Ticket, LedgerError> {
    let text = format!(r#"{{"n":{at},"token":"hush"}}"#);
    let arguments = Document::parse(Bytes::from(text), &Limits::default()).expect("valid");
    let client = ClientLabel { name: "test".to_owned(), version: "1".to_owned() };
    ledger.decide(&DecisionRecord {
        call: CallId::new(clock.now(), clock),
        received: clock.now(),
        operation: "tools/call",
        server: Some(if at.is_multiple_of(2) { "even" } else { "odd" }),
        target: "echo",
        person: Some("ana"),
        email: Some("ana@corp.example"),
        agent: None,
        grant: "key-1",
        grant_kind: "key",
        consumer: "ana",
        client: &client,
        session: None,
        ip: None,
        origin: "mcp",
        fingerprint: None,
        arguments: Some(arguments.root()),
        verdict: if terminal { "deny" } else { "allow" },
        reasons: &[],
        layer: "rules",
        rule: None,
        bundle: "sha256:0",
        input_digest: "sha256:1",
        input: None,
        secrets: Secrets::default(),
        evaluator: "rules",
        shadow: &[],
        limits: &[],
        trace_id: None,
        terminal: terminal.then_some((Outcome::Denied, 5, None)),
    })
}

pub fn outcome(outcome: Outcome) -> OutcomeRecord<'static> {
    OutcomeRecord {
        outcome,
        duration_us: 1_500,
        upstream_us: 1_000,
        bytes_in: 1,
        bytes_out: 2,
        upstream_status: Some(200),
        error: None,
        code: None,
        dlp: "none",
        result: Some(b"{}"),
    }
}

pub fn call(ledger: &Ledger, clock: &Fixed, at: usize) {
    let denied = at % 3 == 2;
    let ticket = decide(ledger, clock, at, denied).expect("written");
    if !denied {
        ledger.settle(ticket, &outcome(Outcome::Success)).expect("recorded");
    }
}

pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("created");
    for entry in fs::read_dir(from).expect("readable").filter_map(Result::ok) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if entry.file_name() != "lock" {
            fs::copy(&path, &target).expect("copied");
        }
    }
}
