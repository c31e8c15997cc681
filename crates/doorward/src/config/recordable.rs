//! What records can hold of policies.
//!
//! A record takes over only so many verdicts of shadow policies, and only so much of a text.
//! What it left out would be missing when its proof is checked, and an honest one be refused.

use super::lint::Findings;
use super::rego::{Mode, RegoPolicy};

/// As many verdicts as a record takes over.
const MOST_SHADOWS: usize = 32;
/// In characters. Rules are recorded under the name of their policy, which leaves room for the rest.
const LONGEST_NAME: usize = 128;

/// Reports the id or name of a policy that is too long.
pub(super) fn name(name: &str, path: String, findings: &mut Findings) {
    let characters = name.chars().count();
    if characters > LONGEST_NAME {
        let message = format!("this has {characters} characters; records have room for {LONGEST_NAME}");
        findings.error("long-name", path, message).remedy("shorten it: rules are recorded under it");
    }
}

/// Reports policies whose verdicts would not all be recorded.
pub(super) fn shadows(policies: &[RegoPolicy], findings: &mut Findings) {
    let shadows = policies.iter().filter(|policy| policy.mode == Mode::Shadow).count();
    if shadows > MOST_SHADOWS {
        let message = format!("{shadows} policies are in shadow; records have room for {MOST_SHADOWS}");
        let remedy = "put those that have been tried in force, or set `mode: off`";
        findings.error("too-many-shadows", "regoPolicies", message).remedy(remedy);
    }
}
