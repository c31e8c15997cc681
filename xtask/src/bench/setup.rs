//! What is measured: mock servers, the floor proxy, and Doorward in two configurations.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::shell::{cargo, root, run};

const TOKEN: &str = "gw_bench_0123456789abcdef";
/// The keys of other callers, so that none of them needs more streams than one may have.
pub const KEYS: [&str; 16] = [
    "gw_other_0_0123456789abcdef",
    "gw_other_1_0123456789abcdef",
    "gw_other_2_0123456789abcdef",
    "gw_other_3_0123456789abcdef",
    "gw_other_4_0123456789abcdef",
    "gw_other_5_0123456789abcdef",
    "gw_other_6_0123456789abcdef",
    "gw_other_7_0123456789abcdef",
    "gw_other_8_0123456789abcdef",
    "gw_other_9_0123456789abcdef",
    "gw_other_10_0123456789abcdef",
    "gw_other_11_0123456789abcdef",
    "gw_other_12_0123456789abcdef",
    "gw_other_13_0123456789abcdef",
    "gw_other_14_0123456789abcdef",
    "gw_other_15_0123456789abcdef",
];
const SERVERS: usize = 4;
const TOOLS_EACH: usize = 25;

/// Something that load is sent to.
pub struct Subject {
    pub name: &'static str,
    pub url: String,
    pub tool: String,
    pub token: Option<String>,
    pub pid: u32,
}

/// Everything that runs during the measurement; it ends when this is dropped.
pub struct Bench {
    children: Vec<Child>,
    subjects: Vec<Subject>,
}

impl Bench {
    /// Starts mocks, floor and gateways.
    pub fn start(programs: &Path) -> anyhow::Result<Self> {
        let folder = root().join("target/bench");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let mut bench = Self { children: Vec::new(), subjects: Vec::new() };
        let mut mocks = Vec::new();
        for _ in 0..SERVERS {
            let port = free_port()?;
            let mut mock = Command::new(programs.join("mockmcp"));
            mock.args(["--listen", &format!("127.0.0.1:{port}"), "--tools", &TOOLS_EACH.to_string()]);
            bench.spawn(mock, &folder.join("mock.log"))?;
            wait_for(port)?;
            mocks.push(port);
        }
        let port = free_port()?;
        let mut floor = Command::new(programs.join("floorproxy"));
        floor.args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--upstream",
            &format!("127.0.0.1:{}", mocks[0]),
        ]);
        let pid = bench.spawn(floor, &folder.join("floor.log"))?;
        wait_for(port)?;
        bench.subjects.push(Subject {
            name: "floor (bare hyper proxy)",
            url: format!("http://127.0.0.1:{port}/mcp"),
            tool: "echo".to_owned(),
            token: None,
            pid,
        });
        bench.gateway(programs, &folder, "Doorward, one rule, relaxed", &mocks, one_rule)?;
        bench.gateway(programs, &folder, "Doorward, complete, durable", &mocks, complete)?;
        Ok(bench)
    }

    /// What to measure, the floor first.
    pub fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    fn spawn(&mut self, mut command: Command, log: &Path) -> anyhow::Result<u32> {
        let log = fs::File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let pid = child.id();
        self.children.push(child);
        Ok(pid)
    }

    fn gateway(
        &mut self,
        programs: &Path,
        folder: &Path,
        name: &'static str,
        mocks: &[u16],
        configuration: fn(&Path, u16, &[u16]) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<()> {
        let port = free_port()?;
        let folder = folder.join(format!("gateway-{port}"));
        fs::create_dir_all(&folder)?;
        let config = configuration(&folder, port, mocks)?;
        let mut doorward = Command::new(programs.join("doorward"));
        doorward.arg("--config").arg(config).arg("serve");
        let pid = self.spawn(doorward, &folder.join("gateway.log"))?;
        wait_for(port)?;
        self.subjects.push(Subject {
            name,
            url: format!("http://127.0.0.1:{port}/mcp"),
            tool: "mock0__echo".to_owned(),
            token: Some(TOKEN.to_owned()),
            pid,
        });
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Whatever has ended already needs no ending.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn common(folder: &Path, port: u16, mocks: &[u16], durability: &str) -> String {
    let mut text = format!(
        "host: 127.0.0.1\nport: {port}\ndataDir: {}/data\naudit: {{durability: {durability}}}\n\
         auth:\n  type: api-key\n  keys:\n    - {{id: bench, key: {TOKEN}, consumerId: bench, person: bench, roles: [bench], enabled: true}}\n",
        folder.display()
    );
    for (at, key) in KEYS.iter().enumerate() {
        text += &format!(
            "    - {{id: other-{at}, key: {key}, consumerId: other-{at}, person: other-{at}, roles: [bench], enabled: true}}\n"
        );
    }
    text += "servers:\n";
    for (at, mock) in mocks.iter().enumerate() {
        text += &format!("  - {{id: mock{at}, url: \"http://127.0.0.1:{mock}/mcp\", enabled: true}}\n");
    }
    text
}

/// One server and one rule: nothing to decide but one yes.
fn one_rule(folder: &Path, port: u16, mocks: &[u16]) -> anyhow::Result<PathBuf> {
    let mut text = common(folder, port, &mocks[..1], "relaxed");
    text += "rateLimit: {enabled: false}\nrequestLimit: {enabled: false}\npolicies:\n  - {id: all, name: All, roles: [bench], rules: [{action: allow}]}\n";
    let path = folder.join("gateway.yaml");
    fs::write(&path, text)?;
    Ok(path)
}

/// Four servers of 25 tools, 20 role rules, and one Rego policy with conditions on
/// arguments over 100 KB of data.
fn complete(folder: &Path, port: u16, mocks: &[u16]) -> anyhow::Result<PathBuf> {
    let mut text = common(folder, port, mocks, "durable");
    text += "rateLimit: {enabled: true, defaultPerMinute: 100000000}\nrequestLimit: {enabled: false}\npolicies:\n  - id: bench\n    name: Bench\n    roles: [bench]\n    rules:\n";
    for at in 0..16 {
        text += &format!(
            "      - {{server: mock{}, tool: \"delete_{at}*\", action: deny, conditions: [{{param: message, operator: regex, value: \"^drop\"}}]}}\n",
            at % SERVERS
        );
    }
    for at in 0..SERVERS {
        text += &format!(
            "      - {{server: mock{at}, tool: \"echo*\", action: allow, conditions: [{{param: message, operator: neq, value: forbidden}}]}}\n"
        );
    }
    text += "regoPolicies:\n  - {name: people, file: people.rego, data: people.json, mode: enforce}\n";
    fs::write(folder.join("people.rego"), REGO)?;
    fs::write(folder.join("people.json"), people())?;
    let path = folder.join("gateway.yaml");
    fs::write(&path, text)?;
    Ok(path)
}

const REGO: &str = r#"package bench.people

allow if {
    is_string(input.arguments.message)
    person := data.people[input.user]
    input.backend in person.servers
    count(input.arguments.message) <= person.longest
}

deny contains "message too long" if {
    is_string(input.arguments.message)
    count(input.arguments.message) > data.people[input.user].longest
}

deny contains "word not allowed" if {
    is_string(input.arguments.message)
    some word in data.people[input.user].forbidden
    contains(input.arguments.message, word)
}
"#;

/// A thousand people, a little over 100 KB.
fn people() -> String {
    let mut people = serde_json::Map::new();
    for at in 0..1000 {
        let name = if at == 500 { "bench".to_owned() } else { format!("person-{at}") };
        people.insert(
            name,
            serde_json::json!({
                "servers": ["mock0", "mock1", "mock2", "mock3"],
                "longest": 1000,
                "forbidden": ["secret", "password", format!("project-{at}")],
            }),
        );
    }
    serde_json::json!({ "people": people }).to_string()
}

/// Builds Doorward and the programs that measure it; where they are.
pub fn programs(profile: &str) -> anyhow::Result<PathBuf> {
    let packages = ["--package", "doorward", "--package", "doorward-bench"];
    run(cargo().args(["build", "--profile", profile]).args(packages))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    Ok(target.join(profile))
}

/// The memory that a process has at the moment.
pub fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub fn wait_for(port: u16) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(20) {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("nothing listens on port {port}; the logs are in target/bench")
}
