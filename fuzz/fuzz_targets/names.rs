//! Names and URIs of the aggregate: they fit everywhere, lead back, and no two are one.

#![no_main]

use doorward_model::{CapabilityKind, ServerId};
use doorward_registry::name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (server, own, other) = input;
    // Whatever a client may say.
    let _ = (name::server_of(own), name::original_uri(own));
    let Ok(server) = ServerId::try_from(server) else { return };
    // Names lead back to the plain spelling of an id, whatever the id is.
    let plain = ServerId::try_from(&*server.in_names()).expect("a plain id is an id");
    let [shown, another] = [own, other].map(|own| name::exposed(&server, CapabilityKind::Tool, own));
    assert!(shown.len() <= name::MAX_NAME, "{shown}");
    assert!(shown.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-')), "{shown}");
    assert_eq!(shown == another, own == other, "{own:?} and {other:?} are {shown} and {another}");
    if let Some(of) = name::server_of(&shown) {
        assert_eq!(of, plain, "{shown} leads to another server");
    }
    let uri = name::exposed(&server, CapabilityKind::Resource, own);
    // Nothing has an empty URI.
    let leads_to = (!own.is_empty()).then(|| (plain, own.to_owned()));
    assert_eq!(name::original_uri(&uri), leads_to, "{uri}");
});
