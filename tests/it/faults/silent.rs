//! A server that stops answering: its calls cost their timeout, then nothing, and it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorward::runtime::Surroundings;
use doorward::system::SystemClock;
use doorward_model::{Clock, ServerId, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::world::{ALICE, STAFF_MAY_ALL, Speaks, World, system};

const CHILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/upstream/tests/child.py");
/// The longest that a call of the child may take.
const TIMEOUT: Duration = Duration::from_millis(400);

/// Real time, which can be moved ahead.
struct Skipping {
    system: SystemClock,
    ahead: AtomicU64,
}

impl Clock for Skipping {
    fn now(&self) -> Timestamp {
        self.system.now()
    }

    fn elapsed(&self) -> Duration {
        self.system.elapsed() + Duration::from_secs(self.ahead.load(Ordering::SeqCst))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_costs_its_callers_little_and_nobody_else_anything() {
    let clock = Arc::new(Skipping { system: SystemClock::default(), ahead: AtomicU64::new(0) });
    let surroundings = Surroundings { clock: clock.clone(), ..system() };
    let rest = format!(
        "  - {{id: child, command: python3, args: [-S, -u, \"{CHILD}\"], timeout: {}, enabled: true}}\n{STAFF_MAY_ALL}",
        TIMEOUT.as_millis()
    );
    let world = World::start_surrounded(&["github"], Speaks::Modern, &rest, surroundings).await;
    let client = world.modern("/mcp", ALICE);
    assert_eq!(client.call("child__echo", json!({"a": 1})).await.json()["result"]["a"], 1);
    let child = ServerId::try_from("child").expect("an id");
    let pid = world.gateway().upstreams().status(&child).and_then(|status| status.pid).expect("it runs");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");

    kill_process(pid, Signal::STOP).expect("stopped");
    let mut took = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let answer = client.call("child__echo", json!({})).await;
        took.push(started.elapsed());
        assert_eq!(code(&answer), "upstream-timeout", "{}", answer.text());
    }
    let answer = client.call("child__echo", json!({})).await;
    assert_eq!(code(&answer), "upstream-silent", "{}", answer.text());
    assert_eq!(client.call("github__echo", json!({})).await.text(), "{}", "others do not notice");

    kill_process(pid, Signal::CONT).expect("it goes on");
    clock.ahead.fetch_add(10, Ordering::SeqCst);
    for _ in 0..3 {
        let answer = client.call("child__echo", json!({"b": 2})).await;
        assert_eq!(answer.json()["result"]["b"], 2, "it is back: {}", answer.text());
    }
    let status = world.gateway().upstreams().status(&child).expect("configured");
    assert_eq!(status.restarts, 0, "the same process");
    let longest = took.iter().max().expect("five");
    println!("a timeout of {TIMEOUT:?} took {longest:?} at most; the sixth call failed at once");
    let ends: Vec<_> = world.records().iter().map(|it| it["outcome"].to_string()).collect();
    let expected = [&["success"][..], &["timeout"; 5], &["upstream_error"], &["success"; 4]];
    assert_eq!(ends, expected.concat().iter().map(|end| format!("{end:?}")).collect::<Vec<_>>());
    world.stop().await;
}

fn code(answer: &crate::world::Answer) -> String {
    answer.json()["result"]["_meta"]["dev.doorward/error"]["code"].as_str().unwrap_or("none").to_owned()
}
