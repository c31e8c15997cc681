//! Planted secrets appear nowhere but in front of the server they belong to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use doorward::config::Config;
use doorward::runtime::Surroundings;
use doorward::system::SystemRandom;
use doorward_model::Random;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::program::Program;
use crate::world::recorder::{CONFESS, spellings};
use crate::world::{
    ALICE, Answer, BOB, Client, Recorder, STAFF_MAY_ALL, Speaks, World, ecosystem, program, system,
};

const BEARER: &str = "planted-bearer-6f1e9c0a7d";
const HEADER: &str = "planted-header-\"quoted\"-2b8d";
const ENVIRONMENT: &str = "planted-environment-91c4";

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_credential_reaches_it_and_is_scrubbed_from_everything_it_says() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let config = config.replace(
        "enabled: true}\npolicies",
        &format!("enabled: true, credential: {{kind: bearer, token: \"{BEARER}\"}}}}\npolicies"),
    );
    std::fs::write(world.config_path(), config).expect("written");
    world.running.reload().expect("a valid file");
    let alice = world.modern("/mcp", ALICE);
    let leaked = alice.call("github__leak", json!({})).await;
    assert!(
        leaked.text().starts_with("I was sent Bearer ") && !leaked.text().contains(BEARER),
        "{}",
        leaked.text()
    );
    let received = world.recorders[0].received();
    let call = received.iter().find(|message| message.json()["method"] == "tools/call").expect("the call");
    let authorization: Vec<_> = call.headers.iter().filter(|(name, _)| name == "authorization").collect();
    assert_eq!(
        authorization,
        [&("authorization".to_owned(), format!("Bearer {BEARER}"))],
        "its own, and not the caller's"
    );
    assert!(
        !received.iter().any(|message| format!("{message:?}").contains(ALICE)),
        "the caller's key stays here"
    );
    let World { folder, running, .. } = world;
    running.stop().await;
    let data = folder.path().join("data");
    assert_eq!(files_holding(&data, BEARER), Vec::<String>::new());
    assert_eq!(files_holding(&data, ALICE), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_repeats_ordinary_words_of_its_entry_and_none_of_its_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = r#"
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    said = " ".join(os.environ.get(name, "-") for name in ("NODE_ENV", "GREETING", "MY_TOKEN", "LICENCE", "REGION"))
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}},
        "tools/list": {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": said + " " + " ".join(sys.argv[1:])}]},
    }
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": answers.get(message["method"], {})}), flush=True)
"#;
    let program = folder.path().join("child.py");
    fs::write(&program, script).expect("written");
    let rest = format!(
        "servers:\n  - {{id: child, command: python3, args: [\"{}\", '${{FROM_OUTSIDE}}'], env: {{NODE_ENV: production, GREETING: '${{FROM_OUTSIDE}}', MY_TOKEN: written-here, LICENCE: of-the-house, REGION: '${{REGION}}'}}, secrets: [LICENCE], plain: [REGION], enabled: true}}\n{STAFF_MAY_ALL}",
        program.display(),
    );
    let path = std::env::var("PATH").expect("a path");
    let variables =
        [("FROM_OUTSIDE", "came-from-outside"), ("REGION", "europe-north"), ("PATH", path.as_str())];
    let world = World::start_in(&[], Speaks::Legacy, &rest, &variables).await;
    let said = world.modern("/mcp/child", ALICE).call("say", json!({})).await.text();
    assert_eq!(said, "production [secret] [secret] [secret] europe-north [secret]");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_callers_appear_in_no_answer() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp/_gateway", ALICE);
    let mut said = String::new();
    for (tool, arguments) in [
        ("list_tools", json!({})),
        ("list_servers", json!({})),
        ("server_status", json!({})),
        ("call", json!({"tool": "echo", "args": "{}"})),
        ("audit_log", json!({})),
        ("audit_stats", json!({})),
        ("audit_verify", json!({})),
        ("usage", json!({})),
    ] {
        said += &alice.call(tool, arguments).await.text();
    }
    assert!(said.len() > 500, "{said}");
    for secret in [ALICE, BOB, HEADER, ENVIRONMENT] {
        assert!(!said.contains(secret));
    }
    world.stop().await;
}

/// Secrets of one run, each with its name, its value and a word for where it belongs.
mod planted {
    pub const BEARER: &str = "planted/bearer+6f1e9c0a7d==";
    pub const HEADER: &str = "planted-header-\"<quoted>\"&2b8d";
    pub const ONE: &str = "planted \"environment\" of/one: 91c4";
    pub const TWO: &str = "planted-environment-of-two=77aa&x";
    pub const ANA: &str = "gw_planted_ana_5d1c8e0f2b";
    pub const BEN: &str = "gw_planted_ben_0a9b8c7d6e";
    /// Configured as the hash below.
    pub const CAROL: &str = "gw_planted_carol_f00dfeed11";
    pub const CAROL_HASH: &str = "5f33bd21ee1f60cbda9eb3ecdcb32999034d87fec882030677b6ffd62195932d";
    pub const STRANGER: &str = "gw_planted_stranger_3c3c3c3c";
    pub const COLLECTOR: &str = "planted-collector-4e4f50";
    pub const PASSWORD: &str = "planted-password-hunter2!";
    pub const ALL: [(&str, &str); 10] = [
        ("bearer", BEARER),
        ("header", HEADER),
        ("environment of one", ONE),
        ("environment of two", TWO),
        ("key of ana", ANA),
        ("key of ben", BEN),
        ("key of carol", CAROL),
        ("key of a stranger", STRANGER),
        ("header of the collector", COLLECTOR),
        ("password", PASSWORD),
    ];
}

/// Everything that came out of the gateway, by where it was seen.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn take(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn answer(&mut self, place: &str, answer: &Answer) {
        let head = format!("{} {:?}\n", answer.status, answer.headers).into_bytes();
        self.take(format!("answer: {place}"), [head, answer.body.to_vec()].concat());
    }

    fn files(&mut self, folder: &Path, without: &str) {
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("readable").filter_map(Result::ok) {
                let path = entry.path();
                if path.is_dir() && !path.ends_with(without) {
                    folders.push(path);
                } else if let Ok(bytes) = fs::read(&path) {
                    self.take(format!("file: {}", path.display()), bytes);
                }
            }
        }
    }

    /// Where one of these is seen.
    fn holding(&self, needles: &[Vec<u8>]) -> Vec<String> {
        let holds = |bytes: &[u8]| needles.iter().any(|needle| contains(bytes, needle));
        self.0.iter().filter(|(_, bytes)| holds(bytes)).map(|(place, _)| place.clone()).collect()
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Every spelling of a text: as other writers spell it and as a log does, also in a
/// string of JSON.
fn of_text(secret: &str) -> Vec<Vec<u8>> {
    let logged = [secret.escape_debug().to_string(), secret.escape_default().to_string()];
    let spellings = spellings(secret).into_iter().chain(logged);
    let within_json = |text: String| {
        let quoted = json!(text).to_string();
        [quoted[1..quoted.len() - 1].to_owned(), text]
    };
    spellings.flat_map(within_json).map(String::into_bytes).collect()
}

/// Every spelling of bytes.
fn of_bytes(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let texts = [
        hex.to_uppercase(),
        hex,
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    texts.into_iter().map(String::into_bytes).chain([secret.to_vec()]).collect()
}

/// The processes that descend from this one.
fn descendants(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let of = found[at];
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

fn configured(folder: &Path, recorders: &[Recorder]) -> String {
    use planted::{ANA, BEARER, BEN, CAROL_HASH, ONE};
    let everything = ecosystem::node_server("server-everything");
    let (github, gitlab) = (recorders[0].url(), recorders[1].url());
    let one = json!(ONE);
    format!(
        r#"dataDir: {}
audit: {{capture: full}}
rateLimit: {{enabled: false}}
auth:
  type: api-key
  keys:
    - {{id: ana, key: {ANA}, person: ana, roles: [staff], scopes: [audit.read], enabled: true}}
    - {{id: ben, key: {BEN}, person: ben, roles: [guest], enabled: true}}
    - {{id: carol, key: "sha256:{CAROL_HASH}", person: carol, roles: [staff], enabled: true}}
servers:
  - {{id: github, url: "{github}", timeout: 2000, credential: {{kind: bearer, token: "{BEARER}"}}, enabled: true}}
  - {{id: gitlab, url: "{gitlab}", timeout: 2000, credential: {{kind: headers, headers: {{X-Planted: "${{PLANTED_HEADER}}"}}}}, enabled: true}}
  - {{id: one, command: node, args: ["{everything}"], env: {{PLANTED: {one}}}, secrets: [PLANTED], enabled: true}}
  - {{id: two, command: sh, args: [-c, "echo \"I was given $PLANTED\" >&2; exec node {everything}"], credential: {{kind: env, env: {{PLANTED: "${{PLANTED_TWO}}"}}}}, enabled: true}}
  - {{id: down, url: "http://127.0.0.1:9/mcp", credential: {{kind: bearer, token: "{BEARER}"}}, enabled: true}}
  - {{id: absent, command: /no/such/program, env: {{PLANTED: {one}}}, secrets: [PLANTED], enabled: true}}
policies:
  - id: staff
    name: Staff
    roles: [staff]
    rules: [{{action: allow}}, {{tool: delete_repository, action: deny}}, {{tool: create_refund, action: hide}}]
"#,
        folder.join("data").display(),
    )
}

/// Calls of every kind on one endpoint.
async fn drive(seen: &mut Seen, client: &Client, place: &str, prefix: impl Fn(&str, &str) -> Option<String>) {
    seen.answer(&format!("{place} tools/list"), &client.request("tools/list", json!({})).await);
    for method in ["resources/list", "prompts/list", "resources/templates/list"] {
        seen.answer(&format!("{place} {method}"), &client.request(method, json!({})).await);
    }
    let password = json!({"password": planted::PASSWORD, "message": "hello"});
    let calls = ["github", "gitlab"]
        .iter()
        .flat_map(|server| CONFESS.iter().map(move |tool| (*server, *tool)))
        .chain([
            ("github", "echo"),
            ("github", "delete_repository"),
            ("github", "create_refund"),
            ("github", "no_such_tool"),
            ("github", "hang"),
            ("one", "get-env"),
            ("two", "get-env"),
            ("one", "echo"),
            ("down", "echo"),
            ("absent", "echo"),
            ("nowhere", "echo"),
        ]);
    for (server, tool) in calls {
        let Some(name) = prefix(server, tool) else { continue };
        let mut params = crate::world::call(&name, password.clone());
        params["_meta"] = json!({"progressToken": "p1"});
        seen.answer(&format!("{place} {server} {tool}"), &client.request("tools/call", params).await);
    }
}

/// Every meta tool, as the reader of the log.
async fn ask_the_gateway(seen: &mut Seen, client: &Client, place: &str) {
    for (tool, arguments) in [
        ("list_tools", json!({})),
        ("list_servers", json!({})),
        ("server_status", json!({})),
        ("server_status", json!({"server": "two"})),
        ("call", json!({"tool": "one__get-env", "args": "{}"})),
        ("call", json!({"tool": "github__confess_as_error", "args": "{}"})),
        ("audit_stats", json!({})),
        ("audit_verify", json!({})),
        ("usage", json!({})),
        ("audit_log", json!({})),
    ] {
        seen.answer(&format!("{place} {tool}"), &client.call(tool, arguments).await);
    }
}

/// One client on standard input and output.
async fn over_stdio(seen: &mut Seen, config: &Path, surface: &str, variables: &[(&str, &str)]) {
    let mut child = Command::new(program())
        .arg("--config")
        .arg(config)
        .args(["serve", "--stdio", "--surface", surface])
        .envs(variables.iter().copied())
        .env("MCP_GATEWAY_API_KEY", planted::ANA)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut stderr = child.stderr.take().expect("a pipe");
    let errors = tokio::spawn(async move {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).await.map(|_| text)
    });
    let info = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let mut messages = vec![("initialize", info), ("tools/list", json!({}))];
    if surface == "aggregate" {
        for name in
            ["github__confess", "github__confess_as_news", "one__get-env", "two__get-env", "down__echo"]
        {
            let mut params = crate::world::call(name, json!({"password": planted::PASSWORD}));
            params["_meta"] = json!({"progressToken": 1});
            messages.push(("tools/call", params));
        }
    } else {
        messages.push(("tools/call", crate::world::call("server_status", json!({}))));
    }
    for (id, (method, params)) in messages.iter().enumerate() {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        stdin.write_all(format!("{message}\n").as_bytes()).await.expect("written");
        loop {
            let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
            let line = line.expect("in time").expect("readable").expect("an answer");
            let is_answer = serde_json::from_str::<Value>(&line).expect("JSON")["id"] == json!(id);
            seen.take(format!("answer: stdio {surface} {method}"), line);
            if is_answer {
                break;
            }
        }
    }
    drop(stdin);
    assert!(child.wait().await.expect("it ends").success());
    seen.take(format!("log of stdio {surface}"), errors.await.expect("read").expect("read"));
}

/// Chance that fails once when told to: the one part of a call that a test can make
/// panic. No input is known that does.
#[derive(Default)]
struct Failing {
    next: AtomicBool,
}

impl Random for Failing {
    fn fill(&self, bytes: &mut [u8]) {
        assert!(!self.next.swap(false, Ordering::SeqCst), "no chance today");
        SystemRandom.fill(bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_call_prints_no_secret_and_ends_that_call_alone() {
    let random = Arc::new(Failing::default());
    let surroundings = Surroundings { random: random.clone(), ..system() };
    let world = World::start_surrounded(&["github"], Speaks::Legacy, STAFF_MAY_ALL, surroundings).await;
    let alice = world.modern("/mcp", ALICE);
    let password = json!({"password": planted::PASSWORD});
    assert_eq!(alice.call("github__echo", password.clone()).await.status, 200);
    let printed = Arc::new(Mutex::new(String::new()));
    let (said, usual) = (Arc::clone(&printed), Arc::new(std::panic::take_hook()));
    let before = Arc::clone(&usual);
    std::panic::set_hook(Box::new(move |panic| {
        let trace = std::backtrace::Backtrace::force_capture();
        *said.lock().unwrap_or_else(PoisonError::into_inner) += &format!("{panic}\n{trace}\n");
        before(panic);
    }));
    random.next.store(true, Ordering::SeqCst);
    assert!(alice.try_call("github__echo", password.clone()).await.is_none(), "the connection ends");
    std::panic::set_hook(Box::new(move |panic| usual(panic)));
    let printed = printed.lock().expect("not poisoned").clone();
    assert!(printed.contains("no chance today") && printed.contains("gateway"), "{printed}");
    for secret in [ALICE, planted::PASSWORD] {
        assert!(!of_text(secret).iter().any(|form| contains(printed.as_bytes(), form)), "{printed}");
    }
    assert_eq!(alice.call("github__echo", password).await.status, 200);
    assert_eq!(world.received().len(), 2, "the call between reached nobody");
    world.stop().await;
}

/// Ten secrets, and the three keys of the log.
#[tokio::test(flavor = "multi_thread")]
async fn ten_planted_secrets_are_seen_by_those_they_belong_to_and_nowhere_else() {
    let recorders =
        [Recorder::start("github", Speaks::Legacy).await, Recorder::start("gitlab", Speaks::Modern).await];
    for recorder in &recorders {
        CONFESS.iter().chain(&["hang"]).for_each(|tool| recorder.offer(tool));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (config, log) = (folder.path().join("gateway.yaml"), folder.path().join("log"));
    fs::write(&config, configured(folder.path(), &recorders)).expect("written");
    // Nobody listens there until the end.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let (endpoint, headers) = (format!("http://{free}"), format!("x-planted={}", planted::COLLECTOR));
    let variables = [
        ("DOORWARD_LOG", "trace"),
        ("RUST_BACKTRACE", "1"),
        ("PLANTED_HEADER", planted::HEADER),
        ("PLANTED_TWO", planted::TWO),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let gateway = Program::start(&config, &log, &variables).await;
    let mut seen = Seen::default();

    let everywhere = |server: &str, tool: &str| Some(format!("{server}__{tool}"));
    let legacy = |path: &'static str, key| Client::legacy(gateway.address, path, key, "2025-11-25");
    let modern = |path, key| Client::modern(gateway.address, path, key);
    drive(&mut seen, &modern("/mcp", planted::ANA), "ana /mcp", everywhere).await;
    drive(&mut seen, &legacy("/mcp", planted::CAROL).await, "carol, legacy /mcp", everywhere).await;
    for (path, server) in [("/mcp/github", "github"), ("/mcp/gitlab", "gitlab")] {
        let only = |at: &str, tool: &str| (at == server).then(|| tool.to_owned());
        drive(&mut seen, &modern(path, planted::ANA), &format!("ana {path}"), only).await;
        drive(&mut seen, &legacy(path, planted::ANA).await, &format!("ana, legacy {path}"), only).await;
    }
    ask_the_gateway(&mut seen, &modern("/mcp/_gateway", planted::ANA), "ana, meta").await;
    ask_the_gateway(&mut seen, &legacy("/mcp/_gateway", planted::ANA).await, "ana, legacy meta").await;
    let ben = modern("/mcp", planted::BEN);
    let refused = ben.call("github__echo", json!({"password": planted::PASSWORD})).await;
    assert!(refused.text().starts_with("[POLICY DENIED]"), "ben is known, and may nothing: {refused:?}");
    seen.answer("ben echo", &refused);
    let stranger = modern("/mcp", planted::STRANGER);
    let refused = stranger.call("github__echo", json!({"password": planted::PASSWORD})).await;
    assert_eq!(refused.status, 401);
    seen.answer("stranger echo", &refused);
    let mut two = stranger.headers();
    two.append("authorization", format!("Bearer {}", planted::ANA).parse().expect("a value"));
    seen.answer("two credentials", &stranger.raw(Method::POST, &two, bytes::Bytes::new()).await);
    let broken = format!("{{\"password\": \"{}\"", planted::PASSWORD);
    let ana = modern("/mcp", planted::ANA);
    seen.answer("malformed", &ana.raw(Method::POST, &ana.headers(), broken.into()).await);
    for path in ["/metrics", "/readyz", "/healthz", "/nothing", "/mcp/absent"] {
        let client = modern(path, planted::ANA);
        seen.answer(path, &client.raw(Method::GET, &client.headers(), bytes::Bytes::new()).await);
    }

    // What other programs on the machine can see.
    let children = descendants(gateway.pid());
    assert!(children.len() >= 2, "{children:?}");
    let mut environments = BTreeMap::new();
    for pid in children.iter().chain([&gateway.pid()]) {
        let command = fs::read(format!("/proc/{pid}/cmdline")).expect("a command line");
        seen.take(format!("command line of {}", String::from_utf8_lossy(&command)), command);
    }
    for pid in children {
        let environment = fs::read(format!("/proc/{pid}/environ")).expect("an environment");
        let whose = [planted::ONE, planted::TWO].map(|secret| contains(&environment, secret.as_bytes()));
        assert!(whose != [true, true], "one child was given both");
        environments.insert(whose, environment.clone());
        let place = if whose[0] { "environment of one" } else { "environment of two" };
        seen.take(place, environment);
    }
    assert!(environments.contains_key(&[true, false]) && environments.contains_key(&[false, true]));

    // What the program says to its operator; once beside the running gateway.
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["servers", "list"],
        &["servers", "list", "--json"],
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["audit", "log"],
        &["audit", "log", "--json"],
        &["audit", "stats"],
        &["audit", "verify"],
        &["usage"],
    ] {
        let ran =
            Command::new(program()).arg("--config").arg(&config).args(arguments).envs(variables).output();
        let ran = ran.await.expect("it runs");
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        assert!(!ran.stdout.is_empty(), "{arguments:?}");
        seen.take(format!("doorward {}", arguments.join(" ")), [ran.stdout, ran.stderr].concat());
    }
    let table: BTreeMap<_, _> = variables.into();
    let loaded = Config::load(&config, &|name| table.get(name).map(|value| (*value).to_owned()));
    let loaded = loaded.expect("a valid file");
    seen.take("Debug of the configuration", format!("{loaded:?}{loaded:#?}"));

    // The files as they are while the gateway runs: the index still has its journal.
    let data = folder.path().join("data");
    seen.files(&data, "keys");
    assert!(seen.0.iter().any(|(place, _)| place.ends_with("index.db-wal")));

    // The collector comes up at last, and gets what is its own.
    let collector = TcpListener::bind(free).await.expect("the port is still free");
    let call = tokio::spawn(async move { ana.call("github__echo", json!({})).await });
    let taken = tokio::time::timeout(Duration::from_secs(60), collector_hears(&collector)).await;
    assert!(contains(&taken.expect("in time"), planted::COLLECTOR.as_bytes()));
    call.await.expect("called");
    drop(collector);
    gateway.stop().await;
    seen.take("log", fs::read(&log).expect("a log"));
    for surface in ["aggregate", "meta"] {
        over_stdio(&mut seen, &config, surface, &variables).await;
    }
    seen.files(&data, "keys");
    for recorder in &recorders {
        let received: Vec<_> = recorder
            .received()
            .iter()
            .map(|message| format!("{:?} {:?}\n", message.headers, message.body))
            .collect();
        seen.take(format!("received by {}", recorder.name), received.concat());
    }

    let places: Vec<&str> = seen.0.iter().map(|(place, _)| place.as_str()).collect();
    for part in ["index.db", "segments", "checkpoint", "payloads"] {
        assert!(places.iter().any(|place| place.starts_with("file: ") && place.contains(part)), "{places:?}");
    }
    let belongs = |name: &str, place: &str| match name {
        "bearer" => place == "received by github",
        "header" => place == "received by gitlab",
        "environment of one" | "environment of two" => place == name,
        // To its server, and back to the caller who said it.
        "password" => {
            place.starts_with("received by")
                || (place.starts_with("answer: ")
                    && !["audit", "usage", "server_status", "stranger", "malformed", "metrics"]
                        .iter()
                        .any(|word| place.contains(word)))
        }
        _ => false,
    };
    let mut leaks = Vec::new();
    for (name, secret) in planted::ALL {
        let holding = seen.holding(&of_text(secret));
        if ["bearer", "header", "environment of one", "environment of two", "password"].contains(&name) {
            assert!(holding.iter().any(|place| belongs(name, place)), "{name} did not arrive: {holding:?}");
        }
        let elsewhere = holding.into_iter().filter(|place| !belongs(name, place));
        leaks.extend(elsewhere.map(|place| format!("{name} in {place}")));
    }
    for file in ["seal.key", "ledger-signing.key", "ledger-salt.key"] {
        let key = fs::read(data.join("keys").join(file)).expect("a key");
        let mut forms = of_bytes(&key);
        // A signing key is a document; its 32 secret bytes stand inside.
        forms.extend(key.windows(32).step_by(16).flat_map(of_bytes));
        leaks.extend(seen.holding(&forms).iter().map(|place| format!("{file} in {place}")));
    }
    assert_eq!(leaks, Vec::<String>::new());
    assert!(seen.0.iter().any(|(place, text)| place == "log" && contains(text, b"I was given [secret]")));
}

/// The first request that a collector gets.
async fn collector_hears(listener: &TcpListener) -> Vec<u8> {
    let mut heard = Vec::new();
    let (mut stream, _): (TcpStream, _) = listener.accept().await.expect("a connection");
    while !contains(&heard, b"\r\n\r\n") {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.expect("readable");
        assert!(read > 0, "a whole head");
        heard.extend_from_slice(&buffer[..read]);
    }
    // It is not answered: the gateway may not care.
    heard
}

/// The files of a folder that hold this text.
pub fn files_holding(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path)
                && bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
            {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
