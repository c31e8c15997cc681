//! The processes of this machine, as far as a test has a hand in them. What a test starts it marks
//! in its environment, which whatever that starts inherits, wherever it ends up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process: its number alone could be another's by tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub id: u32,
    began: u64,
}

/// What is known of one.
#[derive(Clone, Copy)]
struct State {
    parent: u32,
    group: u32,
    began: u64,
    is_dead: bool,
}

/// Every process there is.
fn all() -> BTreeMap<u32, State> {
    let entries = std::fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id| Some((id, state(id)?))).collect()
}

/// `None` when it has gone meanwhile.
fn state(id: u32) -> Option<State> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name stands in parentheses, and may hold some.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(State {
        parent: u32::try_from(number(1)?).ok()?,
        group: u32::try_from(number(2)?).ok()?,
        began: number(19)?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn is_marked(id: u32, mark: &str) -> bool {
    let variables = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    variables.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

/// The processes with this variable (`NAME=value`) and all that descend from them.
pub fn marked(mark: &str) -> BTreeSet<Process> {
    let all = all();
    let mut found: BTreeSet<u32> =
        all.iter().filter(|(id, state)| !state.is_dead && is_marked(**id, mark)).map(|(id, _)| *id).collect();
    loop {
        let born = all.iter().filter(|(_, state)| !state.is_dead && found.contains(&state.parent));
        let before = found.len();
        found.extend(born.map(|(id, _)| *id).collect::<Vec<_>>());
        if found.len() == before {
            break;
        }
    }
    found.into_iter().filter_map(|id| Some(Process { id, began: all.get(&id)?.began })).collect()
}

/// Kills the groups of those that are children of `parent`, at once and without a word.
pub fn kill_groups(processes: &BTreeSet<Process>, parent: u32) -> usize {
    let all = all();
    let children = processes.iter().filter_map(|process| all.get(&process.id));
    let groups: BTreeSet<_> =
        children.filter(|state| state.parent == parent).map(|state| state.group).collect();
    for group in &groups {
        let group = i32::try_from(*group).ok().and_then(Pid::from_raw).expect("a group");
        // One that has just ended by itself needs no killing.
        let _ = kill_process_group(group, Signal::KILL);
    }
    groups.len()
}

/// Waits until none of them is left, and the children of `parent` among them are buried.
pub async fn gone(what: &str, processes: &BTreeSet<Process>, parent: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = processes.iter().filter(|process| is_left(**process, parent)).collect();
        if left.is_empty() {
            return;
        }
        let names = left.iter().map(|process| command(process.id)).collect::<Vec<_>>();
        assert!(Instant::now() < deadline, "{what}: left are {names:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_left(process: Process, parent: u32) -> bool {
    let now = state(process.id).filter(|state| state.began == process.began);
    // Whoever lost its parent is buried by the system.
    now.is_some_and(|state| !state.is_dead || state.parent == parent)
}

fn command(id: u32) -> String {
    let words = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    format!("{id} {}", String::from_utf8_lossy(&words).replace('\0', " "))
}
