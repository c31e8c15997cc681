//! The clock of the machine jumps: forward by more than a year, back by an hour. Calls go on,
//! limits and sessions do not notice, keys end by the day it is, and the log verifies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorward_model::Timestamp;
use serde_json::json;

use crate::program::Program;
use crate::world::{ALICE, BOB, Client, Recorder, STAFF_MAY_ALL, Speaks, configuration, doorward, entries};

/// libfaketime, where `cargo xtask test` put it.
fn library() -> PathBuf {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"];
    let mut all = places.iter().map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"));
    all.find(|path| path.exists()).expect("libfaketime: run `cargo xtask test` once")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_changes_dates_and_nothing_else() {
    let recorder = Recorder::start("github", Speaks::Legacy).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("gateway.yaml");
    // Two at once and then one a minute: with a clock that jumps by a year there would be many.
    let rest = format!(
        "limits: [{{name: slow, kind: rate, key: person, tool: get_issue, max: 1, per: minute, burst: 2}}]\nrateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}"
    );
    let text = configuration(folder.path(), std::slice::from_ref(&recorder), &rest);
    // Bob's key ends in a month.
    let end =
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + Duration::from_secs(30 * 86_400);
    let end = Timestamp::from_micros(u64::try_from(end.as_micros()).expect("in time"));
    let text = text.replace("roles: [guest]", &format!("roles: [staff], expiresAt: \"{end}\""));
    fs::write(&config, text).expect("written");
    let clock = folder.path().join("clock");
    let jump = |offset: &str| {
        let next = folder.path().join("clock.next");
        fs::write(&next, offset).expect("written");
        fs::rename(next, &clock).expect("renamed");
    };
    jump("+0");
    let library = library();
    let variables = [
        ("LD_PRELOAD", library.to_str().expect("a text")),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a text")),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let gateway = Program::start(&config, &folder.path().join("log"), &variables).await;
    let modern = Client::modern(gateway.address, "/mcp", ALICE);
    let legacy = Client::legacy(gateway.address, "/mcp", ALICE, "2025-11-25").await;
    for is_used_up in [false, false, true] {
        assert_eq!(modern.call("github__get_issue", json!({})).await.is_limited(), is_used_up);
    }
    // A step back, a leap forward, and back again, and half a minute in small steps: only whether
    // a key has ended depends on it.
    let ends = Client::modern(gateway.address, "/mcp", BOB);
    let jumps = [("-3600", 200), ("+0", 200), ("+400d", 401), ("+0", 200)];
    let jumps = jumps.map(|(offset, ending)| (offset.to_owned(), ending)).into_iter();
    let steps = (-30..=30).step_by(10).map(|seconds| (format!("{seconds:+}"), 200));
    for (offset, ending) in jumps.chain(steps) {
        jump(&offset);
        for _ in 0..5 {
            assert_eq!(modern.call("github__echo", json!({"at": offset})).await.status, 200, "{offset}");
        }
        assert_eq!(ends.call("github__echo", json!({"until": offset})).await.status, ending, "{offset}");
        assert_eq!(legacy.call("github__echo", json!({"in": offset})).await.status, 200, "{offset}");
        assert!(modern.call("github__get_issue", json!({})).await.is_limited(), "{offset}");
    }
    gateway.stop().await;
    let verified = doorward(&config, &["audit", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
    let all = entries(folder.path());
    let numbers: Vec<_> = all.iter().filter_map(|entry| entry["_seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "in the order in which things happened");
    let years: std::collections::BTreeSet<_> =
        all.iter().filter_map(|entry| entry["time"].as_str()?.get(..4).map(str::to_owned)).collect();
    assert!(years.len() >= 2, "with the dates that the clock showed: {years:?}");
    let log = fs::read_to_string(folder.path().join("log")).expect("readable");
    assert!(!log.contains("panicked"), "{log}");
}
