//! What a child is given is what is configured for it: no variable, no argument, no open file
//! of the gateway's own, and nothing of its own is seen by anybody else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::program::{Program, run};
use crate::world::{ALICE, Client, STAFF_MAY_ALL, World, binary, configuration, ecosystem};

/// The section of a configuration with one server behind pipes, which offers these tools.
pub fn echoes(tools: &[&str], id: &str, more: &str) -> String {
    let script = format!("{}/servers/echoes.py", env!("CARGO_MANIFEST_DIR"));
    let words: Vec<_> = [script.as_str()].iter().chain(tools).map(|word| in_yaml(word)).collect();
    let python = ecosystem::folder().join("python-sdk-2/bin/python").display().to_string();
    format!(
        "servers:\n  - {{id: {id}, command: {python}, args: [{}], {more}enabled: true}}\n",
        words.join(", ")
    )
}

/// Any text as YAML has it.
pub fn in_yaml(text: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        other => format!("\\U{:08x}", u32::from(other)),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// Variables that a gateway may have, and a child must not.
const POLLUTED: [(&str, &str); 12] = [
    ("AWS_SECRET_ACCESS_KEY", "planted-aws"),
    ("GITHUB_TOKEN", "planted-github"),
    ("ANTHROPIC_API_KEY", "planted-anthropic"),
    ("MCP_GATEWAY_API_KEY", "planted-own-key"),
    ("DATABASE_URL", "postgres://planted"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=planted-collector"),
    ("SSH_AUTH_SOCK", "/planted/agent"),
    ("NODE_OPTIONS", "--require=/planted.js"),
    ("PYTHONPATH", "/planted"),
    ("LD_LIBRARY_PATH", "/planted"),
    ("HTTPS_PROXY", "http://planted"),
    ("UNUSED_SECRET", "planted-unused"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_child_has_what_is_configured_for_it_and_nothing_of_the_gateways() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, log) = (folder.path().join("gateway.yaml"), folder.path().join("log"));
    let mark = folder.path().join("mark");
    // To a shell, the last of them would be a command.
    let odd = format!("$(touch {0}) `touch {0}`; touch {0} $HOME * ~ && x", mark.display());
    let tools = ["environment", "arguments", "files", "--flag=a b", "quo\"te", &odd];
    let server = echoes(&tools, "child", "env: {OWN: \"${GIVEN}\", PLAIN: \"a b=c\"}, ");
    fs::write(&config, configuration(folder.path(), &[], &format!("{server}{STAFF_MAY_ALL}")))
        .expect("written");
    let variables = [&POLLUTED[..], &[("GIVEN", "planted-given")]].concat();
    let gateway = Program::start(&config, &log, &variables).await;
    let client = Client::modern(gateway.address, "/mcp/child", ALICE);
    let told = async |tool: &str| -> Value {
        let answer = client.call(tool, json!({})).await;
        serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    };

    let environment: BTreeMap<String, String> =
        serde_json::from_value(told("environment").await).expect("an environment");
    let names: Vec<_> = environment.keys().map(String::as_str).collect();
    let inherited = ["HOME", "LANG", "LC_CTYPE", "PATH", "TMPDIR", "TZ"];
    let strange: Vec<_> = names.iter().filter(|name| !inherited.contains(name)).collect();
    assert_eq!(strange, [&"OWN", &"PLAIN"], "Python itself may add LC_CTYPE");
    // What it was given is masked in what it says, but for what is too short to be a secret.
    assert_eq!((environment["OWN"].as_str(), environment["PLAIN"].as_str()), ("[secret]", "a b=c"));
    assert_eq!(told("arguments").await, json!(tools), "each is a word, and none a command");
    assert!(!mark.exists(), "no shell has read them");
    let files: Vec<(u32, String)> = serde_json::from_value(told("files").await).expect("files");
    // Its three pipes, and what whoever runs this test has left open for everybody.
    let inherited = open_files();
    for (number, what) in &files {
        assert!(inherited.contains(what) || (*number < 3 && what.starts_with("pipe:")), "{files:?}");
    }

    // Nor do its secrets stand where other programs can see them.
    for pid in [gateway.pid(), child_of(gateway.pid())] {
        let command = fs::read(format!("/proc/{pid}/cmdline")).expect("a command line");
        assert!(!String::from_utf8_lossy(&command).contains("planted"), "{pid}");
    }
    let address = gateway.address;
    let mut shown = String::new();
    for path in ["/metrics", "/readyz", "/healthz", "/debug", "/config"] {
        let client = Client::modern(address, path, ALICE);
        let answer = client.raw(hyper::Method::GET, &client.headers(), bytes::Bytes::new()).await;
        shown += &String::from_utf8_lossy(&answer.body);
    }
    for command in [
        &["servers", "list", "--json"][..],
        &["check", "--json"],
        &["doctor", "--offline"],
        &["audit", "log", "--json"],
    ] {
        let ran = crate::world::doorward(&config, command).await;
        shown += &format!("{}{}", ran.out, ran.err);
    }
    gateway.stop().await;
    shown += &fs::read_to_string(&log).expect("a log");
    for (_, secret) in variables {
        assert!(!shown.contains(secret), "{secret}");
        let found = crate::secrets::files_holding(&folder.path().join("data"), secret);
        assert_eq!(found, Vec::<String>::new(), "{secret}");
    }
    assert!(!run(&config, &["audit", "log", "--json"]).await.contains("planted"));
}

/// What this process has open.
fn open_files() -> Vec<String> {
    let all = fs::read_dir("/proc/self/fd").expect("/proc").filter_map(Result::ok);
    all.filter_map(|file| Some(fs::read_link(file.path()).ok()?.display().to_string())).collect()
}

/// The one child of a process.
fn child_of(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = fs::read_dir(format!("/proc/{pid}/task")).expect("threads").filter_map(Result::ok);
    let others = all.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let all = others.fold(children, |all, more| all + " " + &more);
    all.split_whitespace().find_map(|pid| pid.parse().ok()).expect("a child")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, log) = (folder.path().join("gateway.yaml"), folder.path().join("log"));
    let rest = format!("{}audit: {{capture: full}}\n{STAFF_MAY_ALL}", echoes(&["echo"], "child", ""));
    fs::write(&config, configuration(folder.path(), &[], &rest)).expect("written");
    let gateway = Program::start(&config, &log, &[]).await;
    assert_eq!(
        Client::modern(gateway.address, "/mcp", ALICE).call("child__echo", json!({})).await.summary(),
        "200 ok"
    );
    let mut folders = vec![folder.path().join("data/keys")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable").filter_map(Result::ok) {
            let mode = entry.metadata().expect("metadata").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
            seen += 1;
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    assert!(seen >= 3, "the keys are there");
    let socket = fs::metadata(folder.path().join("data/gateway.sock")).expect("a socket");
    assert_eq!(socket.permissions().mode() & 0o077, 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_a_client_makes_up_start_no_further_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let started = folder.path().join("started");
    let everything = binary("everything");
    let script = format!("echo >> {}; exec {} --stdio --era legacy", started.display(), everything.display());
    let server =
        format!("servers:\n  - {{id: child, command: sh, args: [-c, \"{script}\"], enabled: true}}\n");
    let world = World::start(&[], &format!("{server}rateLimit: {{enabled: false}}\n{STAFF_MAY_ALL}")).await;
    let count = || std::fs::read_to_string(&started).unwrap_or_default().lines().count();
    let able = |settings: Value| {
        let extensions = json!({"io.modelcontextprotocol/ui": settings});
        world.modern("/mcp/child", ALICE).able(json!({ "extensions": extensions }))
    };
    for number in 0..40 {
        let made_up = [json!({"mimeTypes": [format!("x{number}")]}), json!({ format!("x{number}"): {} })];
        for settings in made_up {
            assert!(!able(settings).tools().await.is_empty(), "{number}");
        }
    }
    assert_eq!(count(), 1, "they all say the same");
    let known = json!({"mimeTypes": ["text/html;profile=mcp-app"]});
    assert!(!able(known).tools().await.is_empty());
    assert_eq!(count(), 2, "and what means something is passed on");
    world.stop().await;
}
