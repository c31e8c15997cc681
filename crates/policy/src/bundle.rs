//! The policy bundle: everything that influences a verdict, in one text, and back from it.
//!
//! The text is canonical JSON (RFC 8785), and its digest stands in every record. Whoever
//! has the text and an input document reaches the recorded verdict again.

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, canonical};
use serde::{Deserialize, Serialize};

use crate::config::{Mode, Options, RegoSource, RolePolicy};
use crate::problem::PolicyError;
use crate::set::{PolicySet, Trial};

/// The evaluator, named in bundles because another one may decide differently.
pub(crate) const EVALUATOR: &str = "regorus/0.14.1";

/// A bundle as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bundle {
    evaluator: String,
    options: Options,
    rego: Vec<Module>,
    roles: Vec<RolePolicy>,
}

/// A Rego module that is not off. Where it was read from decides nothing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    data: Option<String>,
    /// `rvm` or `interpreter`.
    evaluator: String,
    mode: Mode,
    name: String,
    source: String,
}

/// Why a bundle is not put in force.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is no bundle.
    #[error("is no policy bundle: {0}")]
    Unreadable(String),
    /// It was made for another evaluator.
    #[error("was made for the evaluator {theirs}, and this program has {EVALUATOR}")]
    Evaluator {
        /// The one it names.
        theirs: String,
    },
    /// It does not compile.
    #[error("does not compile: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<PolicyError>),
    /// What it compiles to is another bundle.
    #[error("does not compile to itself in this program")]
    Different,
}

/// Writes a bundle; `fast` says of each module whether it runs on the virtual machine.
pub(crate) fn write(
    roles: &[RolePolicy],
    rego: &[RegoSource],
    fast: impl Iterator<Item = bool>,
    options: &Options,
) -> String {
    let module = |(source, fast): (&RegoSource, bool)| Module {
        data: source.data.clone(),
        evaluator: if fast { "rvm" } else { "interpreter" }.to_owned(),
        mode: source.mode,
        name: source.name.clone(),
        source: source.source.clone(),
    };
    let bundle = Bundle {
        evaluator: EVALUATOR.to_owned(),
        options: options.clone(),
        rego: rego.iter().zip(fast).map(module).collect(),
        roles: roles.to_vec(),
    };
    // Texts, numbers and lists alone: there is nothing that could not be written.
    let text = serde_json::to_string(&bundle).unwrap_or_default();
    let limits = Limits { numbers: Numbers::Exact, values: usize::MAX, ..Limits::default() };
    let document = Document::parse(Bytes::from(text.clone()), &limits);
    // What serde_json wrote is JSON; were its nesting beyond our reader's limit, its own form
    // names the bundle just as well.
    document.map_or(text, |document| canonical(document.root()))
}

impl PolicySet {
    /// The policies of a bundle, to decide again what was decided with them.
    ///
    /// * `trial`: as for [`compile`](Self::compile).
    ///
    /// # Errors
    /// [`BundleError`] where it is none, or would not decide here as it did there.
    pub fn from_bundle(text: &str, trial: &Trial<'_>) -> Result<Self, BundleError> {
        let bundle: Bundle =
            serde_json::from_str(text).map_err(|error| BundleError::Unreadable(error.to_string()))?;
        if bundle.evaluator != EVALUATOR {
            return Err(BundleError::Evaluator { theirs: bundle.evaluator });
        }
        let source = |module: Module| RegoSource {
            name: module.name,
            source: module.source,
            file: None,
            data: module.data,
            mode: module.mode,
        };
        let rego = bundle.rego.into_iter().map(source).collect();
        let (set, _) =
            Self::compile(bundle.roles, rego, &bundle.options, trial).map_err(BundleError::Refused)?;
        if set.bundle() == text { Ok(set) } else { Err(BundleError::Different) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Condition, Rule};

    fn set() -> PolicySet {
        let condition =
            Condition { param: "amount".into(), operator: "lte".into(), value: serde_json::json!(1.50) };
        let rule = Rule {
            server: Some("pay".into()),
            action: "allow".into(),
            conditions: vec![condition],
            ..Rule::default()
        };
        let roles = RolePolicy {
            id: "é".into(),
            roles: vec!["*".into()],
            rules: vec![rule],
            ..RolePolicy::default()
        };
        let rego = |name: &str, mode| RegoSource {
            name: name.into(),
            source: "package p\ndeny contains data.word if input.tool == \"x\"".into(),
            file: Some("/etc/p.rego".into()),
            data: Some("{\"word\": \"no\"}".into()),
            mode,
        };
        let sources = vec![rego("b", Mode::Shadow), rego("a", Mode::Enforce), rego("c", Mode::Off)];
        PolicySet::compile(vec![roles], sources, &Options::default(), &|_| Ok(())).expect("compiles").0
    }

    #[test]
    fn a_bundle_is_read_back_to_the_very_same() {
        let set = set();
        let again = PolicySet::from_bundle(set.bundle(), &|_| Ok(())).expect("a bundle");
        assert_eq!((again.bundle(), again.digest()), (set.bundle(), set.digest()));
        assert!(!set.bundle().contains("/etc/"), "where it was read from decides nothing");
    }

    #[test]
    fn what_would_not_decide_alike_is_refused_in_words() {
        let bundle = set().bundle().to_owned();
        let cases = [
            ("{}".to_owned(), "is no policy bundle: missing field"),
            (bundle.replacen("regorus/", "other/", 1), "made for the evaluator other/0.14.1"),
            (bundle.replace("package p", "package"), "does not compile: a:2:"),
            (bundle.replacen("\"rvm\"", "\"interpreter\"", 1), "does not compile to itself"),
            (bundle.replacen("{\"evaluator\"", "{ \"evaluator\"", 1), "does not compile to itself"),
        ];
        for (text, words) in cases {
            let error = PolicySet::from_bundle(&text, &|_| Ok(())).expect_err("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
