//! The built-in server: it answers every call, and notes what it received in a journal,
//! together with whether the log held the call's decision at that moment.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The hidden command that runs it.
pub const COMMAND: &str = "selftest-server";
/// What it offers unless told otherwise.
pub const TOOLS: [&str; 4] = ["echo", "get_issue", "delete_repository", "create_refund"];
/// The argument that tells calls apart.
pub const MARK: &str = "mark";
/// How much of the log's end is looked through; the decision has only just been written.
const LOOK: u64 = 2 << 20;

/// Arguments of the server.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to note what is received
    #[arg(long)]
    journal: PathBuf,
    /// The gateway's log
    #[arg(long)]
    log: PathBuf,
    /// What to offer
    #[arg(long, value_delimiter = ',')]
    tools: Vec<String>,
}

/// A call that the server received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The tool.
    pub tool: String,
    /// The call's mark; empty without one.
    pub mark: String,
    /// Whether its decision lay in the log when it arrived.
    pub recorded: bool,
}

/// Serves until the input ends.
///
/// # Errors
/// When the journal or the output cannot be written.
pub fn serve(arguments: &Arguments, input: impl BufRead, mut output: impl Write) -> anyhow::Result<()> {
    let mut journal = OpenOptions::new().append(true).create(true).open(&arguments.journal)?;
    for line in input.lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        let id = &message["id"];
        if id.is_null() {
            continue;
        }
        let answer = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({
                "protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "doorward-selftest", "version": env!("CARGO_PKG_VERSION")},
            }),
            "ping" => json!({}),
            "tools/list" => {
                json!({"tools": arguments.tools.iter().map(|tool| definition(tool)).collect::<Vec<_>>()})
            }
            "tools/call" => {
                let received = received(&message["params"], &arguments.log);
                // One write, so that lines of several servers do not mix.
                journal.write_all(format!("{}\n", serde_json::to_string(&received)?).as_bytes())?;
                json!({"content": [{"type": "text", "text": "done"}]})
            }
            _ => {
                let error = json!({"code": -32601, "message": "no such method"});
                writeln!(output, "{}", json!({"jsonrpc": "2.0", "id": id, "error": error}))?;
                output.flush()?;
                continue;
            }
        };
        writeln!(output, "{}", json!({"jsonrpc": "2.0", "id": id, "result": answer}))?;
        output.flush()?;
    }
    Ok(())
}

fn definition(tool: &str) -> Value {
    json!({"name": tool, "description": "Of the self-test", "inputSchema": {"type": "object"}})
}

fn received(params: &Value, log: &Path) -> Received {
    let mark = params["arguments"][MARK].as_str().unwrap_or_default().to_owned();
    let recorded = !mark.is_empty() && holds(log, &mark).unwrap_or(false);
    Received { tool: params["name"].as_str().unwrap_or_default().to_owned(), mark, recorded }
}

/// Whether the newest segment of the log holds this text near its end.
fn holds(log: &Path, mark: &str) -> std::io::Result<bool> {
    let segments = fs::read_dir(log.join("segments"))?;
    let paths = segments.filter_map(|entry| Some(entry.ok()?.path()));
    let Some(newest) = paths.filter(|path| path.extension().is_some_and(|it| it == "log")).max() else {
        return Ok(false);
    };
    let mut file = File::open(newest)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOK)))?;
    let mut end = Vec::new();
    file.take(LOOK).read_to_end(&mut end)?;
    Ok(end.windows(mark.len()).any(|window| window == mark.as_bytes()))
}

/// What is noted in a journal, in order.
pub(super) fn read(journal: &Path) -> Vec<Received> {
    let text = fs::read_to_string(journal).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
