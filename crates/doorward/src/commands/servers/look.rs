//! `doorward servers show`, `tools`, `resources` and `prompts`: one server as the running gateway
//! knows it. It is asked over the socket, and asks the server what it offers unless it knows.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use doorward_gateway::door::Order;
use doorward_model::ServerId;
use doorward_model::json::{Document, Limits, Numbers, Value, indented};

use crate::commands::{Exit, Surroundings, load, socket};
use crate::printable::{printable, printable_json, printable_lines};
use crate::runtime;

/// Which server, and how.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's id
    #[arg(value_parser = |text: &str| ServerId::try_from(text.to_owned()))]
    server: ServerId,
    /// Print it as JSON, definitions as clients are shown them
    #[arg(long)]
    json: bool,
}

/// What of it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    All,
    Tools,
    Resources,
    Prompts,
}

pub(super) fn run(
    what: What,
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let Some(loaded) = load(named, world)? else { return Ok(Exit::No) };
    let folder = runtime::socket_folder(&loaded.config);
    let line = match socket::ask(folder, &Order::Look(arguments.server.clone())) {
        Ok(line) => line,
        Err(error) => {
            let folder = folder.display();
            writeln!(world.err, "no gateway answers in {folder}: {error:#}; is `doorward serve` running?")?;
            return Ok(Exit::Unreachable);
        }
    };
    let document = read(line).context("the gateway is of another version than this program")?;
    let root = document.root();
    let Some(server) = root.get("server") else {
        writeln!(world.err, "the running gateway has no server `{}`", arguments.server)?;
        return Ok(Exit::No);
    };
    let kinds: &[&str] = match what {
        What::All => &[],
        What::Tools => &["tools"],
        What::Resources => &["resources", "resourceTemplates"],
        What::Prompts => &["prompts"],
    };
    let list = |kind: &str| root.get(kind).map_or("[]", Value::raw);
    let text = match (arguments.json, kinds) {
        (true, []) => indented(root.raw()),
        (true, [kind]) => indented(list(kind)),
        (true, _) => {
            let members: Vec<_> = kinds.iter().map(|kind| format!("\"{kind}\":{}", list(kind))).collect();
            indented(&format!("{{{}}}", members.join(",")))
        }
        (false, []) => about(server, root),
        (false, _) => kinds.iter().map(|kind| entries(kind, root)).collect::<Vec<_>>().join("\n"),
    };
    for line in text.lines() {
        let line = if arguments.json { printable_json(line) } else { printable_lines(line) };
        writeln!(world.out, "{line}")?;
    }
    // An empty list of a server that was not reached is no answer.
    if kinds.iter().all(|kind| list(kind) == "[]")
        && let Some(why) = word(server, "reason").or_else(|| word(server, "lastError"))
    {
        writeln!(world.err, "{}: {}", arguments.server, printable(&why))?;
    }
    Ok(Exit::Done)
}

fn read(line: Bytes) -> Option<Document> {
    let limits = Limits { values: 8_000_000, numbers: Numbers::Exact, ..Limits::default() };
    let document = Document::parse(Bytes::copy_from_slice(line.trim_ascii()), &limits).ok()?;
    let root = document.root();
    let is_known =
        root.get("server").is_some() || root.get("refused").is_some_and(|it| it.raw() == "\"server\"");
    is_known.then_some(document)
}

/// A text among the members; `None` where it is `null`, or empty.
fn word(value: Value<'_>, member: &str) -> Option<String> {
    let text = value.get(member)?.as_str()?;
    (!text.is_empty()).then(|| text.into_owned())
}

/// How the server is doing, a line each.
fn about(server: Value<'_>, root: Value<'_>) -> String {
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| lines.push(format!("{name:<14}{text}"));
    for (name, member) in [
        ("server", "id"),
        ("state", "state"),
        ("reason", "reason"),
        ("last error", "lastError"),
        ("last answer", "lastOkAt"),
        ("protocol", "protocolVersion"),
    ] {
        if let Some(text) = word(server, member) {
            line(name, printable(&text).into_owned());
        }
    }
    let number = |member: &str| server.get(member).and_then(Value::as_i64);
    if let Some(uptime) = number("uptimeMs") {
        line("up for", format!("{} s", uptime / 1000));
    }
    if let Some(restarts) = number("restarts").filter(|restarts| *restarts > 0) {
        line("restarts", restarts.to_string());
    }
    let count = |kind: &str| root.get(kind).map_or(0, |list| list.items().count());
    line(
        "offers",
        format!(
            "{} tools, {} resources, {} resource templates, {} prompts",
            count("tools"),
            count("resources"),
            count("resourceTemplates"),
            count("prompts")
        ),
    );
    for problem in server.get("problems").into_iter().flat_map(Value::items) {
        line("problem", printable(&problem.as_str().unwrap_or_default()).into_owned());
    }
    if let Some(stderr) = word(server, "stderr") {
        lines.push("its last words (stderr):".to_owned());
        lines.extend(stderr.lines().map(|line| format!("  {line}")));
    }
    lines.join("\n")
}

/// The entries of one list, each with what people tell it by.
fn entries(kind: &str, root: Value<'_>) -> String {
    let mut lines = Vec::new();
    if kind == "resourceTemplates" {
        lines.push("\nTemplates:".to_owned());
    }
    for entry in root.get(kind).into_iter().flat_map(Value::items) {
        let naming = match kind {
            "resources" => "uri",
            "resourceTemplates" => "uriTemplate",
            _ => "name",
        };
        let mut line = printable(&word(entry, naming).unwrap_or_default()).into_owned();
        let more: &[&str] = if naming == "name" { &["title"] } else { &["name", "mimeType"] };
        for text in more.iter().filter_map(|member| word(entry, member)) {
            line = format!("{line}  [{}]", printable(&text));
        }
        lines.push(line);
        if let Some(text) = word(entry, "description") {
            lines.push(format!("    {}", printable(text.lines().next().unwrap_or_default())));
        }
        for argument in entry.get("arguments").into_iter().flat_map(Value::items) {
            let is_required = argument.get("required").and_then(Value::as_bool) == Some(true);
            let name = word(argument, "name").unwrap_or_default();
            let about = word(argument, "description").map(|text| format!(": {}", printable(&text)));
            let needed = if is_required { "required" } else { "optional" };
            lines.push(format!("    {} ({needed}){}", printable(&name), about.unwrap_or_default()));
        }
    }
    lines.join("\n")
}
