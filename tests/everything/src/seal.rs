//! State that travels through the client and comes back as it was.
//!
//! The client may read it and can change nothing: a tag over all of it, with a
//! key that lives as long as the server, binds it to one target and its arguments.

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::play::Answers;
use crate::rpc::Fault;

/// Seals and opens.
pub struct Seal(Key);

/// What a state belongs to.
pub struct Target<'a> {
    pub method: &'a str,
    /// Of the tool or the prompt.
    pub name: &'a str,
    pub arguments: &'a Value,
}

impl Seal {
    pub fn new() -> Self {
        Self(Key::generate(HMAC_SHA256, &SystemRandom::new()).expect("the system has randomness"))
    }

    pub fn close(&self, target: &Target<'_>, answers: &Answers) -> String {
        let content = json!([target.method, target.name, target.arguments, answers]).to_string();
        let tag = hmac::sign(&self.0, content.as_bytes());
        format!("{}.{}", BASE64.encode(content), BASE64.encode(tag))
    }

    /// The answers in a state that this seal closed for the same target.
    pub fn open(&self, target: &Target<'_>, state: &str) -> Result<Answers, Fault> {
        self.authentic(target, state)
            .ok_or_else(|| Fault::invalid("requestState is not ours, or not for this"))
    }

    fn authentic(&self, target: &Target<'_>, state: &str) -> Option<Answers> {
        let (content, tag) = state.split_once('.')?;
        let (content, tag) = (BASE64.decode(content).ok()?, BASE64.decode(tag).ok()?);
        hmac::verify(&self.0, &content, &tag).ok()?;
        let mut content: Value = serde_json::from_slice(&content).ok()?;
        let same =
            content[0] == target.method && content[1] == target.name && content[2] == *target.arguments;
        same.then(|| content[3].take().as_object().cloned())?
    }
}

/// An id that nobody guesses.
pub fn unguessable() -> String {
    let mut bytes = [0; 18];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    BASE64.encode(bytes)
}
