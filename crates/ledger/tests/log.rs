//! The log against crashes, tampering, full disks and several writers at once.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use doorward_ledger::{
    Against, Durability, Filter, Index, Ledger, LedgerError, Options, Recovery, holder, inspect, verify,
};
use doorward_model::{Clock, Outcome};
use proptest::prelude::*;
use world::{World, block_on, call, copy_folder, decide, outcome, place};

#[test]
fn what_was_written_is_verified_queried_and_continued() {
    let world = World::new();
    world.fill(30);
    assert_eq!(world.verdict(), Ok(()));
    let (ledger, recovery) = world.open();
    assert_eq!(recovery, Recovery { entries: 50, closed: vec![], cut_bytes: 0 });
    call(&ledger, &world.clock, 30);
    let rows = ledger.query(&Filter { limit: 100, ..Filter::default() }).expect("rows");
    assert_eq!(rows.len(), 31);
    assert!(rows.windows(2).all(|pair| pair[0].seq > pair[1].seq), "newest first");
    assert!(rows.windows(2).all(|pair| pair[0].seq != pair[1].seq + 1 || pair[0].prev == pair[1].hash));
    assert!(rows.iter().all(|row| row.call.len() == 36 && row.args.is_some() && row.layer == "rules"));
    assert_eq!(rows.iter().filter(|row| row.outcome.as_deref() == Some("denied")).count(), 10);
    assert!(rows.iter().all(|row| !row.args.as_deref().unwrap_or_default().contains("hush")));
    let even = Filter { servers: vec!["even".to_owned()], limit: 100, ..Filter::default() };
    assert_eq!(ledger.query(&even).expect("rows").len(), 16);
    let usage = ledger.usage(&Filter::default()).expect("usage");
    assert_eq!((usage.all.calls, usage.all.denied, usage.all.average_ms), (21, 10, 2));
    assert!(ledger.verify().expect("readable").is_valid());
}

#[test]
fn one_writer_at_a_time() {
    let world = World::new();
    let (ledger, _) = world.open();
    assert!(matches!(world.try_open(), Err(LedgerError::Locked { .. })));
    drop(ledger);
    assert!(world.try_open().is_ok());
}

#[test]
fn any_change_of_the_past_is_found_and_named() {
    let world = World::new();
    world.fill(20);
    let path = world.segments().remove(0);
    let whole = fs::read(&path).expect("readable");
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let join = |lines: &[&[u8]]| lines.concat();
    let mut swapped = lines.clone();
    swapped.swap(7, 8);
    let mut without = lines.clone();
    without.remove(5);
    let mut twice = lines.clone();
    twice.insert(5, lines[5]);
    let cases: [(&str, Vec<u8>, &str); 5] = [
        ("reordered", join(&swapped), "entry 7"),
        ("deleted", join(&without), "entry 5"),
        ("inserted", join(&twice), "entry 6"),
        ("cut", join(&lines[..lines.len() - 1]), &format!("entry {}", lines.len() - 1)),
        ("emptied", Vec::new(), "entry 0"),
    ];
    for (what, bytes, named) in cases {
        fs::write(&path, bytes).expect("written");
        let found = world.verdict().expect_err(what);
        assert!(found.starts_with(named), "{what}: {found}");
    }
    // Every byte, one after another; the entry that holds it is named, or the one
    // beside it where the two contradict each other.
    for at in (0..whole.len()).step_by(7) {
        let mut altered = whole.clone();
        // A zero is what stands behind the end of a log that is being written.
        altered[at] = if at % 3 == 0 { 0 } else { altered[at] ^ 1 };
        fs::write(&path, &altered).expect("written");
        let found = world.verdict().expect_err("altered");
        let holder = whole[..at].iter().filter(|byte| **byte == b'\n').count();
        let near = (holder.saturating_sub(1)..=holder + 1)
            .any(|entry| found.starts_with(&format!("entry {entry}:")));
        assert!(near, "byte {at} of entry {holder}: {found}");
    }
    fs::write(&path, &whole).expect("written");
    assert_eq!(world.verdict(), Ok(()));
}

#[test]
fn checkpoints_that_were_altered_or_signed_by_another_are_found() {
    let world = World::new();
    world.fill(5);
    let path = world.path().join("checkpoints");
    let whole = fs::read_to_string(&path).expect("readable");
    fs::write(&path, whole.replace("\n9\n", "\n8\n")).expect("written");
    assert!(world.verdict().is_err(), "another size");
    let other = World::new();
    other.fill(5);
    fs::copy(other.path().join("checkpoints"), &path).expect("copied");
    assert!(world.verdict().is_err(), "another key");
}

#[test]
fn an_anchor_elsewhere_shows_what_the_log_no_longer_has() {
    let world = World::new();
    let anchor = world.folder.path().join("anchor");
    let options = Options { anchors: vec![anchor.clone()], ..world.options() };
    let (ledger, _) =
        Ledger::open(options, Arc::clone(&world.clock) as Arc<dyn Clock>, &*world.clock).expect("opens");
    for at in 0..10 {
        call(&ledger, &world.clock, at);
    }
    drop(ledger);
    // Whoever owns the folder rewrites all of it: entries and checkpoints.
    let path = world.segments().remove(0);
    let whole = fs::read(&path).expect("readable");
    let half: Vec<u8> = whole.split_inclusive(|byte| *byte == b'\n').take(4).flatten().copied().collect();
    fs::write(&path, half).expect("written");
    fs::write(world.path().join("checkpoints"), "").expect("written");
    let alone = world.verdict().expect_err("nothing is signed any more");
    assert!(alone.starts_with("no checkpoint vouches for any of 4 entries"), "{alone}");
    let report =
        verify(&world.path(), &Against { anchors: &[anchor], ..Against::default() }).expect("readable");
    assert_eq!(report.first_bad().as_deref(), Some("4"));
}

#[test]
fn open_decisions_are_closed_as_unknown_once() {
    let world = World::new();
    let copy = tempfile::tempdir().expect("a folder");
    {
        let (ledger, _) = world.open();
        call(&ledger, &world.clock, 0);
        ledger.flush().expect("written");
        let open = decide(&ledger, &world.clock, 1, false).expect("written");
        call(&ledger, &world.clock, 2);
        copy_folder(&world.path(), &copy.path().join("log"));
        // The copy is what a killed process would have left.
        ledger.settle(open, &outcome(Outcome::Success)).expect("written");
    }
    let killed = World { folder: copy, clock: Arc::clone(&world.clock) };
    let (ledger, recovery) = killed.open();
    assert_eq!((recovery.entries, recovery.closed), (4, vec![2]));
    let unknown = Filter { outcomes: vec!["unknown".to_owned()], limit: 10, ..Filter::default() };
    assert_eq!(ledger.query(&unknown).expect("rows").len(), 1);
    drop(ledger);
    let (_ledger, recovery) = killed.open();
    assert_eq!(recovery.closed, Vec::<u64>::new());
    assert_eq!(killed.verdict(), Ok(()));
}

#[test]
fn a_torn_end_is_set_aside_wherever_it_was_torn() {
    let world = World::new();
    let (ledger, _) = world.open();
    for at in 0..3 {
        call(&ledger, &world.clock, at);
    }
    ledger.flush().expect("written");
    let ended = fs::read(world.segments().remove(0)).expect("readable");
    let torn = decide(&ledger, &world.clock, 3, true).expect("written");
    let whole = fs::read(world.segments().remove(0)).expect("readable");
    drop(torn);
    for length in (ended.len()..whole.len()).step_by(5) {
        let folder = tempfile::tempdir().expect("a folder");
        let crashed = World { folder, clock: Arc::clone(&world.clock) };
        fs::create_dir_all(crashed.path().join("segments")).expect("created");
        copy_folder(&world.path().join("keys"), &crashed.path().join("keys"));
        // A log that many wrote to goes on with zeros.
        let zeros = vec![0; (length % 2) * 70_000];
        let path = crashed.path().join("segments/00000000000000000000.log");
        fs::write(&path, [&whole[..length], &zeros].concat()).expect("written");
        let (ledger, recovery) = crashed.open();
        assert_eq!((recovery.entries, recovery.cut_bytes), (5, (length - ended.len()) as u64));
        assert_eq!(fs::read(&path).expect("readable"), ended, "and nothing else");
        call(&ledger, &crashed.clock, 9);
        drop(ledger);
        assert_eq!(crashed.verdict(), Ok(()), "cut at {length}");
    }
    drop(ledger);
}

#[test]
fn zeros_behind_the_last_entry_are_nothing() {
    let world = World::new();
    world.fill(6);
    let path = world.segments().remove(0);
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, [&whole[..], &[0; 100_000]].concat()).expect("written");
    assert_eq!(world.verdict(), Ok(()));
    let index = Index::open_caught_up(&world.path()).expect("an index");
    assert_eq!(index.stats(&Filter::default()).expect("stats").total, 6);
    let (ledger, recovery) = world.open();
    assert_eq!(recovery, Recovery { entries: 10, closed: vec![], cut_bytes: 0 });
    assert_eq!(fs::read(&path).expect("readable"), whole);
    call(&ledger, &world.clock, 6);
    drop(ledger);
    // Something behind the zeros is no entry, and stays to be looked at.
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, [&whole[..], &[0; 5_000], b"more\n"].concat()).expect("written");
    assert!(world.verdict().is_err_and(|found| found.starts_with("entry 12")));
    let (_ledger, recovery) = world.open();
    assert_eq!((recovery.entries, recovery.cut_bytes), (12, 5_005));
}

#[test]
fn damage_before_a_checkpoint_is_not_continued() {
    let world = World::new();
    world.fill(6);
    let path = world.segments().remove(0);
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, &whole[..whole.len() - 10]).expect("written");
    assert!(matches!(world.try_open(), Err(LedgerError::Damaged { .. })));
}

#[test]
fn segments_turn_over_and_the_log_goes_on() {
    let world = World::new();
    let options = Options { segment_bytes: 4_000, ..world.options() };
    let open = || Ledger::open(options.clone(), Arc::clone(&world.clock) as Arc<dyn Clock>, &*world.clock);
    for round in 0..3 {
        let (ledger, _) = open().expect("opens");
        for at in 0..20 {
            call(&ledger, &world.clock, at);
        }
        let rows = ledger.query(&Filter { limit: 1_000, ..Filter::default() }).expect("rows");
        assert_eq!(rows.len(), 20 * (round + 1));
    }
    assert!(world.segments().len() > 5);
    assert_eq!(world.verdict(), Ok(()));
    // Without its index, the log answers the same.
    fs::remove_file(world.path().join("index.db")).expect("removed");
    let (ledger, _) = open().expect("opens");
    assert_eq!(ledger.query(&Filter { limit: 1_000, ..Filter::default() }).expect("rows").len(), 60);
}

#[test]
fn many_threads_leave_one_unbroken_log() {
    let world = World::new();
    let (ledger, _) = world.open();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (ledger, clock) = (ledger.clone(), &world.clock);
            scope.spawn(move || {
                for at in 0..200 {
                    call(&ledger, clock, thread * 1_000 + at);
                }
            });
        }
    });
    assert_eq!(ledger.stats(&Filter::default()).expect("stats").total, 1_600);
    let report = ledger.verify().expect("readable");
    assert!(report.is_valid(), "{:?}", report.faults);
    assert!(report.covered == report.entries);
}

#[test]
fn a_closed_log_ends_with_its_last_entry() {
    let world = World::new();
    let options = Options { durability: Durability::Durable, ..world.options() };
    let (ledger, _) =
        Ledger::open(options, Arc::clone(&world.clock) as Arc<dyn Clock>, &*world.clock).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (ledger, clock) = (ledger.clone(), &world.clock);
            scope.spawn(move || {
                for at in 0..50 {
                    call(&ledger, clock, thread * 1_000 + at);
                }
            });
        }
    });
    drop(ledger);
    let whole = fs::read(world.segments().remove(0)).expect("readable");
    assert!(!whole.contains(&0) && whole.ends_with(b"}\n"));
    assert_eq!(world.verdict(), Ok(()));
}

#[test]
fn a_log_that_cannot_be_written_refuses_loses_nothing_and_comes_back() {
    let world = World::new();
    // A segment of zero bytes begins with every entry, and where it would begin
    // there is a folder in the way: as unwritable as a full disk.
    let options = Options { segment_bytes: 1, ..world.options() };
    let (ledger, _) =
        Ledger::open(options, Arc::clone(&world.clock) as Arc<dyn Clock>, &*world.clock).expect("opens");
    call(&ledger, &world.clock, 0);
    ledger.flush().expect("written");
    let open = decide(&ledger, &world.clock, 1, false).expect("written");
    let obstacle = world.path().join("segments/00000000000000000003.log");
    fs::create_dir(&obstacle).expect("created");
    ledger.settle(open, &outcome(Outcome::Success)).expect("kept");
    for at in 2..5 {
        assert!(decide(&ledger, &world.clock, at, false).is_err());
        assert!(ledger.healthy().is_err());
        assert!(ledger.flush().is_err());
    }
    fs::remove_dir(&obstacle).expect("removed");
    assert!(ledger.healthy().is_ok(), "it comes back by itself");
    call(&ledger, &world.clock, 6);
    let rows = ledger.query(&Filter { limit: 100, ..Filter::default() }).expect("rows");
    let outcomes: Vec<_> = rows.iter().filter_map(|row| row.outcome.as_deref()).collect();
    assert_eq!(outcomes, ["success"; 3], "what was refused is not in the log, what happened is");
    drop(ledger);
    assert_eq!(world.verdict(), Ok(()));
}

#[test]
fn a_refusal_is_not_answered_when_the_write_that_failed_was_another_calls() {
    for durability in [Durability::Strict, Durability::Durable, Durability::Relaxed] {
        let world = World::new();
        let options = Options { segment_bytes: 1, durability, ..world.options() };
        let (ledger, _) =
            Ledger::open(options, Arc::clone(&world.clock) as Arc<dyn Clock>, &*world.clock).expect("opens");
        call(&ledger, &world.clock, 0);
        ledger.flush().expect("written");
        let obstacle = world.path().join("segments/00000000000000000002.log");
        fs::create_dir(&obstacle).expect("created");
        // Both have their place in one write, and the other call is the one that makes it.
        let refused = place(&ledger, &world.clock, 2, true).expect("a place");
        let other = place(&ledger, &world.clock, 1, false).expect("a place");
        assert!(block_on(ledger.before_dispatch(&other)).is_err());
        let answer = block_on(async {
            tokio::time::timeout(Duration::from_secs(5), ledger.before_answer(&refused)).await
        });
        assert!(answer.expect("it is known at once").is_err(), "{durability:?}");
        fs::remove_dir(&obstacle).expect("removed");
        ledger.healthy().expect("it comes back");
        // Its number is now another entry's.
        assert!(block_on(ledger.before_answer(&refused)).is_err(), "{durability:?}");
        drop(ledger);
        let logged = fs::read_to_string(world.segments().remove(0)).expect("readable");
        assert!(!logged.contains("\"outcome\":\"denied\""));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_finds_what_a_scan_finds(calls in 1_usize..60, server in prop::option::of(prop::sample::select(vec!["even", "odd", "o*"])), denied: bool) {
        let world = World::new();
        let (ledger, _) = world.open();
        for at in 0..calls {
            call(&ledger, &world.clock, at);
        }
        let filter = Filter {
            servers: server.map(str::to_owned).into_iter().collect(),
            status: denied.then_some(doorward_ledger::Status::Denied),
            limit: 1_000,
            ..Filter::default()
        };
        let found = ledger.query(&filter).expect("rows").len();
        let fits = |at: &usize| {
            let odd = at % 2 == 1;
            let on_server = match server { None => true, Some("even") => !odd, Some(_) => odd };
            on_server && (!denied || at % 3 == 2)
        };
        prop_assert_eq!(found, (0..calls).filter(fits).count());
    }
}

/// Every file of a log with what is in it, and when it was changed.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push((path.clone(), fs::read(path).expect("readable"))),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_look_at_a_log_changes_nothing_and_finds_what_the_next_start_would() {
    let world = World::new();
    let look = || inspect(&world.path(), &world.path().join("keys"), "doorward", &[]);
    assert_eq!(look().expect("no log"), None);
    world.fill(30);
    let whole = look().expect("readable").expect("a log");
    assert_eq!((whole.unfinished_bytes, whole.open), (0, 0));
    let checkpoint = whole.checkpoint.clone().expect("signed when it was closed");
    assert_eq!(checkpoint.size, whole.entries);
    assert!(whole.from > 0, "it begins where a signature vouches for the rest");

    // A torn end is counted and stays.
    let last = world.segments().pop().expect("a segment");
    let mut bytes = fs::read(&last).expect("readable");
    bytes.extend_from_slice(b"{\"_seq\":4");
    fs::write(&last, &bytes).expect("written");
    let before = files(&world.path());
    assert_eq!(look().expect("readable").expect("a log").unfinished_bytes, 9);
    assert_eq!(files(&world.path()), before);

    // The last entry that a checkpoint covers is altered.
    let at = bytes.windows(4).rposition(|window| window == b"kind").expect("an entry");
    bytes[at] = b'K';
    fs::write(&last, &bytes).expect("written");
    assert!(matches!(look(), Err(LedgerError::Damaged { .. })), "{:?}", look());

    // Another key than the one that signed it.
    fs::remove_file(world.path().join("keys/ledger-signing.key")).expect("removed");
    assert!(matches!(look(), Err(LedgerError::OtherKey(_))), "{:?}", look());
}

#[test]
#[cfg(target_os = "linux")]
fn who_holds_a_log_is_found_without_its_lock() {
    let world = World::new();
    assert_eq!(holder(&world.path()), None);
    let (ledger, _) = world.open();
    assert_eq!(holder(&world.path()), Some(format!("process {}", std::process::id())));
    ledger.close();
    drop(ledger);
    assert_eq!(holder(&world.path()), None);
}
