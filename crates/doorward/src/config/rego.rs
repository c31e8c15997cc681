//! Policies in Rego: `regoPolicies`. Only read here; compiling them is another's work.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Context, json, recordable, typed, yaml};

/// One module and its data.
#[derive(Clone, Debug, PartialEq)]
pub struct RegoPolicy {
    /// Its name, unique.
    pub name: String,
    /// Its source.
    pub source: String,
    /// The file it came from, for messages.
    pub file: Option<PathBuf>,
    /// Its data as a JSON object.
    pub data: Option<String>,
    /// What its verdicts do.
    pub mode: Mode,
}

/// What a policy's verdicts do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They count.
    #[default]
    Enforce,
    /// They are recorded and change nothing.
    Shadow,
    /// It is not run.
    Off,
}

/// One policy in Rego: a `file` or a `source`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RegoFile {
    /// Its name, unique.
    name: String,
    /// The file with its source, relative to this one.
    file: Option<String>,
    /// Its source.
    source: Option<String>,
    /// A JSON or YAML file with its data, relative to this one.
    data: Option<String>,
    /// What its verdicts do.
    mode: Mode,
}

pub(crate) fn build(files: Vec<RegoFile>, context: &mut Context<'_>) -> Vec<RegoPolicy> {
    let mut policies: Vec<RegoPolicy> = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        let path = format!("regoPolicies[{index}]");
        if file.name.is_empty() {
            context.findings.error("rego", &path, "`name` is missing");
            continue;
        }
        recordable::name(&file.name, format!("{path}.name"), &mut context.findings);
        if policies.iter().any(|other| other.name == file.name) {
            context
                .findings
                .error(
                    "duplicate-id",
                    format!("{path}.name"),
                    format!("two policies have the name `{}`", file.name),
                )
                .remedy("rename one of them");
        }
        let (source, place) = match (file.source, file.file) {
            (Some(source), None) => (source, None),
            (None, Some(name)) => {
                let (place, text) = context.read(&format!("{path}.file"), &name);
                (text.unwrap_or_default(), Some(place))
            }
            _ => {
                context.findings.error("rego", &path, "give either `file` or `source`");
                continue;
            }
        };
        let data = file.data.and_then(|name| data(&name, &format!("{path}.data"), context));
        policies.push(RegoPolicy { name: file.name, source, file: place, data, mode: file.mode });
    }
    recordable::shadows(&policies, &mut context.findings);
    policies
}

fn data(name: &str, path: &str, context: &mut Context<'_>) -> Option<String> {
    let (place, text) = context.read(path, name);
    let text = text?;
    let is_json = place.extension().is_some_and(|extension| extension == "json");
    let parsed = if is_json { json::parse(&text) } else { yaml::parse(&text) };
    let node = match parsed {
        Ok(node) => node,
        Err(malformed) => {
            let message = format!("{name}:{}: {}", malformed.mark.line, malformed.problem);
            context.findings.error("rego-data", path, message);
            return None;
        }
    };
    let value: Result<serde_json::Map<String, serde_json::Value>, _> =
        typed::read(&node, "", &Default::default());
    match value {
        Ok(value) => serde_json::to_string(&value).ok(),
        Err(_) => {
            context.findings.error("rego-data", path, "the data must be keys and values");
            None
        }
    }
}
