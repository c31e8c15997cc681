//! Whoever can write to the index, against what is shown of the log.

mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use doorward_ledger::{Against, CallRow, Filter, Index, Ledger, LedgerError, Report, reindex, verify};
use rusqlite::Connection;
use world::{World, call};

/// What somebody writes into the index, and which entry it is about. Outcomes are written when there
/// is time for them, so a call is named by what it is and not by its place.
const FORGERIES: [(&str, Which); 9] = [
    ("UPDATE calls SET consumer = 'bob' WHERE seq = {}", Which::First),
    ("UPDATE calls SET person = NULL WHERE seq = {}", Which::Second),
    ("UPDATE calls SET verdict = 'allow' WHERE seq = {}", Which::Denied),
    ("UPDATE calls SET outcome = 'tool_error' WHERE seq = {}", Which::Second),
    ("UPDATE calls SET outcome = NULL, duration_us = NULL WHERE seq = {}", Which::First),
    ("UPDATE calls SET duration_us = 9 WHERE seq = {}", Which::Second),
    ("DELETE FROM calls WHERE seq = {}", Which::Second),
    ("UPDATE calls SET seq = 500 WHERE seq = {}", Which::Second),
    (
        "INSERT INTO calls SELECT 1000, segment, offset, end_segment, end_offset, time, consumer, person, domain, agent, server, target, verdict, outcome, duration_us, upstream_us, error, code, dlp FROM calls WHERE seq = 0",
        Which::Invented,
    ),
];

/// A call of [`World::fill`].
#[derive(Clone, Copy)]
enum Which {
    /// The first, which was allowed.
    First,
    /// The second, which was allowed as well.
    Second,
    /// The first that was denied.
    Denied,
    /// One that never was.
    Invented,
}

impl Which {
    /// The number of its entry.
    fn entry(self, world: &World) -> u64 {
        let index = Index::open_read_only(&world.path()).expect("an index");
        let mut rows = index.query(&Filter { limit: 100, ..Filter::default() }).expect("rows");
        rows.sort_by_key(|row| row.seq);
        match self {
            Self::First => rows[0].seq,
            Self::Second => rows[1].seq,
            Self::Denied => rows.iter().find(|row| row.verdict == "deny").expect("one of three is").seq,
            Self::Invented => 1000,
        }
    }
}

fn database(world: &World) -> PathBuf {
    world.path().join("index.db")
}

fn forge(world: &World, sql: &str) {
    let database = Connection::open(database(world)).expect("an index");
    database.execute_batch(sql).expect("forged");
}

fn report(world: &World) -> Report {
    let keys = world.path().join("keys");
    let against = Against { keys: Some((&keys, "doorward")), index: true, ..Against::default() };
    verify(&world.path(), &against).expect("readable")
}

fn rows(ledger: &Ledger) -> Vec<CallRow> {
    ledger.query(&Filter { limit: 1_000, ..Filter::default() }).expect("rows")
}

#[test]
fn a_row_that_is_not_what_the_log_says_is_found_by_verify_and_mended_by_reindex() {
    for (sql, which) in FORGERIES {
        let world = World::new();
        world.fill(9);
        let entry = which.entry(&world);
        let whole = report(&world);
        assert!(whole.is_valid() && whole.index.as_ref().is_some_and(|index| index.calls == 9), "{whole:?}");
        forge(&world, &sql.replace("{}", &entry.to_string()));
        let found = report(&world);
        let reason = &found.faults.first().expect(sql).reason;
        assert!(reason.contains(&format!(" entry {entry}: ")), "{sql}: {reason}");
        assert!(reason.contains("doorward audit reindex"), "{reason}");
        assert_eq!(reindex(&world.path(), "a test".to_owned()).expect("built"), 9);
        assert!(report(&world).is_valid(), "{sql}: {:?}", report(&world));
    }
    let world = World::new();
    world.fill(9);
    forge(&world, "DELETE FROM calls; UPDATE position SET next = 0, segment = 0, offset = 0");
    assert!(report(&world).faults[0].reason.contains("keyDir knows that it had"), "{:?}", report(&world));
    let (ledger, _) = world.open();
    assert!(matches!(reindex(&world.path(), "a test".to_owned()), Err(LedgerError::Locked { .. })));
    drop(ledger);
}

#[test]
fn what_is_shown_of_a_call_is_what_the_log_says_or_nothing() {
    for (sql, which) in FORGERIES {
        let world = World::new();
        world.fill(9);
        forge(&world, &sql.replace("{}", &which.entry(&world).to_string()));
        let index = Index::open_read_only(&world.path()).expect("an index");
        let all = index.query(&Filter { limit: 100, ..Filter::default() });
        // A row that is gone is not shown; verify misses it.
        let is_gone = sql.starts_with("DELETE");
        assert_eq!(all.is_ok(), is_gone, "{sql}: {all:?}");
        assert!(is_gone || matches!(all, Err(LedgerError::IndexDiffers(_))), "{sql}");
    }
    let world = World::new();
    world.fill(9);
    let index = Index::open_read_only(&world.path()).expect("an index");
    let recorded = index.recorded_at(0).expect("readable").expect("a call");
    let outcome = recorded.outcome.expect("it has ended");
    assert!(String::from_utf8(outcome).expect("text").contains("\"of\":0,"));
    let denied = Which::Denied.entry(&world);
    assert_eq!(index.recorded_at(denied).expect("readable").expect("a denied call").outcome, None);
}

#[test]
fn a_start_builds_an_index_anew_that_lacks_rows_or_tells_of_others() {
    for sql in [
        "DELETE FROM calls WHERE seq = {}",
        "DELETE FROM calls",
        "UPDATE calls SET consumer = 'bob'",
        "UPDATE calls SET outcome = 'success'",
    ] {
        let world = World::new();
        world.fill(9);
        let before = {
            let (ledger, _) = world.open();
            rows(&ledger)
        };
        forge(&world, &sql.replace("{}", &Which::Second.entry(&world).to_string()));
        let (ledger, _) = world.open();
        assert_eq!(rows(&ledger), before, "{sql}");
        call(&ledger, &world.clock, 9);
        drop(ledger);
        let log = fs::read_to_string(world.segments().remove(0)).expect("text");
        assert_eq!(log.matches("\"event\":\"reindexed\"").count(), 1, "{sql}");
        assert!(report(&world).is_valid(), "{sql}: {:?}", report(&world));
    }
}

#[test]
fn index_and_bookmark_are_for_their_owner_alone() {
    let world = World::new();
    world.fill(3);
    let files = [database(&world), world.path().join("bookmark.json")];
    for file in &files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("set");
    }
    world.fill(3);
    for file in &files {
        let mode = fs::metadata(file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}
