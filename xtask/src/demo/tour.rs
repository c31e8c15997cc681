//! The scripted tour: what is allowed, what is not, and the proof of both.

use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::client::{request, text};
use super::files::{ANA, BEN, CI, Files};

/// Walks the tour; an answer that is not what the policy says is an error.
pub fn walk(program: &Path, files: &Files, port: u16) -> anyhow::Result<()> {
    wait_for_servers(port)?;
    println!("\nWhat each of them sees (tools/list on /mcp):");
    for (name, token) in [("ana", ANA), ("ben", BEN), ("ci", CI)] {
        let tools = tools(port, token)?;
        println!("  {name:<4} {:>2} tools: {}", tools.len(), shortened(&tools));
        ensure!(!tools.is_empty(), "{name} should see some tools");
        ensure!(!tools.contains(&"everything__get-env".to_owned()), "get-env is hidden from {name}");
    }
    println!("\nCalls:");
    let mut denied = String::new();
    for (what, token, tool, arguments, expected) in steps(files) {
        let answer = request(port, token, "tools/call", json!({"name": tool, "arguments": arguments}))?;
        println!("  {what:<26} {tool} {arguments}\n  {:<26} → {}", "", text(&answer).trim_end());
        expected.check(&answer)?;
        if let Some(record) = answer["result"]["_meta"]["dev.doorward/decision"]["record"].as_str()
            && arguments["amount"] == TOO_MUCH
        {
            record.clone_into(&mut denied);
        }
    }
    ensure!(!files.notes.join("x.txt").exists(), "a denied call must not reach its server");
    let paid = std::fs::read_to_string(&files.refunds)?;
    ensure!(paid == "A-1 40\nA-3 60\n", "the service was to pay two refunds, and paid:\n{paid}");
    println!("\nWhat the payment service was told, all of it:");
    paid.lines().for_each(|line| println!("  {line}"));
    println!("\nThe records (doorward audit log):");
    show(program, files, &["audit", "log", "--limit", "8"])?;
    prove(program, files, &denied)?;
    println!("\nThe whole log (doorward audit verify):");
    show(program, files, &["audit", "verify"])
}

/// Until the servers have started: a list has what is there, and waits for nobody.
fn wait_for_servers(port: u16) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let tools = tools(port, ANA)?;
        let has = |server: &&str| tools.iter().any(|tool| tool.starts_with(*server));
        let missing = ["everything__", "files__", "time__", "payments__"].iter().find(|server| !has(server));
        let Some(missing) = missing else { return Ok(()) };
        ensure!(began.elapsed() < Duration::from_secs(60), "no tool `{missing}…` after a minute");
        sleep(Duration::from_millis(200));
    }
}

/// More than the policy allows.
const TOO_MUCH: i32 = 4000;

type Step = (&'static str, &'static str, &'static str, Value, Expect);

fn steps(files: &Files) -> [Step; 8] {
    let refund = |order: &str, amount: i32| json!({"order": order, "amount": amount});
    let note = |name: &str| files.notes.join(name);
    [
        ("ana refunds an order", ANA, "payments__create_refund", refund("A-1", 40), Expect::Answer),
        ("ana refunds too much", ANA, "payments__create_refund", refund("A-2", TOO_MUCH), Expect::Denied),
        ("ana refunds another", ANA, "payments__create_refund", refund("A-3", 60), Expect::Answer),
        ("ana's third today", ANA, "payments__create_refund", refund("A-4", 10), Expect::OverQuota),
        ("ben would like to", BEN, "payments__create_refund", refund("A-5", 10), Expect::Denied),
        (
            "ben reads a file",
            BEN,
            "files__read_text_file",
            json!({"path": note("welcome.txt")}),
            Expect::Answer,
        ),
        (
            "ben writes one",
            BEN,
            "files__write_file",
            json!({"path": note("x.txt"), "content": "x"}),
            Expect::Denied,
        ),
        ("ana calls the hidden tool", ANA, "everything__get-env", json!({}), Expect::Unknown),
    ]
}

/// Proves the refusal to somebody without the log, and shows that the proof cannot be bent.
fn prove(program: &Path, files: &Files, record: &str) -> anyhow::Result<()> {
    let (proof, forged) = (path(&files.proof), path(&files.forged));
    println!("\nThe proof that the refund of {TOO_MUCH} was denied, for somebody without this log:");
    println!("  $ doorward audit prove {record} --output proof.json");
    let arguments = ["audit", "prove", record, "--output", &proof];
    // Until the next checkpoint is signed, which takes a second at most.
    let began = Instant::now();
    while !doorward(program, files, &arguments)?.status.success() {
        ensure!(began.elapsed() < Duration::from_secs(10), "no checkpoint was signed in ten seconds");
        sleep(Duration::from_millis(200));
    }
    println!("  $ doorward verify proof.json --key ledger.pub");
    show(program, files, &["verify", &proof, "--key", &path(&files.key)])?;
    let text = std::fs::read_to_string(&files.proof)?;
    ensure!(text.contains("4000"), "the proof holds what was asked for");
    std::fs::write(&files.forged, text.replace("4000", "40"))?;
    println!("\nThe same proof, after somebody has made the refund smaller in it:");
    println!("  $ sed s/4000/40/g proof.json > forged.json; doorward verify forged.json --key ledger.pub");
    let verified = doorward(program, files, &["verify", &forged, "--key", &path(&files.key)])?;
    print(&verified);
    ensure!(verified.status.code() == Some(1), "a forged proof must not hold");
    Ok(())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

enum Expect {
    Answer,
    Denied,
    OverQuota,
    Unknown,
}

impl Expect {
    fn check(&self, answer: &Value) -> anyhow::Result<()> {
        let holds = match self {
            Self::Answer => answer["result"].is_object() && answer["result"]["isError"] != true,
            Self::Denied => {
                answer["result"]["isError"] == true && text(answer).starts_with("[POLICY DENIED]")
            }
            Self::OverQuota => answer["result"]["isError"] == true || answer["error"]["code"] == -31429,
            Self::Unknown => answer["error"]["code"] == -32602,
        };
        if !holds {
            bail!("not what the policy says: {answer}");
        }
        Ok(())
    }
}

fn tools(port: u16, token: &str) -> anyhow::Result<Vec<String>> {
    let answer = request(port, token, "tools/list", json!({}))?;
    let tools = answer["result"]["tools"].as_array().cloned().unwrap_or_default();
    Ok(tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect())
}

fn shortened(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(4).map(String::as_str).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    shown.join(", ") + more
}

/// Runs a command that has to succeed, and shows what it says.
fn show(program: &Path, files: &Files, arguments: &[&str]) -> anyhow::Result<()> {
    let output = doorward(program, files, arguments)?;
    print(&output);
    if !output.status.success() {
        bail!("`doorward {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn doorward(program: &Path, files: &Files, arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(program).arg("--config").arg(&files.config).args(arguments).output()?)
}

fn print(output: &Output) {
    String::from_utf8_lossy(&output.stdout).lines().for_each(|line| println!("  {line}"));
}
