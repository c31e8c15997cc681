//! The log after anything has happened to its bytes: it opens or says why not, goes on, and
//! what was changed is never taken for what was written.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use doorward_ledger::{Against, DecisionRecord, Durability, Ledger, Options, OutcomeRecord, Secrets, verify};
use doorward_model::clock::Fixed;
use doorward_model::{CallId, ClientLabel, Clock, Outcome, Timestamp};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// One thing that happens to a segment.
#[derive(Arbitrary, Debug)]
enum Harm {
    Overwrite { at: u16, byte: u8 },
    Insert { at: u16, bytes: Vec<u8> },
    Remove { at: u16, length: u8 },
    Truncate { at: u16 },
}

static CLIENT: LazyLock<ClientLabel> = LazyLock::new(ClientLabel::default);

/// A log that was closed in good order.
static WHOLE: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in(memory()).expect("a folder");
    write(folder.path(), 4).expect("written");
    folder
});

fuzz_target!(|harms: Vec<Harm>| {
    let folder = tempfile::tempdir_in(memory()).expect("a folder");
    copy(WHOLE.path(), folder.path());
    let written = entries(WHOLE.path());
    let segment = segments(folder.path()).remove(0);
    let mut bytes = fs::read(&segment).expect("readable");
    for harm in &harms {
        let place = |at: u16| usize::from(at) % (bytes.len() + 1);
        match harm {
            Harm::Overwrite { at, byte } => {
                let at = place(*at);
                if let Some(there) = bytes.get_mut(at) {
                    *there = *byte;
                }
            }
            Harm::Insert { at, bytes: more } => {
                let at = place(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Harm::Remove { at, length } => {
                let at = place(*at);
                let end = bytes.len().min(at + usize::from(*length));
                bytes.drain(at..end);
            }
            Harm::Truncate { at } => {
                let at = place(*at);
                bytes.truncate(at);
            }
        }
    }
    fs::write(&segment, &bytes).expect("written");
    let opens = write(folder.path(), 1).is_ok();
    let is_valid = verify(folder.path(), &Against::default()).is_ok_and(|report| report.is_valid());
    if is_valid {
        let now = entries(folder.path());
        assert!(now.starts_with(&written), "what was changed passes for what was written: {harms:?}");
        assert!(opens, "a log without a fault does not open");
    }
});

/// Opens the log, decides and settles so many calls, and closes it.
fn write(folder: &Path, calls: usize) -> Result<(), doorward_ledger::LedgerError> {
    let clock = Arc::new(Fixed::new(3));
    let options = Options { durability: Durability::Relaxed, ..Options::new(folder) };
    let (ledger, _) = Ledger::open(options, Arc::clone(&clock) as Arc<dyn Clock>, &*clock)?;
    for _ in 0..calls {
        let call = CallId::new(clock.now(), &*clock);
        let ticket = ledger.decide(&decision(call, clock.now()))?;
        ledger.settle(ticket, &outcome())?;
    }
    ledger.close();
    Ok(())
}

fn decision(call: CallId, received: Timestamp) -> DecisionRecord<'static> {
    DecisionRecord {
        call,
        received,
        operation: "tools/call",
        server: Some("github"),
        target: "echo",
        person: Some("ana"),
        email: None,
        agent: None,
        grant: "key-1",
        grant_kind: "key",
        consumer: "ana",
        client: &CLIENT,
        session: None,
        ip: None,
        origin: "mcp",
        fingerprint: None,
        arguments: None,
        verdict: "allow",
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
        terminal: None,
    }
}

fn outcome() -> OutcomeRecord<'static> {
    OutcomeRecord {
        outcome: Outcome::Success,
        duration_us: 1_500,
        upstream_us: 1_000,
        bytes_in: 1,
        bytes_out: 2,
        upstream_status: Some(200),
        error: None,
        code: None,
        dlp: "none",
        result: None,
    }
}

/// The entries, as they are kept.
fn entries(folder: &Path) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> =
        segments(folder).iter().flat_map(|segment| fs::read(segment).expect("readable")).collect();
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.to_vec());
    lines.filter(|line| line.first() == Some(&b'{')).collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder.join("segments")).expect("segments").filter_map(Result::ok);
    let mut all: Vec<_> = all.map(|entry| entry.path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("readable").filter_map(Result::ok) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("made");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// A folder in memory, where there is one.
fn memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}
