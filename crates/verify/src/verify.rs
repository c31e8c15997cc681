//! Checking a proof.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use doorward_ledger::{Checkpoint, Hash, inclusion_holds, is_verifier_key, leaf_hash};
use doorward_model::json::{Document, Kind, Value, canonical, push_hex};
use doorward_policy::{Trial, sha256};

use crate::place::member_at;
use crate::proof::{FORMAT, LIMITS};
use crate::reached::{Reached, reach, text};

/// A proof that holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The decision, as recorded.
    pub decision: serde_json::Value,
    /// The outcome, as recorded, where the call did not end with its decision.
    pub outcome: Option<serde_json::Value>,
    /// The checkpoint that covers both.
    pub checkpoint: Checkpoint,
    /// What the policies say again.
    pub reached: Reached,
}

/// What of a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Flaw {
    /// The member, such as `decision.entry`; `proof` for the whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Flaw {
    pub(crate) fn new(field: &str, reason: &str) -> Self {
        Self { field: field.to_owned(), reason: reason.to_owned() }
    }
}

const MEMBERS: [&str; 6] = ["checkpoint", "decision", "format", "input", "outcome", "policies"];

/// Checks a proof against the log's public key, a signed-note verifier key (`ledger.pub`).
///
/// * `trial`: asked before a Rego module is compiled here; meant to run
///   [`trial_compile`](doorward_policy::trial_compile) in a child process. The policies are
///   those of the log's keeper: their digest stands in a signed entry.
///
/// # Errors
/// The first [`Flaw`].
pub fn verify(proof: &[u8], key: &str, trial: &Trial<'_>) -> Result<Verified, Flaw> {
    if !is_verifier_key(key.trim()) {
        return Err(Flaw::new("key", "is no verifier key, or its hash is not that of the key"));
    }
    let document = parse(proof)?;
    let proof = document.root();
    let checkpoint = Checkpoint::open(&text(proof, "checkpoint"), key.trim())
        .ok_or_else(|| Flaw::new("checkpoint", "is not signed with this key, or was altered"))?;
    let decision = entry(proof, "decision", &checkpoint)?
        .ok_or_else(|| Flaw::new("decision", "is missing, and there is nothing to prove without it"))?;
    let outcome = entry(proof, "outcome", &checkpoint)?;
    if let Some(outcome) = outcome {
        let is_its = outcome.get("of").map(Value::raw) == decision.get("_seq").map(Value::raw);
        if !is_its {
            return Err(Flaw::new("outcome", "is that of another call"));
        }
    }
    let policies = digested(proof, "policies", &text(decision, "bundle"))?;
    let input = digested(proof, "input", &text(decision, "input"))?;
    let reached = reach(decision, policies, input, trial)?;
    Ok(Verified { decision: plain(decision), outcome: outcome.map(plain), checkpoint, reached })
}

/// Reads a proof. That it is in canonical form leaves one spelling for everything in it.
fn parse(proof: &[u8]) -> Result<Document, Flaw> {
    let line_end = || Flaw::new("proof", "does not end with one line end");
    let body = proof.strip_suffix(b"\n").ok_or_else(line_end)?;
    let document = Document::parse(Bytes::copy_from_slice(body), &LIMITS).map_err(|error| {
        let field = member_at(&String::from_utf8_lossy(body), error.offset).to_owned();
        Flaw { field, reason: format!("is not JSON: {error}") }
    })?;
    let root = document.root();
    if !root.is_object() {
        return Err(Flaw::new("proof", "is not an object"));
    }
    if let Some((name, _)) = root.members().find(|(name, _)| !MEMBERS.contains(&&**name)) {
        return Err(Flaw::new(&name, "is not part of a proof"));
    }
    if text(root, "format") != FORMAT {
        return Err(Flaw::new("format", &format!("is not {FORMAT}")));
    }
    let canonical = canonical(root);
    if canonical.as_bytes() != body {
        let same = canonical.bytes().zip(body).take_while(|(ours, theirs)| ours == *theirs).count();
        let field = member_at(&canonical, same).to_owned();
        return Err(Flaw { field, reason: "is not in canonical form (RFC 8785)".to_owned() });
    }
    Ok(document)
}

/// The entry under `name`, which has its place in the log; `None` where the proof has none.
fn entry<'a>(proof: Value<'a>, name: &str, checkpoint: &Checkpoint) -> Result<Option<Value<'a>>, Flaw> {
    let Some(part) = proof.get(name) else { return Ok(None) };
    let flaw = |member: &str, reason: &str| Flaw::new(&format!("{name}.{member}"), reason);
    if let Some((odd, _)) = part.members().find(|(odd, _)| !["entry", "hash", "path"].contains(&&**odd)) {
        return Err(flaw(&odd, "is not part of a proof"));
    }
    let entry = part.get("entry").filter(|entry| entry.is_object());
    let entry = entry.ok_or_else(|| flaw("entry", "is missing"))?;
    let path = part.get("path").and_then(path).ok_or_else(|| flaw("path", "is no list of hashes"))?;
    let leaf = leaf_hash(entry.raw().as_bytes());
    let mut hash = String::new();
    push_hex(&mut hash, &leaf);
    let index = entry.get("_seq").and_then(|number| number.raw().parse().ok());
    let holds =
        index.is_some_and(|index| inclusion_holds(leaf, index, checkpoint.size, &path, &checkpoint.root));
    // The hash is there to tell what was altered: the entry, or the way from it to the root.
    match (holds, hash == text(part, "hash")) {
        (true, true) => {}
        (true, false) => return Err(flaw("hash", "is not that of the entry")),
        (false, false) => return Err(flaw("entry", "was altered: it is not the entry of the log")),
        (false, true) => return Err(flaw("path", "does not lead to the root that was signed")),
    }
    if text(entry, "kind") != name {
        return Err(flaw("entry", &format!("is in the log, but is no {name}")));
    }
    Ok(Some(entry))
}

fn path(list: Value<'_>) -> Option<Vec<Hash>> {
    (list.kind() == Kind::Array).then_some(())?;
    let hash = |item: Value<'_>| STANDARD.decode(item.as_str()?.as_bytes()).ok()?.try_into().ok();
    list.items().map(hash).collect()
}

/// What stands under `name`, which the decision names by its digest.
fn digested<'a>(proof: Value<'a>, name: &str, digest: &str) -> Result<Option<Value<'a>>, Flaw> {
    let Some(part) = proof.get(name) else { return Ok(None) };
    if sha256(part.raw().as_bytes()) == digest {
        Ok(Some(part))
    } else {
        Err(Flaw::new(name, "is not what the decision was made with: its digest is another"))
    }
}

/// For whoever shows it.
fn plain(entry: Value<'_>) -> serde_json::Value {
    serde_json::from_str(entry.raw()).unwrap_or_default()
}
