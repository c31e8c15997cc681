//! Proofs: however one is altered, it does not hold, and nothing that is presented as one makes
//! its reader fail.

#![no_main]

use doorward_policy::{PolicyError, RegoSource};
use doorward_verify::{Reached, verify};
use libfuzzer_sys::fuzz_target;

/// Made by a gateway, of a call that a rule allowed.
const PROOF: &[u8] = include_bytes!("proof.json");
const KEY: &str = include_str!("proof.pub");

fuzz_target!(|input: (Vec<(u16, u8)>, &[u8])| {
    let (edits, whole) = input;
    let mut edited = PROOF.to_vec();
    for (at, byte) in edits {
        let at = usize::from(at) % edited.len();
        edited[at] = byte;
    }
    for proof in [&edited[..], whole] {
        match verify(proof, KEY, &no_rego) {
            Ok(held) => {
                assert_eq!(proof, PROOF);
                assert_eq!(held.reached, Reached::Same);
            }
            Err(_) => assert_ne!(proof, PROOF),
        }
    }
});

fn no_rego(module: &RegoSource) -> Result<(), Vec<PolicyError>> {
    let message = "the proof has no module".to_owned();
    Err(vec![PolicyError { place: module.name.clone(), at: None, message }])
}
