//! `doorward call`: one call through a running gateway.

use std::io::Read as _;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use doorward_egress::{Client, Outgoing, Reach, Replay, Rules, Settings, Target};
use doorward_model::Secret;
use doorward_model::json::{indented, quoted};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::{Exit, Surroundings, load};
use crate::config::Listen;
use crate::printable::{printable_json, printable_lines};
use crate::system::SystemClock;

const EXAMPLES: &str = "\
Examples:
  MCP_GATEWAY_API_KEY=gw_… doorward call github get_issue '{\"number\": 7}'
  doorward call time get_current_time --key-file key.txt --json
  SSL_CERT_FILE=ca.pem doorward call time get_current_time --url https://gate.example:3100

Exit status: 0 the tool answered, 1 it failed or the call was refused, 3 no gateway answered.";

/// Arguments of `doorward call`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The server's id
    server: String,
    /// The tool, by the server's own name
    tool: String,
    /// Its arguments, a JSON object
    #[arg(default_value = "{}")]
    arguments: String,
    /// A file with the key to call with; `-` reads it from standard input [default: $MCP_GATEWAY_API_KEY]
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_file: Option<PathBuf>,
    /// The key itself, which every user of this machine can read meanwhile: better use --key-file
    #[arg(long)]
    key: Option<String>,
    /// The gateway to call, by https unless it is on this machine [default: where the configuration has it listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
}

const REVISION: &str = "2026-07-28";
const LARGEST: usize = 64 << 20;
/// Bytes of a key, or of a token in its place.
const LONGEST_KEY: u64 = 16 << 10;

pub(super) fn run(
    arguments: &Arguments,
    named: Option<&Path>,
    world: &mut Surroundings<'_>,
) -> anyhow::Result<Exit> {
    let given = &arguments.arguments;
    let Ok(Value::Object(_)) = serde_json::from_str::<Value>(given) else {
        writeln!(world.err, "the arguments are not a JSON object: {}", arguments.arguments)?;
        return Ok(Exit::Usage);
    };
    let key = key(arguments, world)?;
    let gateway = match &arguments.url {
        Some(url) if Target::parse(url).is_err() => {
            writeln!(world.err, "`{url}` is no URL of a gateway; write https://gate.example:3100")?;
            return Ok(Exit::Usage);
        }
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => match load(named, world)? {
            Some(loaded) => here(&loaded.config.listen),
            None => return Ok(Exit::No),
        },
    };
    let url = format!("{gateway}/mcp/{}", arguments.server);
    // A key goes over a network sealed; what this very machine serves is nobody else's.
    let rules = Rules { reach: Reach::Anywhere, allow_insecure_http: arguments.url.is_none() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (answer, text) = match runtime.block_on(send(&url, rules, key.as_ref(), &arguments.tool, given)) {
        Ok(answer) => answer,
        Err(error) => {
            writeln!(world.err, "no gateway answered at {url}: {error:#}")?;
            writeln!(world.err, "is `doorward serve` running? `--url` calls it by another name")?;
            return Ok(Exit::Unreachable);
        }
    };
    let failed = answer["error"].is_object() || answer["result"]["isError"] == true;
    if arguments.json {
        writeln!(world.out, "{}", indented(&text))?;
    } else if let Some(message) = answer["error"]["message"].as_str() {
        writeln!(world.err, "{}", printable_lines(message))?;
    } else {
        for block in answer["result"]["content"].as_array().into_iter().flatten() {
            match block["text"].as_str() {
                Some(text) => writeln!(world.out, "{}", printable_lines(text))?,
                None => writeln!(world.out, "{}", printable_json(&block.to_string()))?,
            }
        }
    }
    Ok(if failed { Exit::No } else { Exit::Done })
}

/// The key to call with, if there is one.
fn key(arguments: &Arguments, world: &mut Surroundings<'_>) -> anyhow::Result<Option<Secret>> {
    if let Some(key) = &arguments.key {
        writeln!(
            world.err,
            "warning: every user of this machine can read `--key`; use `--key-file` or MCP_GATEWAY_API_KEY"
        )?;
        return Ok(Some(Secret::new(key.clone())));
    }
    let Some(file) = &arguments.key_file else {
        return Ok((world.variables)("MCP_GATEWAY_API_KEY").map(Secret::new));
    };
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin().take(LONGEST_KEY))
    } else {
        std::fs::File::open(file).and_then(|file| std::io::read_to_string(file.take(LONGEST_KEY)))
    };
    let text = text.with_context(|| format!("the key cannot be read from {}", file.display()))?;
    let key = text.trim();
    if key.is_empty() {
        bail!("{} holds no key", file.display());
    }
    Ok(Some(Secret::new(key.to_owned())))
}

/// Where a gateway with this configuration is reached from its own machine.
fn here(listen: &Listen) -> String {
    let host = match listen.host.as_str() {
        "0.0.0.0" | "::" => "127.0.0.1".to_owned(),
        host if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]"),
        host => host.to_owned(),
    };
    let scheme = if listen.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{host}:{}", listen.port)
}

/// The answer, read and as it came: reading a number may round it.
async fn send(
    url: &str,
    rules: Rules,
    key: Option<&Secret>,
    tool: &str,
    arguments: &str,
) -> anyhow::Result<(Value, String)> {
    let target = Target::parse(url)?;
    let path = target.path().clone();
    let client = Client::new(Settings::default(), Arc::new(SystemClock::default()));
    let door = client.door(target, rules)?;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "doorward-cli", "version": env!("CARGO_PKG_VERSION")},
    });
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{},"arguments":{arguments},"_meta":{meta}}}}}"#,
        quoted(tool)
    );
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    let name = doorward_wire::header::encode(tool).into_owned();
    for (header, value) in
        [("mcp-protocol-version", REVISION), ("mcp-method", "tools/call"), ("mcp-name", &name)]
    {
        headers.insert(HeaderName::from_static(header), HeaderValue::from_str(value)?);
    }
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose())).context("the key")?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let outgoing = Outgoing {
        method: Method::POST,
        path,
        headers,
        body: Bytes::from(body),
        replay: Replay::Harmful,
        answer_within: Some(Duration::from_secs(600)),
    };
    let response = door.send(outgoing).await?;
    let status = response.status;
    let body = response.body.collect(LARGEST).await?;
    let text = String::from_utf8(body.to_vec()).with_context(|| format!("HTTP {status}"))?;
    let answer: Value = serde_json::from_str(&text).with_context(|| format!("HTTP {status}"))?;
    if !answer["result"].is_object() && !answer["error"].is_object() {
        bail!("HTTP {status} without a JSON-RPC answer");
    }
    Ok((answer, text))
}
