//! Servers that people use, all behind one gateway at once: each is listed, called, killed and
//! called again, by clients of both eras, and what a guest is denied never reaches it. Nothing
//! here needs the network.

mod clients;
mod definitions;
mod entry;
mod place;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;

use clients::{Clients, status};
use definitions::Definition;
use entry::{Entry, Way};
use place::{Hosted, Place};

use crate::world::http::MODERN;
use crate::world::processes::{self, Process};
use crate::world::{page, records_in};

/// How often each client makes its calls: before the servers are killed, and after.
const ROUNDS: usize = 2;
/// One of either era, of those that may call and of those that may not.
const CLIENTS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn servers_people_use_are_listed_called_killed_and_called_again() {
    let place = Place::set().await;
    let table = table::table(&place);
    let mut hosted = host(&place, &table).await;
    let gateway = place.gateway(&table, &hosted).await;
    // Each with sessions of its own, which outlive the servers.
    let clients = join_all(table.iter().map(|_| Clients::of(&gateway))).await;
    let all_call = async || {
        join_all(clients.iter().zip(&table).map(|(clients, entry)| clients.call(entry))).await;
    };

    for list in clients[0].list().await {
        check_list(&place, &table, &list);
    }
    all_call().await;
    check_revisions(&place, &table, &status(&gateway).await);

    let entries = table.iter().filter(|entry| entry.way != Way::Stdio);
    join_all(hosted.iter_mut().zip(entries).map(|(host, entry)| host.replace(&place, entry))).await;
    let pid = gateway.pid();
    let killed = kill(&place, &table, pid);
    println!("{} processes were killed", killed.len());
    processes::gone("killed", &killed, pid).await;
    all_call().await;

    let last = started(&place, &table);
    gateway.stop().await;
    processes::gone("the gateway has ended", &last, pid).await;
    assert_eq!(started(&place, &table), BTreeSet::new(), "nobody started anything meanwhile");
    check_reached(&place, &table, &hosted);
    check_records(&place, &table);
    page::has("servers.md", &table.iter().map(Entry::row).collect::<Vec<_>>());
}

/// The servers with a port, in the table's order.
async fn host(place: &Place, table: &[Entry]) -> Vec<Hosted> {
    let hosted = table.iter().filter(|entry| entry.way != Way::Stdio);
    join_all(hosted.map(|entry| Hosted::start(place, entry))).await
}

/// All processes that the gateway's children are, or have started.
fn started(place: &Place, table: &[Entry]) -> BTreeSet<Process> {
    table.iter().flat_map(|entry| processes::marked(&place.mark(entry))).collect()
}

/// Kills every child of the gateway with its group; all that were running before.
fn kill(place: &Place, table: &[Entry], gateway: u32) -> BTreeSet<Process> {
    let all = started(place, table);
    for entry in table.iter().filter(|entry| entry.way == Way::Stdio) {
        let own = processes::marked(&place.mark(entry));
        assert_ne!(processes::kill_groups(&own, gateway), 0, "{} has a process", entry.id);
    }
    all
}

/// Each server's tools are there under its name, as it has defined them, and no others are.
fn check_list(place: &Place, table: &[Entry], listed: &[Definition]) {
    for entry in table {
        // Whoever has a port is the same program as one of the children.
        let child = table.iter().find(|other| other.package == entry.package && other.way == Way::Stdio);
        let texts = place.texts(child.expect("a child"), "said");
        let lines = texts.iter().flat_map(|text| text.lines());
        let own: Vec<_> = lines.filter_map(definitions::of).flatten().collect();
        let prefix = format!("{}__", entry.id);
        let listed = listed.iter().filter_map(|it| Some((it.name.strip_prefix(&prefix)?, it)));
        let listed: Vec<_> = listed.collect();
        assert_eq!(
            listed.len(),
            entry.tools,
            "{}: {:?}",
            entry.id,
            listed.iter().map(|it| it.0).collect::<Vec<_>>()
        );
        for (name, definition) in listed {
            let said = own.iter().filter(|it| it.name == name).collect::<Vec<_>>();
            assert!(said.iter().any(|it| it.is_like(definition)), "{definition:?}\n{said:?}");
        }
    }
    assert_eq!(listed.len(), table.iter().map(|entry| entry.tools).sum::<usize>(), "of nobody else");
}

/// Each server is spoken to in the newest revision that it has, unless it has both eras and was
/// so slow to start that it was asked in the older one as well.
fn check_revisions(place: &Place, table: &[Entry], status: &Value) {
    for entry in table {
        let said = &status[entry.id];
        let is_late = || place.texts(entry, "heard").concat().contains("\"initialize\"");
        let is_right = said["protocolVersion"] == entry.revision || (entry.revision == MODERN && is_late());
        assert!(is_right && said["status"] == "running", "{}: {said}", entry.id);
    }
}

/// Each server has received the calls that were allowed, and no others.
fn check_reached(place: &Place, table: &[Entry], hosted: &[Hosted]) {
    for entry in table {
        let expected: BTreeMap<_, _> =
            entry.calls.iter().map(|(tool, _)| ((*tool).to_owned(), ROUNDS * CLIENTS)).collect();
        if let Some(host) = hosted.iter().find(|host| host.id == entry.id) {
            let count = |tool: &str| host.tap.count(&format!(r#""name":"{tool}""#));
            // A call that meets a session which died with its server is made again in another.
            assert!(expected.iter().all(|(tool, times)| count(tool) >= *times), "{}", entry.id);
            assert_eq!(count(entry.denied), 0, "{}", entry.id);
            continue;
        }
        let mut received = BTreeMap::<String, usize>::new();
        let heard = place.texts(entry, "heard");
        assert_eq!(heard.len(), ROUNDS, "{} was started once for everybody, and once again", entry.id);
        for line in heard.iter().flat_map(|text| text.lines()) {
            let message: Value = serde_json::from_str(line).expect("JSON");
            if message["method"] == "tools/call" {
                *received
                    .entry(message["params"]["name"].as_str().expect("a name").to_owned())
                    .or_default() += 1;
            }
        }
        assert_eq!(received, expected, "{}", entry.id);
    }
}

/// Every call is recorded under its caller and its verdict, with what came of it.
fn check_records(place: &Place, table: &[Entry]) {
    let records = records_in(place.home.path());
    for entry in table {
        let own = records.iter().filter(|record| record["serverId"] == entry.id);
        let members = ["consumerId", "tool", "verdict", "outcome"];
        let mut recorded: Vec<_> =
            own.map(|record| members.map(|name| record[name].as_str().unwrap_or_default())).collect();
        let last = entry.calls.len() - 1;
        let mut expected = Vec::new();
        for _ in 0..ROUNDS * CLIENTS {
            for (at, (tool, _)) in entry.calls.iter().enumerate() {
                let outcome = if at == last { entry.says.outcome() } else { "success" };
                expected.push(["alice", tool, "allow", outcome]);
            }
            expected.push(["bob", entry.denied, "deny", "denied"]);
        }
        recorded.sort_unstable();
        expected.sort_unstable();
        assert_eq!(recorded, expected, "{}", entry.id);
    }
    let calls = table.iter().map(|entry| ROUNDS * CLIENTS * (entry.calls.len() + 1)).sum::<usize>();
    // The question for the status is a call of the gateway's own.
    assert_eq!(
        records.iter().filter(|record| record["serverId"] != "unknown").count(),
        calls,
        "and nothing else"
    );
}
