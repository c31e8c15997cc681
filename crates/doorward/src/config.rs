//! The configuration: one file into plain, typed settings, or into the reasons why not.
//!
//! Text → tree → variables filled → structs of the sections, unknown keys refused →
//! settings, checked one by one and against each other. Everything that is wrong is
//! found in one go where that is possible, with its line and a remedy. Nothing is
//! started, compiled or connected here, and nothing is read but the named files and
//! the variables that are passed in.

mod absent;
pub mod audit;
pub mod auth;
pub mod dialect;
mod file;
pub mod find;
mod interpolate;
pub mod json;
pub mod limits;
pub mod lint;
pub mod listen;
pub mod metering;
pub mod network;
pub(crate) mod offered;
mod pasted;
pub mod policies;
mod reach;
mod recordable;
pub mod rego;
pub mod requests;
mod schema;
pub mod servers;
mod shared;
mod spelled;
pub mod tree;
mod typed;
pub mod yaml;

pub use lint::{Lint, Severity};
pub use listen::Listen;
pub use schema::schema;

use std::cell::RefCell;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use doorward_model::Secret;

use audit::Audit;
use auth::Auth;
use dialect::Dialect;
use file::GatewayFile;
use limits::Limits;
use lint::Findings;
use metering::Metering;
use policies::RolePolicy;
use rego::RegoPolicy;
use requests::RequestLimit;
use servers::{Server, Written};
use tree::{Malformed, Node, Positions};

/// Looks up an environment variable. Tests pass a table; only `main` asks the system.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What the gateway is told to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens, and to whom.
    pub listen: Listen,
    /// Directory of its records, keys and database.
    pub data_dir: PathBuf,
    /// Where replicas keep what they share; `None` for a process that is alone.
    pub shared: Option<Secret>,
    /// The servers, in file order.
    pub servers: Vec<Server>,
    /// Who may call.
    pub auth: Auth,
    /// Role rules, in file order.
    pub policies: Vec<RolePolicy>,
    /// Policies in Rego, in file order.
    pub rego_policies: Vec<RegoPolicy>,
    /// How often anybody may call.
    pub limits: Limits,
    /// How many requests that are no calls every caller may make; `None` for any number.
    pub request_limit: Option<RequestLimit>,
    /// What is recorded.
    pub audit: Audit,
    /// What is counted.
    pub metering: Metering,
    /// Whether rules are read as PetrefiedThunder/mcp-gateway reads them (`--compat`).
    pub compat: bool,
}

/// Set to `1`, it is `--compat` for every command.
pub const COMPAT: &str = "DOORWARD_COMPAT";
/// What `--base-dir` is for every command: where children are started.
pub const BASE_DIR: &str = "DOORWARD_BASE_DIR";

/// A configuration that may be put in force.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is odd about it; warnings only.
    pub lints: Vec<Lint>,
    /// The file.
    pub path: PathBuf,
    /// `sha256:…` over the file and the files it names, to see whether anything changed.
    pub digest: String,
    /// The files that were read beside it.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// How policies are read.
    pub fn policy_options(&self) -> doorward_policy::Options {
        doorward_policy::Options { compat: self.compat, ..doorward_policy::Options::default() }
    }

    /// Reads the file at `path` and the files it names.
    ///
    /// # Errors
    /// All findings, in the order of the file, at least one of which
    /// [is an error](Lint::is_error).
    pub fn load(path: &Path, variables: &Variables<'_>) -> Result<Loaded, Vec<Lint>> {
        let mut findings = Findings::default();
        let text = match read_file(path) {
            Ok(text) => text,
            Err(problem) => {
                findings.error("file", "", format!("{} {problem}", path.display()));
                return Err(findings.located(&Positions::default()));
            }
        };
        let mut root = match parse(path, &text) {
            Ok(root) => root,
            Err(malformed) => {
                findings.error("syntax", "", malformed.problem).at(malformed.mark);
                return Err(findings.located(&Positions::default()));
            }
        };
        let positions = Positions::of(&root);
        let written = servers::written(&root);
        let (missing, parts) = interpolate::interpolate(&mut root, variables, &mut findings);
        let dialect = Dialect::of(&root);
        let Some(file) = read_sections(&root, dialect, &mut findings) else {
            return Err(findings.located(&positions));
        };
        let base = path.parent().unwrap_or(Path::new(""));
        let digest = digest::Context::new(&digest::SHA256);
        let given = |name: &str| variables(name).filter(|text| !text.is_empty());
        let (children, compat) =
            (given(BASE_DIR).map(PathBuf::from), given(COMPAT).is_some_and(|it| it != "0"));
        let files = Vec::new();
        let mut context =
            Context { base, children, compat, variables, written, missing, parts, findings, digest, files };
        context.digest.update(text.as_bytes());
        let config = build(file, dialect, &mut context);
        let digest = hex(context.digest.finish().as_ref());
        if context.findings.has_errors() {
            return Err(context.findings.located(&positions));
        }
        let lints = context.findings.located(&positions);
        Ok(Loaded { config, lints, path: path.to_owned(), digest, files: context.files })
    }
}

/// Reads the text of a file as a tree: JSON if its name ends in `.json`, else YAML.
///
/// # Errors
/// [`Malformed`] with the place and what is wrong there.
pub fn parse(path: &Path, text: &str) -> Result<Node, Malformed> {
    if path.extension().is_some_and(|extension| extension == "json") {
        json::parse(text)
    } else {
        yaml::parse(text)
    }
}

/// What the sections share while they are built.
pub(crate) struct Context<'a> {
    base: &'a Path,
    /// Where children are started; `None` for the gateway's own folder.
    children: Option<PathBuf>,
    /// Whether what PetrefiedThunder/mcp-gateway passes over is passed over.
    compat: bool,
    variables: &'a Variables<'a>,
    /// Where servers are, before variables were filled; by their position.
    written: Vec<Written>,
    missing: interpolate::Missing,
    parts: interpolate::Parts,
    findings: Findings,
    digest: digest::Context,
    files: Vec<PathBuf>,
}

impl Context<'_> {
    /// A path of the file, relative to the file's own directory.
    fn place(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    /// The place of a file that must exist.
    fn existing(&mut self, at: &str, path: &str) -> PathBuf {
        let place = self.place(path);
        if !place.is_file() {
            self.findings.error("file", at, format!("there is no file {}", place.display()));
        }
        place
    }

    /// Reads a file that is part of the configuration.
    fn read(&mut self, at: &str, path: &str) -> (PathBuf, Option<String>) {
        let place = self.place(path);
        let text = match read_file(&place) {
            Ok(text) => Some(text),
            Err(problem) => {
                self.findings.error("file", at, format!("{} {problem}", place.display()));
                None
            }
        };
        let bytes = text.as_deref().unwrap_or_default().as_bytes();
        // The length keeps the end of one file from passing for the start of another.
        self.digest.update(&(bytes.len() as u64).to_be_bytes());
        self.digest.update(bytes);
        self.files.push(place.clone());
        (place, text)
    }
}

fn read_sections(root: &Node, dialect: Dialect, findings: &mut Findings) -> Option<GatewayFile> {
    let unknown = RefCell::default();
    let file = typed::read(root, "", &unknown);
    absent::report(&unknown.into_inner(), dialect, findings);
    match file {
        Ok(file) => Some(file),
        Err(wrong) => {
            let lint = findings.error("wrong-kind", wrong.path, wrong.message);
            lint.remedy = wrong.remedy;
            if let Some(mark) = wrong.mark {
                lint.at(mark);
            }
            None
        }
    }
}

fn build(file: GatewayFile, dialect: Dialect, context: &mut Context<'_>) -> Config {
    let listen = listen::build(&file, context);
    let data_dir = context.place(file.data_dir.as_deref().unwrap_or("doorward-data"));
    let shared = shared::build(file.shared, context);
    let servers = servers::build(file.servers, context);
    absent::of_servers(&servers, &mut context.findings);
    let auth = auth::build(file.auth, listen.is_loopback(), context);
    let policies = policies::build(file.policies, context);
    let rego_policies = rego::build(file.rego_policies, context);
    let limits = limits::build(file.limits, file.rate_limit, &servers, dialect, context);
    let request_limit = requests::build(file.request_limit, context);
    let audit = audit::build(file.audit, &data_dir, dialect, context);
    let metering = metering::build(file.metering, context);
    reach::check(&servers, &auth, &policies, &rego_policies, &mut context.findings);
    let compat = context.compat;
    reach::check_names(&servers, &policies, dialect, &mut context.findings);
    Config {
        listen,
        data_dir,
        shared,
        servers,
        auth,
        policies,
        rego_policies,
        limits,
        request_limit,
        audit,
        metering,
        compat,
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let length = std::fs::metadata(path).map_err(cannot)?.len();
    if length > MAX_FILE {
        return Err("is larger than 16 MiB".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    // Editors on Windows still write one.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text
}
