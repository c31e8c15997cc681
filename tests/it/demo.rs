//! `cargo xtask demo`, with the program of the tests and the servers that are installed for them.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::program::free_port;
use crate::world::{binary, ecosystem, program, within};

fn demo(port: u16, folder: &tempfile::TempDir) -> Command {
    let mut command = Command::new(binary("xtask"));
    command
        .args(["demo", "--port", &port.to_string(), "--program"])
        .arg(program())
        .arg("--node")
        .arg(ecosystem::folder().join("node"))
        .arg("--folder")
        .arg(folder.path().join("demo"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_pays_what_the_policy_allows_and_breaks_a_forged_proof() {
    let folder = tempfile::tempdir().expect("a folder");
    let output =
        tokio::time::timeout(Duration::from_secs(120), demo(free_port(), &folder).arg("--once").output());
    let output = output.await.expect("in time").expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let in_order = [
        "refunded 40 for order A-1",
        "[POLICY DENIED] a refund is limited to 100",
        "refunded 60 for order A-3",
        "$ doorward audit prove ",
        "✅ The proof holds, and its verdict was repeated.",
        "reached again",
        "$ sed s/4000/40/g proof.json > forged.json",
        "❌ FAIL",
        "✅ Audit chain integrity verified.",
    ];
    let mut rest = &*out;
    for expected in in_order {
        let (_, after) = rest.split_once(expected).unwrap_or_else(|| panic!("{expected} in {out}"));
        rest = after;
    }
    assert!(!out.contains("Connect a client"), "nothing serves any more: {out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_to_the_demo_alone_leaves_no_gateway_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut child = demo(port, &folder).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let serving = async {
        while let Some(line) = lines.next_line().await.expect("readable") {
            if line.starts_with("Serving until") {
                return;
            }
        }
        panic!("it ended before it served");
    };
    tokio::time::timeout(Duration::from_secs(120), serving).await.expect("in time");
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err(), "the gateway listens");
    let pid = i32::try_from(child.id().expect("it runs")).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("an id"), rustix::process::Signal::TERM).expect("told");
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await.expect("in time");
    assert!(ended.expect("waited for").success());
    let patience = Duration::from_secs(10);
    within(patience, "the port is free", async || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .await;
}
