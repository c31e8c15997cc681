//! What is recorded, and how safely: `audit`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use doorward_ledger::{Against, is_origin};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Context;
use super::dialect::Dialect;

/// What is recorded, and how safely.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Directory of the log.
    pub dir: PathBuf,
    /// Directory of the keys; in the data directory unless configured.
    pub key_dir: PathBuf,
    /// Directory of the key that signs the log: `key_dir`, unless the log is thrown away.
    pub log_keys: PathBuf,
    /// When a record counts as written.
    pub durability: Durability,
    /// What is kept of arguments and results.
    pub capture: Capture,
    /// Which refused calls get an entry of their own.
    pub refusals: Refusals,
    /// Files that every checkpoint is appended to as well.
    pub anchors: Vec<PathBuf>,
    /// The name the log signs with.
    pub origin: String,
    /// A checkpoint after this many entries at the latest.
    pub checkpoint_entries: u64,
    /// A checkpoint after this time at the latest, if there is anything new.
    pub checkpoint_interval: Duration,
    /// How many days sealed arguments, results and input documents are kept; `None` for ever.
    pub payload_days: Option<u32>,
    /// Whether records are thrown away when the gateway ends (`audit.enabled: false`).
    pub is_passing: bool,
}

impl Audit {
    /// Everything that the log is held against.
    pub fn against(&self) -> Against<'_> {
        Against {
            anchors: &self.anchors,
            keys: Some((&self.log_keys, &self.origin)),
            index: true,
            payloads: true,
            ..Against::default()
        }
    }
}

/// The name that a log signs with unless one is configured.
const ORIGIN: &str = "doorward";

/// When a record counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// On disk before the call is sent.
    Strict,
    /// Written before the call is sent, on disk before the answer leaves.
    #[default]
    Durable,
    /// On disk within 100 ms.
    Relaxed,
}

/// What is kept of arguments and results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// Digests only.
    None,
    /// Digests and the names of arguments.
    Keys,
    /// A short preview of the arguments, redacted.
    #[default]
    Preview,
    /// Arguments and results, sealed apart from the log.
    Full,
}

/// Which refused calls get an entry of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Refusals {
    /// Forty of one caller a minute; the others are counted and summed up.
    #[default]
    Sampled,
    /// All of them, however much disk that takes.
    All,
}

/// What is recorded, and how safely.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct AuditFile {
    /// With `false`, nothing is recorded for good: records are deleted when the gateway ends.
    /// Needs `allowUnaudited: true`.
    enabled: Option<bool>,
    /// Says that `enabled: false` is meant.
    allow_unaudited: bool,
    /// `sqlite`, or nothing. Records are kept in `dir` in any case.
    storage: Option<String>,
    /// Has no effect: nothing is written to this database of PetrefiedThunder/mcp-gateway.
    /// `doorward audit verify --legacy FILE` checks an old one.
    path: Option<String>,
    /// Must not be false: every record is chained.
    hash_chain: Option<bool>,
    /// Directory of the log, relative to this file; `audit` in `dataDir` unless set.
    dir: Option<String>,
    /// Directory of the signing key, relative to this file; `keys` in `dataDir` unless set.
    key_dir: Option<String>,
    /// When a record counts as written.
    durability: Durability,
    /// What is kept of arguments and results.
    capture: Option<Capture>,
    /// Which refused calls get an entry of their own; the first ones of each minute unless set.
    refusals: Refusals,
    /// Files that every checkpoint is appended to as well, relative to this file.
    anchors: Vec<String>,
    /// The name the log signs with, such as `gate.corp.example/log`; `doorward` unless set. No white space and no `+`.
    origin: Option<String>,
    /// A checkpoint after this many entries at the latest; 10000 unless set.
    checkpoint_entries: Option<u64>,
    /// A checkpoint after this many seconds at the latest; 1 unless set.
    checkpoint_seconds: Option<u64>,
    /// How long what is kept beside the records is kept.
    retention: Option<RetentionFile>,
}

/// How long what is kept beside the records is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RetentionFile {
    /// Days that sealed arguments, results and input documents are kept; 30 unless set.
    payloads: Option<Days>,
}

/// A number of days, from 1 on, or `forever`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Days {
    Number(#[schemars(range(min = 1))] u32),
    Word(Forever),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Forever {
    Forever,
}

/// Days that payloads are kept unless configured.
const PAYLOAD_DAYS: u32 = 30;

pub(crate) fn build(
    file: Option<AuditFile>,
    data_dir: &Path,
    dialect: Dialect,
    context: &mut Context<'_>,
) -> Audit {
    let file = file.unwrap_or_default();
    complain(&file, context);
    let is_passing = file.enabled == Some(false) && file.allow_unaudited;
    let capture = match dialect {
        Dialect::Theirs => Capture::Full,
        Dialect::Ours => Capture::default(),
    };
    let capture = file.capture.unwrap_or(capture);
    let placed = |text: &Option<String>, usual: &str, context: &Context<'_>| match text {
        Some(text) => context.place(text),
        None => data_dir.join(usual),
    };
    let key_dir = placed(&file.key_dir, "keys", context);
    // A log that is deleted lies where no other one can, and nothing of it is known elsewhere: it
    // is signed by a key that goes with it.
    let (dir, log_keys) = if is_passing {
        (data_dir.join("unaudited"), data_dir.join("unaudited/keys"))
    } else {
        (placed(&file.dir, "audit", context), key_dir.clone())
    };
    let anchors = if is_passing { &[][..] } else { &file.anchors };
    Audit {
        dir,
        log_keys,
        is_passing,
        key_dir,
        durability: file.durability,
        capture,
        refusals: file.refusals,
        anchors: anchors.iter().map(|anchor| context.place(anchor)).collect(),
        origin: file.origin.unwrap_or_else(|| ORIGIN.to_owned()),
        checkpoint_entries: file.checkpoint_entries.filter(|entries| *entries > 0).unwrap_or(10_000),
        checkpoint_interval: Duration::from_secs(file.checkpoint_seconds.filter(|it| *it > 0).unwrap_or(1)),
        payload_days: match file.retention.and_then(|retention| retention.payloads) {
            None => Some(PAYLOAD_DAYS),
            Some(Days::Number(days)) => Some(days.max(1)),
            Some(Days::Word(Forever::Forever)) => None,
        },
    }
}

fn complain(file: &AuditFile, context: &mut Context<'_>) {
    if file.enabled == Some(false) && !file.allow_unaudited {
        context
            .findings
            .error("unaudited", "audit.enabled", "no call would be recorded for good")
            .remedy("remove the line, or add `allowUnaudited: true` if that is meant");
    }
    if file.enabled == Some(false) && file.allow_unaudited {
        context
            .findings
            .warn("unaudited", "audit.enabled", "records are deleted when the gateway ends")
            .remedy("remove the line to keep them");
    }
    if file.enabled != Some(false) && file.allow_unaudited {
        let message = "`allowUnaudited` has no effect: `enabled` is not false";
        context.findings.warn("no-effect", "audit.allowUnaudited", message);
    }
    match file.storage.as_deref() {
        None | Some("" | "sqlite") => {}
        Some(other) => {
            context
                .findings
                .error("not-supported", "audit.storage", format!("records cannot be kept in `{other}` yet"))
                .remedy("remove the line; records are kept under `dataDir`");
        }
    }
    if file.path.is_some() {
        context.findings.warn(
            "no-effect",
            "audit.path",
            "nothing is written to this database: records are kept under `dataDir`; \
             `doorward audit verify --legacy FILE` checks an old one",
        );
    }
    if let Some(origin) = &file.origin
        && !is_origin(origin)
    {
        context
            .findings
            .error(
                "log-name",
                "audit.origin",
                format!("`{origin}` cannot name a log: signed notes could not carry it"),
            )
            .remedy(
                "use 1 to 200 bytes without white space and without `+`, such as `gate.corp.example/log`",
            );
    }
    if let Some(RetentionFile { payloads: Some(Days::Number(0)) }) = &file.retention {
        context
            .findings
            .error("retention", "audit.retention.payloads", "payloads are kept for at least one day")
            .remedy("write a number of days, or `forever`; `capture: preview` keeps none");
    }
    if file.hash_chain == Some(false) {
        context.findings.warn("no-effect", "audit.hashChain", "records are chained in any case");
    }
}
