//! What is sealed beside the log: taken away by others, altered, and removed after its time.

mod world;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use doorward_ledger::{Against, Capture, Ledger, Options, Report, verify};
use doorward_model::{Clock, Seal, SealError};
use world::{World, call};

/// Seals by adding the sum of all bytes, which is enough to notice an alteration.
#[derive(Debug)]
struct Sums;

impl Seal for Sums {
    fn seal(&self, context: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError> {
        let sum = context.iter().chain(clear).fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        Ok([clear, &[sum]].concat())
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (_, clear) = sealed.split_last().ok_or(SealError::Unknown)?;
        if self.seal(context, clear)? == sealed { Ok(clear.to_vec()) } else { Err(SealError::Altered) }
    }
}

fn open(world: &World, payload_days: Option<u32>) -> Ledger {
    let options =
        Options { capture: Capture::Full, seal: Some(Arc::new(Sums)), payload_days, ..world.options() };
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    Ledger::open(options, clock, &*world.clock).expect("opens").0
}

fn fill(world: &World, calls: usize) {
    let ledger = open(world, None);
    for at in 0..calls {
        call(&ledger, &world.clock, at);
    }
    ledger.close();
}

fn report(world: &World, seal: Option<&dyn Seal>) -> Report {
    verify(&world.path(), &Against { payloads: true, seal, ..Against::default() }).expect("readable")
}

fn minute(world: &World) -> PathBuf {
    world.path().join("payloads/2026-11-21/10-00")
}

#[test]
fn a_payload_that_was_altered_or_taken_away_is_found() {
    let world = World::new();
    fill(&world, 6);
    let whole = report(&world, Some(&Sums));
    // Six arguments, and four results of calls that were not denied.
    assert!(whole.is_valid(), "{whole:?}");
    assert_eq!(whole.payloads.as_ref().map(|kept| (kept.parts, kept.opened)), Some((10, true)));
    let bytes = fs::read(minute(&world)).expect("payloads");
    let mut altered = bytes.clone();
    altered[30] ^= 1;
    fs::write(minute(&world), &altered).expect("written");
    let found = report(&world, Some(&Sums));
    assert!(found.faults[0].reason.contains("it was altered"), "{found:?}");
    // Without the key only what is missing can be found.
    assert!(report(&world, None).is_valid());
    for kept in [0, bytes.len() / 2, bytes.len() - 1] {
        fs::write(minute(&world), &bytes[..kept]).expect("cut");
        for seal in [None, Some(&Sums as &dyn Seal)] {
            let found = report(&world, seal);
            let fault = found.faults.first().expect("something is missing");
            assert!(fault.reason.contains("of 2026-11-21 are missing"), "{fault}");
        }
    }
    fs::remove_dir_all(world.path().join("payloads")).expect("removed");
    let found = report(&world, Some(&Sums));
    assert!(found.faults[0].reason.starts_with("10 sealed"), "{found:?}");
}

#[test]
fn payloads_are_removed_after_their_time_the_log_says_so_and_they_are_not_missed() {
    let world = World::new();
    fill(&world, 3);
    let day = 24 * 60 * 60;
    world.clock.advance(Duration::from_secs(30 * day));
    fill(&world, 3);
    let first = world.path().join("payloads/2026-11-21");
    let second = world.path().join("payloads/2026-12-21");
    let ledger = open(&world, Some(30));
    assert_eq!(ledger.remove_expired().expect("looked"), 0, "thirty days are not over");
    world.clock.advance(Duration::from_secs(day));
    // A clock that is wrong for a moment costs nothing: what counts is the earlier look.
    assert_eq!(ledger.remove_expired().expect("looked"), 0);
    assert_eq!(ledger.remove_expired().expect("looked"), 1);
    assert!(!first.exists() && second.exists());
    ledger.close();
    drop(ledger);
    let found = report(&world, Some(&Sums));
    assert!(found.is_valid(), "{found:?}");
    assert_eq!(found.payloads.expect("looked at").since.as_deref(), Some("2026-11-22"));
    // What somebody else takes away is missed all the same.
    fs::remove_dir_all(second).expect("removed");
    assert!(!report(&world, Some(&Sums)).is_valid());
}
