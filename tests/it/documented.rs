//! What the program has has an entry in the reference: members and commands have generated pages
//! (`crates/doorward/tests/generated.rs`), and metrics stand in a table.

use std::path::Path;

use bytes::Bytes;
use hyper::Method;
use serde_json::json;

use crate::world::{ALICE, STAFF_MAY_ALL, World};

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_an_entry_and_every_entry_a_metric() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
    assert_eq!(
        world.modern("/mcp", "gw_wrong").call("github__echo", json!({})).await.summary(),
        "401 -32600"
    );
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(world.config_path(), config + "# changed\n").expect("written");
    world.running.reload().expect("a valid file");
    let metrics = world.modern("/metrics", ALICE);
    let answer = metrics.raw(Method::GET, &metrics.headers(), Bytes::new()).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let named = |mark: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    let metrics = named("# TYPE ");
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let page = ["telemetry.md", "operating.md"]
        .map(|name| std::fs::read_to_string(reference.join(name)).expect("the page"));
    let page = page.concat();
    let entries: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `doorward_")?.split(['{', '`']).next())
        .map(|name| format!("doorward_{name}"))
        .collect();
    assert!(metrics.len() > 5, "{text}");
    let is = |entry: &str, metric: &str| {
        entry.strip_suffix("_total").unwrap_or(entry) == metric.strip_suffix("_total").unwrap_or(metric)
    };
    let without: Vec<_> =
        metrics.iter().filter(|metric| !entries.iter().any(|entry| is(entry, metric))).collect();
    assert!(
        without.is_empty(),
        "without an entry in docs/reference/telemetry.md or operating.md: {without:?}"
    );
    // Those of spans are there only if somebody collects them.
    let stale: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.starts_with("doorward_spans_"))
        .filter(|entry| !metrics.iter().any(|metric| is(entry, metric)))
        .collect();
    assert!(stale.is_empty(), "entries of metrics that there are not: {stale:?}");
    world.stop().await;
}
