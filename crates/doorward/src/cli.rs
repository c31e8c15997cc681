//! The command line: what can be asked for, and how it is spelled.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    audit, call, check, completions, debug, doctor, explain, init, keys, manual, policy, selftest, serve,
    servers, usage, verify,
};
use crate::selftest::dummy;

const EXAMPLES: &str = "\
Examples:
  doorward init                                  write gateway.yaml with a first key
  doorward serve                                 run the gateway
  doorward check                                 validate it, with line numbers and remedies
  doorward doctor                                see what is wrong, with a remedy for each finding
  doorward keys create \"My Agent\" agent-1 reader
  doorward servers list --json

Exit status: 0 done, 1 the answer is no, 2 wrong usage, 3 the gateway could not be reached.";

/// A self-hosted MCP gateway: decides every call before it runs, and proves what it decided.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, about, after_help = EXAMPLES, arg_required_else_help = false)]
pub struct Cli {
    /// The configuration [default: $MCP_GATEWAY_CONFIG, ./gateway.yaml, ./gateway.yml, ./gateway.json]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Read rules as PetrefiedThunder/mcp-gateway does: what it does not know is ignored [env: DOORWARD_COMPAT=1]
    #[arg(long, global = true)]
    pub compat: bool,

    /// The folder that servers are started in [default: this one] [env: DOORWARD_BASE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub base_dir: Option<PathBuf>,

    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a gateway.yaml with a first key and a sample policy
    Init(init::Arguments),
    /// Run the gateway
    Serve(serve::Arguments),
    /// Validate a configuration and say what is odd about it
    Check(check::Arguments),
    /// Look for what is wrong: configuration, log, disk, port, certificates, servers
    Doctor(doctor::Arguments),
    /// Say what an error code means and what to do about it
    Explain(explain::Arguments),
    /// Put the posture to the test: default deny, decide before run, determinism, proof
    Selftest(selftest::Arguments),
    /// List, create and revoke keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// List registered servers
    #[command(subcommand)]
    Servers(servers::Command),
    /// Call a tool through the running gateway
    Call(call::Arguments),
    /// Decide calls offline
    #[command(subcommand)]
    Policy(policy::Command),
    /// Read and verify the log of decisions
    #[command(subcommand)]
    Audit(audit::Command),
    /// Check a proof of one decision, without a gateway and without its log
    Verify(verify::Arguments),
    /// Look closely at one call, or log more about one server
    #[command(subcommand)]
    Debug(debug::Command),
    /// Show calls, errors and latency
    Usage(usage::Arguments),
    /// Compile a Rego policy read from standard input
    #[command(name = "trial-compile", hide = true)]
    TrialCompile,
    /// Serve as the server of a self-test
    #[command(name = dummy::COMMAND, hide = true)]
    SelftestServer(dummy::Arguments),
    /// Print a script that completes commands in your shell
    Completions(completions::Arguments),
    /// Write the manual pages
    Manual(manual::Arguments),
    /// Print the version
    Version,
}
