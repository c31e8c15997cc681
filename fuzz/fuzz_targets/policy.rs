//! Input documents: any is judged or refused, always alike, and however it is spelled.

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, canonical};
use doorward_policy::{PolicySet, simulate};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { depth: 64, values: 10_000, index_depth: 64, numbers: Numbers::Exact };

static POLICY: LazyLock<PolicySet> = LazyLock::new(doorward_fuzz::policy::set);

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Document::parse(Bytes::copy_from_slice(bytes), &LIMITS) else { return };
    let ruling = simulate(&POLICY, document.root());
    assert_eq!(ruling, simulate(&POLICY, document.root()), "twice the same");
    let spelled = canonical(document.root());
    let again = Document::parse(Bytes::from(spelled), &LIMITS).expect("canonical JSON is JSON");
    assert_eq!(ruling.ok(), simulate(&POLICY, again.root()).ok(), "spelled otherwise");
});
