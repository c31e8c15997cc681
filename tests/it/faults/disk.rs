//! A disk that fails: writes and syncs of the log end with errors, for a while or once at each
//! place in turn. What was answered is recorded, what was not recorded reached no server, and
//! the log verifies.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::Program;
use crate::world::{
    ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, doorward, eventually, records_in, times, written,
};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
/// What a file system answers that was mounted read-only because of an error.
const EROFS: i32 = 30;

/// A gateway on a disk that fails when it is told to.
struct Failing {
    recorder: Recorder,
    folder: TempDir,
    config: PathBuf,
    gateway: Program,
}

impl Failing {
    /// `library` is what makes it fail.
    async fn start(library: &Path, rest: &str) -> Self {
        let recorder = Recorder::start("github", Speaks::Modern).await;
        let folder = tempfile::tempdir().expect("a folder");
        let rest = format!("rateLimit: {{enabled: false}}\n{rest}{STAFF_MAY_ALL}");
        let config = written(folder.path(), &recorder, &rest);
        let control = folder.path().join("control");
        fs::write(&control, "none").expect("written");
        let variables = [
            ("LD_PRELOAD", library.to_str().expect("a text")),
            ("IOFAULT_PATH", "/audit/segments/"),
            ("IOFAULT_CTL", control.to_str().expect("a text")),
        ];
        let gateway = Program::start(&config, &folder.path().join("log"), &variables).await;
        Self { recorder, folder, config, gateway }
    }

    /// From now on, this fails.
    fn fail(&self, what: &str) {
        // Whole or not at all: it is read at every write.
        let next = self.folder.path().join("control.next");
        fs::write(&next, what).expect("written");
        fs::rename(next, self.folder.path().join("control")).expect("renamed");
    }

    fn client(&self) -> Client {
        Client::modern(self.gateway.address, "/mcp", ALICE)
    }

    async fn is_ready(&self) -> bool {
        let ready = Client::modern(self.gateway.address, "/readyz", ALICE);
        ready.raw(Method::GET, &ready.headers(), Bytes::new()).await.status == 200
    }

    /// Ends the gateway, and holds what clients and servers have seen against the log.
    async fn judge(self, answered: &BTreeSet<String>, what: &str) {
        self.gateway.stop().await;
        let verified = doorward(&self.config, &["audit", "verify"]).await;
        assert_eq!(verified.code, Some(0), "{what}: {}{}", verified.out, verified.err);
        let mark = |text: &str| {
            let args: Value = serde_json::from_str(text).unwrap_or_default();
            args["mark"].as_str().map(str::to_owned)
        };
        let records = records_in(self.folder.path());
        let recorded: BTreeSet<_> =
            records.iter().filter_map(|record| mark(record["args"].as_str().unwrap_or_default())).collect();
        let received: BTreeSet<_> = self
            .recorder
            .received()
            .iter()
            .filter_map(|it| Some(it.json()["params"]["arguments"]["mark"].as_str()?.to_owned()))
            .collect();
        let lost: Vec<_> = answered.difference(&recorded).collect();
        assert!(lost.is_empty(), "{what}: answered, not recorded: {lost:?}");
        let secret: Vec<_> = received.difference(&recorded).collect();
        assert!(secret.is_empty(), "{what}: received, not recorded: {secret:?}");
    }
}

/// Calls once; whether it was answered.
async fn call(client: &Client, mark: String, answered: &mut BTreeSet<String>) -> bool {
    let answer = client.call("github__echo", json!({ "mark": mark })).await;
    match answer.status {
        200 => answered.insert(mark),
        503 => false,
        other => panic!("{other}: {}", answer.text()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_cannot_be_written_nothing_passes_and_then_all_is_well() {
    let library = library();
    let writes = [ENOSPC, EIO, EROFS].map(|error| format!("write {error}"));
    for what in writes.into_iter().chain([format!("sync {EIO}")]) {
        let world = Failing::start(&library.1, "").await;
        let (client, mut answered) = (world.client(), BTreeSet::new());
        for at in 0..20 {
            assert!(call(&client, format!("before-{at}"), &mut answered).await);
        }
        world.fail(&what);
        let mut refused = 0;
        for at in 0..30 {
            refused += usize::from(!call(&client, format!("during-{at}"), &mut answered).await);
        }
        assert!(refused > 20, "{what}: {refused} refused");
        eventually("it says that it is not ready", async || !world.is_ready().await).await;
        let received = world.recorder.calls().len();
        assert!(!call(&client, "unheard".to_owned(), &mut answered).await, "{what}");
        assert_eq!(world.recorder.calls().len(), received, "{what}: it reached the server");
        world.fail("none");
        eventually("it is ready again, without a restart", async || world.is_ready().await).await;
        for at in 0..20 {
            assert!(call(&client, format!("after-{at}"), &mut answered).await, "{what}");
        }
        world.judge(&answered, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_or_a_sync_fails_once_nothing_is_lost() {
    let library = library();
    // With every test the places of the first calls.
    let (places, calls) = (times(48, 500), times(12, 200));
    for (durability, error) in [("strict", EIO), ("durable", EIO), ("relaxed", ENOSPC)] {
        for places in (1..=places).collect::<Vec<_>>().chunks(8) {
            let mut trying = tokio::task::JoinSet::new();
            for place in places {
                let what = format!("nth {place} {error}");
                // One after the other, so that no two of them find the same port free.
                let world =
                    Failing::start(&library.1, &format!("audit: {{durability: {durability}}}\n")).await;
                world.fail(&what);
                trying.spawn(async move {
                    let (client, mut answered) = (world.client(), BTreeSet::new());
                    for at in 0..calls {
                        call(&client, format!("{at}"), &mut answered).await;
                    }
                    world.judge(&answered, &format!("{durability}, {what}")).await;
                });
            }
            while let Some(tried) = trying.join_next().await {
                tried.expect("tried");
            }
        }
        println!("{durability}: each of {places} writes and syncs failed once: nothing is lost");
    }
}

/// The library that makes writes fail, and the folder it is in.
fn library() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("iofault.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/native/iofault.c"))
        .args(["-ldl"])
        .output()
        .expect("a C compiler, which building the gateway needs too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    (folder, library)
}
