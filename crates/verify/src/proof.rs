//! Putting a proof together.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use doorward_ledger::{Included, leaf_hash};
use doorward_model::json::{Document, Limits, Numbers, canonical, push_hex, push_string};

/// The name of the format; another one is another format.
pub const FORMAT: &str = "doorward-proof/1";

/// What a proof and the input document in it are read with. A record holds any number; an input document nests as deep as
/// its arguments do, and the proof a little deeper.
pub const LIMITS: Limits =
    Limits { depth: 140, values: 1 << 20, index_depth: usize::MAX, numbers: Numbers::Exact };

/// The parts of a proof, as the log has them.
pub struct Proof<'a> {
    /// The signed note.
    pub checkpoint: &'a str,
    /// The decision.
    pub decision: &'a Included,
    /// The outcome; `None` where the call ended with its decision, or has not ended.
    pub outcome: Option<&'a Included>,
    /// The policy bundle; `None` where it is withheld.
    pub policies: Option<&'a str>,
    /// The input document; `None` where it was not kept, or is withheld.
    pub input: Option<&'a str>,
}

/// Parts that make no proof.
#[derive(Debug, thiserror::Error)]
#[error("the parts of the proof are not what a gateway writes: {0}")]
pub struct Unprovable(String);

impl Proof<'_> {
    /// The text: canonical JSON (RFC 8785) and a line end.
    ///
    /// # Errors
    /// When a part is not canonical JSON; what a gateway wrote is.
    pub fn to_text(&self) -> Result<String, Unprovable> {
        let mut text = String::from("{\"checkpoint\":");
        push_string(&mut text, self.checkpoint);
        text.push_str(",\"decision\":");
        included(&mut text, self.decision);
        text.push_str(",\"format\":");
        push_string(&mut text, FORMAT);
        if let Some(input) = self.input {
            text.push_str(",\"input\":");
            text.push_str(input);
        }
        if let Some(outcome) = self.outcome {
            text.push_str(",\"outcome\":");
            included(&mut text, outcome);
        }
        if let Some(policies) = self.policies {
            text.push_str(",\"policies\":");
            text.push_str(policies);
        }
        text.push('}');
        let document = Document::parse(Bytes::from(text.clone()), &LIMITS)
            .map_err(|error| Unprovable(error.to_string()))?;
        if canonical(document.root()) != text {
            return Err(Unprovable("not in canonical form".to_owned()));
        }
        text.push('\n');
        Ok(text)
    }
}

fn included(text: &mut String, included: &Included) {
    text.push_str("{\"entry\":");
    text.push_str(&String::from_utf8_lossy(&included.entry));
    text.push_str(",\"hash\":\"");
    push_hex(text, &leaf_hash(&included.entry));
    text.push_str("\",\"path\":[");
    for (at, hash) in included.path.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        push_string(text, &STANDARD.encode(hash));
    }
    text.push_str("]}");
}
