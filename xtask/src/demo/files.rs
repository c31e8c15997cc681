//! The files of the demo: a configuration, a Rego policy, a payment service, a folder to read.

use std::fs;
use std::path::{Path, PathBuf};

/// Three identities with different rights.
pub const ANA: &str = "gw_demo_ana_developer";
pub const BEN: &str = "gw_demo_ben_reader";
pub const CI: &str = "gw_demo_ci_clock";

/// Where everything lies.
pub struct Files {
    pub config: PathBuf,
    pub log: PathBuf,
    pub notes: PathBuf,
    /// Where the payment service notes what it has paid back.
    pub refunds: PathBuf,
    /// The public key of the log.
    pub key: PathBuf,
    /// Where the proof of a decision goes, and a forged one.
    pub proof: PathBuf,
    pub forged: PathBuf,
}

/// Writes the files anew.
pub fn write(folder: &Path, port: u16, node: &Path, time: &Path) -> anyhow::Result<Files> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder.join("notes"))?;
    fs::write(folder.join("notes/welcome.txt"), "Doorward read this file because a rule allowed it.\n")?;
    fs::write(folder.join("refunds.rego"), REGO)?;
    fs::write(folder.join("payments.py"), PAYMENTS)?;
    let modules = node.join("node_modules/@modelcontextprotocol");
    let config = CONFIG
        .replace("{port}", &port.to_string())
        .replace("{folder}", &folder.display().to_string())
        .replace("{everything}", &modules.join("server-everything/dist/index.js").display().to_string())
        .replace("{filesystem}", &modules.join("server-filesystem/dist/index.js").display().to_string())
        .replace("{time}", &time.join("bin/mcp-server-time").display().to_string())
        .replace("{ana}", ANA)
        .replace("{ben}", BEN)
        .replace("{ci}", CI);
    let path = folder.join("gateway.yaml");
    fs::write(&path, config)?;
    Ok(Files {
        config: path,
        log: folder.join("gateway.log"),
        notes: folder.join("notes"),
        refunds: folder.join("refunds.txt"),
        key: folder.join("data/audit/ledger.pub"),
        proof: folder.join("proof.json"),
        forged: folder.join("forged.json"),
    })
}

const PAYMENTS: &str = include_str!("payments.py");

const REGO: &str = r#"package demo.refunds

# Larger refunds are for accounting.
deny contains "a refund is limited to 100" if {
    is_refund
    input.arguments.amount > 100
}

deny contains "a refund needs an amount" if {
    is_refund
    not is_number(input.arguments.amount)
}

is_refund if {
    input.backend == "payments"
    input.tool == "create_refund"
}
"#;

const CONFIG: &str = r#"# Written by `cargo xtask demo`. The keys below are for this demo only.
host: 127.0.0.1
port: {port}
dataDir: {folder}/data

auth:
  type: api-key
  keys:
    - {id: ana, key: "{ana}", name: Ana, person: ana, consumerId: ana, roles: [developer], scopes: [audit.read], enabled: true}
    - {id: ben, key: "{ben}", name: Ben, person: ben, consumerId: ben, roles: [reader], enabled: true}
    - {id: ci, key: "{ci}", name: CI, agent: ci, consumerId: ci, roles: [clock], servers: [time], enabled: true}

servers:
  - {id: everything, command: node, args: ["{everything}"], start: eager, enabled: true}
  - {id: files, command: node, args: ["{filesystem}", "{folder}/notes"], start: eager, enabled: true}
  - {id: time, command: "{time}", start: eager, enabled: true}
  - {id: payments, command: python3, args: ["{folder}/payments.py", "{folder}/refunds.txt"], start: eager, enabled: true}

policies:
  - id: nobody
    name: Nobody reads the environment
    roles: ["*"]
    rules:
      - {server: everything, tool: get-env, action: hide}
  - id: developers
    name: Developers
    roles: [developer]
    rules:
      - {action: allow}
  - id: readers
    name: Readers
    roles: [reader]
    rules:
      - {server: files, tool: "read_*", action: allow}
      - {server: files, tool: "list_*", action: allow}
      - {server: files, tool: "*", action: deny}
      - {server: time, action: allow}
  - id: clock
    name: Clock
    roles: [clock]
    rules:
      - {server: time, tool: get_current_time, action: allow}

regoPolicies:
  - {name: refunds, file: refunds.rego, mode: enforce}

limits:
  - {name: refunds-a-day, kind: quota, key: person, server: payments, tool: create_refund, max: 2, per: day}

audit:
  durability: durable
  # So that a proof shows not only what was decided, but that it follows from the policies.
  capture: full
"#;

impl Files {
    /// Tells how a client is connected.
    pub fn print_how_to_connect(&self, port: u16) {
        let url = format!("http://127.0.0.1:{port}/mcp");
        println!("\nConnect a client to {url} with one of these tokens:");
        println!("  {ANA}   everything but the environment, two refunds a day of up to 100");
        println!("  {BEN}      reads files and the clock");
        println!("  {CI}        the clock, and sees nothing else");
        println!("\nClaude Code:");
        println!("  claude mcp add --transport http doorward {url} --header \"Authorization: Bearer {ANA}\"");
        println!("\nAny client with a .mcp.json:");
        println!(
            "  {{\"mcpServers\":{{\"doorward\":{{\"type\":\"http\",\"url\":\"{url}\",\"headers\":{{\"Authorization\":\"Bearer {ANA}\"}}}}}}}}"
        );
    }
}
