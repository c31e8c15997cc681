//! Whoever can write to the folder of a log, but not to `keyDir`, against the log.

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use doorward_ledger::{
    Against, Ledger, LedgerError, Options, Recovery, Report, inspect, is_origin, leaf_hash, verify,
};
use doorward_model::{Clock, Seal, SealError};
use world::{World, call, copy_folder};

/// A log whose keys are out of reach for who attacks it.
struct Held {
    world: World,
    anchors: Vec<PathBuf>,
}

impl Held {
    fn new() -> Self {
        Self { world: World::new(), anchors: Vec::new() }
    }

    /// The same, with calls in it.
    fn filled(calls: usize) -> Self {
        let held = Self::new();
        held.fill(calls);
        held
    }

    fn keys(&self) -> PathBuf {
        self.world.folder.path().join("keys")
    }

    fn log(&self) -> PathBuf {
        self.world.path()
    }

    fn options(&self) -> Options {
        Options { keys: self.keys(), anchors: self.anchors.clone(), ..self.world.options() }
    }

    fn open(&self, options: Options) -> Result<(Ledger, Recovery), LedgerError> {
        Ledger::open(options, Arc::clone(&self.world.clock) as Arc<dyn Clock>, &*self.world.clock)
    }

    /// A key of this name that is of the right form and another one: the clock of the tests,
    /// which chance comes from, gives all logs the same salt.
    fn keys_of_another(&self, name: &str) -> Vec<u8> {
        let key = fs::read(self.keys().join(name)).expect("a key");
        if name.contains("salt") { vec![9; key.len()] } else { key }
    }

    fn fill(&self, calls: usize) {
        let (ledger, _) = self.open(self.options()).expect("opens");
        for at in 0..calls {
            call(&ledger, &self.world.clock, at);
        }
        ledger.close();
    }

    fn report(&self) -> Report {
        let keys = self.keys();
        let against =
            Against { anchors: &self.anchors, keys: Some((&keys, "doorward")), ..Against::default() };
        verify(&self.log(), &against).expect("readable")
    }

    fn look(&self) -> Result<(), LedgerError> {
        inspect(&self.log(), &self.keys(), "doorward", &self.anchors).map(drop)
    }

    fn segment(&self) -> PathBuf {
        self.world.segments().remove(0)
    }

    /// What the first entry of the log says.
    fn first_entry(&self) -> serde_json::Value {
        let text = fs::read_to_string(self.segment()).expect("a segment");
        serde_json::from_str(text.lines().next().expect("an entry")).expect("JSON")
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.expect("removed");
}

/// Everything that was signed up to here, as it stood.
struct Earlier(Vec<(PathBuf, Vec<u8>)>);

impl Earlier {
    fn of(held: &Held) -> Self {
        let files = [held.segment(), held.log().join("checkpoints"), held.log().join("bookmark.json")];
        Self(files.map(|file| (file.clone(), fs::read(&file).expect("readable"))).into())
    }

    fn put_back(self) {
        for (file, bytes) in self.0 {
            fs::write(file, bytes).expect("written");
        }
    }
}

#[test]
fn a_log_that_shrank_or_vanished_is_named_and_not_continued() {
    type Theft = fn(&Held);
    let gone = |names: &'static [&'static str]| names;
    let thefts: [(&str, &[&str]); 4] = [
        ("the segments", gone(&["segments"])),
        ("the checkpoints", gone(&["checkpoints"])),
        ("all that speaks", gone(&["segments", "checkpoints", "bookmark.json", "index.db"])),
        ("everything", gone(&[])),
    ];
    for (what, names) in thefts {
        let held = Held::filled(20);
        if names.is_empty() {
            remove(&held.log());
        }
        names.iter().for_each(|name| remove(&held.log().join(name)));
        let report = held.report();
        assert!(!report.is_valid() && report.covered == 34, "{what}: {report:?}");
        let looked = held.look().expect_err(what);
        let refused = held.open(held.options()).map(drop).expect_err(what);
        for error in [looked, refused] {
            assert!(matches!(&error, LedgerError::Less { known: 34, found: 0, .. }), "{what}: {error}");
            assert!(error.to_string().contains("--new-log"), "it names the remedy: {error}");
        }
    }
    let earlier: Theft = |held| {
        let earlier = Earlier::of(held);
        held.fill(5);
        earlier.put_back();
    };
    let held = Held::filled(20);
    earlier(&held);
    assert_eq!(held.report().first_bad().as_deref(), Some("34"), "cut to an earlier checkpoint");
    let refused = held.open(held.options()).map(drop).expect_err("cut");
    assert!(matches!(refused, LedgerError::Less { known: 43, found: 34, .. }), "{refused}");
}

#[test]
fn a_verdict_that_was_turned_is_found_although_all_hashes_were_computed_anew() {
    let held = Held::filled(20);
    let text = fs::read_to_string(held.segment()).expect("text");
    let mut previous = String::new();
    let mut forged = String::new();
    for line in text.lines() {
        let mut entry = line.replacen("\"verdict\":\"deny\"", "\"verdict\":\"allow\"", 1);
        if !previous.is_empty() {
            let start = "{\"_prev\":\"".len();
            entry.replace_range(start..start + 64, &previous);
        }
        previous = leaf_hash(entry.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        forged += &(entry + "\n");
    }
    assert_ne!(text, forged);
    fs::write(held.segment(), forged).expect("written");
    remove(&held.log().join("bookmark.json"));
    remove(&held.log().join("checkpoints"));
    assert!(!held.report().is_valid());
    assert!(matches!(held.look(), Err(LedgerError::Fork { .. })), "{:?}", held.look());
    assert!(matches!(held.open(held.options()), Err(LedgerError::Fork { .. })));
    // Nobody signed what is there: a copy of it without the keys holds no better.
    let alone = verify(&held.log(), &Against::default()).expect("readable");
    assert!(!alone.is_valid() && alone.covered == 0, "{alone:?}");
}

#[test]
fn a_log_that_was_signed_anew_with_another_key_is_not_this_log() {
    let (held, other) = (Held::filled(20), Held::filled(25));
    remove(&held.log());
    copy_folder(&other.log(), &held.log());
    assert!(verify(&held.log(), &Against::default()).expect("readable").is_valid(), "by itself it holds");
    let report = held.report();
    assert!(report.faults[0].reason.contains("public key"), "{report:?}");
    assert!(matches!(held.open(held.options()), Err(LedgerError::OtherKey(_))));
    // Who has the real key written down needs no keyDir.
    let public = fs::read_to_string(other.log().join("ledger.pub")).expect("a key");
    let real = other.report();
    assert!(real.is_valid());
    let with =
        |key: &str| verify(&held.log(), &Against { key: Some(key), ..Against::default() }).expect("readable");
    assert!(with(public.trim()).is_valid());
    let mine = Held::filled(1);
    let mine = fs::read_to_string(mine.log().join("ledger.pub")).expect("a key");
    assert!(!with(mine.trim()).is_valid());
}

#[test]
fn other_keys_than_the_log_was_written_with_are_refused() {
    #[derive(Debug)]
    struct Sealer(u8);
    impl Seal for Sealer {
        fn seal(&self, _: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError> {
            Ok(clear.to_vec())
        }
        fn open(&self, _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
            Ok(sealed.to_vec())
        }
        fn fingerprint(&self) -> Option<[u8; 32]> {
            Some([self.0; 32])
        }
    }
    let held = Held::new();
    let sealed = |key| Options { seal: Some(Arc::new(Sealer(key))), ..held.options() };
    let run = |options: Options| {
        let (ledger, _) = held.open(options)?;
        call(&ledger, &held.world.clock, 0);
        ledger.close();
        Ok(())
    };
    run(sealed(1)).expect("begins");
    run(sealed(1)).expect("the same key");
    let refused: Result<(), LedgerError> = run(sealed(2));
    assert!(
        matches!(&refused, Err(LedgerError::OtherSecret(path)) if path.ends_with("seal.key")),
        "{refused:?}"
    );
    for name in ["ledger-salt.key", "ledger-signing.key"] {
        let path = held.keys().join(name);
        let real = fs::read(&path).expect("a key");
        remove(&path);
        let refused = run(sealed(1));
        assert!(matches!(&refused, Err(LedgerError::MissingKey(missing)) if *missing == path), "{refused:?}");
        assert!(!path.exists(), "none is made in its place");
        let other = Held::filled(1).keys_of_another(name);
        fs::write(&path, other).expect("written");
        let refused = run(sealed(1));
        assert!(matches!(&refused, Err(LedgerError::OtherSecret(other)) if *other == path), "{refused:?}");
        fs::write(&path, real).expect("put back");
        run(sealed(1)).expect("the real one");
    }
    assert!(held.report().is_valid());
}

#[test]
fn a_new_log_begins_with_the_reason_and_the_old_one_is_set_aside() {
    let held = Held::filled(20);
    let whole = fs::read(held.segment()).expect("readable");
    let told = || Options { new_log: Some("disk lost".to_owned()), ..held.options() };
    assert!(matches!(held.open(told()), Err(LedgerError::Holds(_))), "what holds is not set aside");
    assert!(held.report().is_valid());
    remove(&held.log().join("checkpoints"));
    let (ledger, recovery) = held.open(told()).expect("begins anew");
    assert_eq!(recovery.entries, 0);
    call(&ledger, &held.world.clock, 0);
    ledger.close();
    drop(ledger);
    let first = held.first_entry();
    assert_eq!((&first["event"], &first["reason"]), (&"new-log".into(), &"disk lost".into()));
    let detail = first["detail"].as_str().expect("a text");
    assert!(detail.contains("keyDir knew 34 signed entries, root "), "{detail}");
    let aside = fs::read_dir(held.log()).expect("a folder").filter_map(Result::ok);
    let aside = aside.map(|entry| entry.path()).find(|path| path.display().to_string().contains("set-aside"));
    let aside = aside.expect("it is set aside");
    assert_eq!(fs::read(aside.join("segments/00000000000000000000.log")).expect("kept"), whole);
    assert!(aside.join("known.json").exists());
    assert!(held.report().is_valid(), "{:?}", held.report());
    held.fill(3);
    assert!(held.report().is_valid());
}

#[test]
fn a_copy_that_went_its_own_way_is_found_by_the_anchor() {
    let mut held = Held::new();
    held.anchors = vec![held.world.folder.path().join("anchor")];
    held.fill(20);
    // A copy of everything, keys and all, as a backup has it.
    let copied = Held { anchors: held.anchors.clone(), ..Held::new() };
    copy_folder(&held.log(), &copied.log());
    copy_folder(&held.keys(), &copied.keys());
    held.fill(5);
    let refused = copied.open(copied.options()).map(drop).expect_err("it is behind its anchor");
    assert!(
        matches!(&refused, LedgerError::Less { by, known: 43, .. } if *by == held.anchors[0]),
        "{refused}"
    );
    assert!(matches!(copied.look(), Err(LedgerError::Less { .. })));
    // While the anchor was away, it went on.
    let without = Options { anchors: Vec::new(), ..copied.options() };
    let (ledger, _) = copied.open(without).expect("opens");
    for at in 0..30 {
        call(&ledger, &copied.world.clock, at + 100);
    }
    ledger.close();
    drop(ledger);
    let refused = copied.open(copied.options()).map(drop).expect_err("it is another log now");
    assert!(matches!(&refused, LedgerError::Fork { by, entries: 43 } if *by == held.anchors[0]), "{refused}");
    assert!(!copied.report().is_valid());
    // The one that the anchor knows goes on.
    held.fill(1);
    assert!(held.report().is_valid());
}

#[test]
fn a_first_start_and_a_log_from_before_are_nobodys_alarm() {
    let held = Held::filled(3);
    let memory = || {
        let entries =
            fs::read_dir(held.keys()).expect("a folder").filter_map(|entry| Some(entry.ok()?.path()));
        entries.filter(|path| path.extension().is_some_and(|it| it == "json")).collect::<Vec<_>>()
    };
    let [known] = &memory()[..] else { panic!("one log, one memory: {:?}", memory()) };
    // An earlier version remembered nothing.
    remove(known);
    held.fill(3);
    assert!(known.exists() && held.report().is_valid());
    // Another log with the same keys, as a replica has one.
    let log = held.world.folder.path().join("second");
    let (ledger, _) = held.open(Options { folder: log.clone(), ..held.options() }).expect("begins");
    call(&ledger, &held.world.clock, 0);
    ledger.close();
    drop(ledger);
    assert_eq!(memory().len(), 2);
    // Keys that nothing can be written beside.
    remove(known);
    let obstacle = known.with_extension("new");
    fs::create_dir(&obstacle).expect("in the way");
    held.fill(3);
    assert!(!known.exists() && held.report().is_valid());
}

#[test]
fn what_is_remembered_and_cannot_be_read_is_not_nothing() {
    let held = Held::filled(3);
    for entry in fs::read_dir(held.keys()).expect("a folder").filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|it| it == "json") {
            fs::write(entry.path(), "{}").expect("written");
        }
    }
    assert!(matches!(held.open(held.options()), Err(LedgerError::Memory(_))));
    assert!(matches!(held.look(), Err(LedgerError::Memory(_))));
}

#[test]
fn a_log_has_no_name_that_its_checkpoints_could_not_carry() {
    let held = Held::new();
    for origin in ["", "a b", "a+b", "a\nb"] {
        assert!(!is_origin(origin));
        let refused = held.open(Options { origin: origin.to_owned(), ..held.options() });
        assert!(matches!(refused, Err(LedgerError::Origin(_))), "{origin:?}");
    }
    assert!(!held.log().exists() && !held.keys().exists(), "nothing was left behind");
}
