//! Header values: what is written reads back, and nothing else is taken for it.

#![no_main]

use doorward_wire::header::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = decode(bytes) {
        written(&text);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        written(text);
    }
});

fn written(text: &str) {
    let header = encode(text);
    let is_harmless = |byte: u8| matches!(byte, b'\t' | b' '..=b'~');
    assert!(header.bytes().all(is_harmless), "{text:?} is written {header:?}");
    assert_eq!(decode(header.as_bytes()).as_deref(), Ok(text));
}
