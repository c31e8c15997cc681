//! The scripted tour: what is allowed, what is not, and the proof of both.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::client::{request, text};
use super::files::{ANA, BEN, CI, Files};

/// Walks the tour; an answer that is not what the policy says is an error.
pub fn walk(program: &Path, files: &Files, port: u16) -> anyhow::Result<()> {
    println!("\nWhat each of them sees (tools/list on /mcp):");
    for (name, token) in [("ana", ANA), ("ben", BEN), ("ci", CI)] {
        let tools = tools(port, token)?;
        println!("  {name:<4} {:>2} tools: {}", tools.len(), shortened(&tools));
        ensure!(!tools.is_empty(), "{name} should see some tools");
        ensure!(!tools.contains(&"everything__get-env".to_owned()), "get-env is hidden from {name}");
    }
    let steps: [(&str, &str, &str, Value, Expect); 6] = [
        ("ana calls a tool", ANA, "everything__echo", json!({"message": "hello"}), Expect::Answer),
        ("ana sums within the limit", ANA, "everything__get-sum", json!({"a": 1000, "b": 1}), Expect::Answer),
        ("ana sums above it", ANA, "everything__get-sum", json!({"a": 1001, "b": 1}), Expect::Denied),
        (
            "ben reads a file",
            BEN,
            "files__read_text_file",
            json!({"path": files.notes.join("welcome.txt")}),
            Expect::Answer,
        ),
        (
            "ben writes one",
            BEN,
            "files__write_file",
            json!({"path": files.notes.join("x.txt"), "content": "x"}),
            Expect::Denied,
        ),
        ("ana calls the hidden tool", ANA, "everything__get-env", json!({}), Expect::Unknown),
    ];
    println!("\nCalls:");
    for (what, token, tool, arguments, expected) in steps {
        let answer = request(port, token, "tools/call", json!({"name": tool, "arguments": arguments}))?;
        println!("  {what:<26} {tool} {arguments}\n  {:<26} → {}", "", text(&answer).trim_end());
        expected.check(&answer)?;
    }
    ensure!(!files.notes.join("x.txt").exists(), "a denied call must not reach its server");
    println!("\nThe records (doorward audit log):");
    doorward(program, files, &["audit", "log", "--limit", "7"])?;
    println!("\nThe proof (doorward audit verify), once the first checkpoint is signed:");
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    doorward(program, files, &["audit", "verify"])
}

enum Expect {
    Answer,
    Denied,
    Unknown,
}

impl Expect {
    fn check(&self, answer: &Value) -> anyhow::Result<()> {
        let holds = match self {
            Self::Answer => answer["result"].is_object() && answer["result"]["isError"] != true,
            Self::Denied => {
                answer["result"]["isError"] == true && text(answer).starts_with("[POLICY DENIED]")
            }
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

fn doorward(program: &Path, files: &Files, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).arg("--config").arg(&files.config).args(arguments).output()?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        println!("  {line}");
    }
    if !output.status.success() {
        bail!("`doorward {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
