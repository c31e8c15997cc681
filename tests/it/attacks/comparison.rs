//! How a key is compared: it is not. What is presented is hashed, and the digest looks up who it is,
//! so how long an answer takes says nothing about how much of a guess was right.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::Method;

use crate::world::{ALICE, STAFF_MAY_ALL, World};

/// The source files of the program.
fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                // Tests compare what they like.
                let product = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path, product));
            }
        }
    }
    found
}

#[test]
fn no_secret_is_compared_and_none_can_be() {
    let all = sources();
    assert!(all.len() > 100);
    let mut comparing = Vec::new();
    // The crates that see what callers present; elsewhere one configuration is compared with another.
    let sees = |path: &Path| {
        ["identity", "gateway", "vault", "wire"]
            .iter()
            .any(|name| path.components().any(|part| part.as_os_str() == *name))
    };
    for (path, text) in all.iter().filter(|(path, _)| sees(path)) {
        for line in text.lines().filter(|line| line.contains(".expose()")) {
            let compares = ["==", "!=", ".eq(", ".ne(", ".cmp(", "starts_with", "ends_with", "matches!"];
            if compares.iter().any(|word| line.contains(word)) {
                comparing.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
    assert_eq!(comparing, Vec::<String>::new());
    let source = |name: &str| {
        let found = all.iter().find(|(path, _)| path.ends_with(name));
        found.unwrap_or_else(|| panic!("{name} is not there")).1.clone()
    };
    // A secret has no `==`, so that nobody can write one by accident.
    let secret = source("model/src/secret.rs");
    assert!(secret.contains("pub struct Secret") && !secret.contains("PartialEq"), "{secret}");
    // A key is found by the digest of what is presented; a token's signature is checked by the
    // cryptographic library.
    let keys = source("identity/src/authenticator.rs");
    assert!(keys.contains("sha256(bearer.as_bytes())") && keys.contains("self.keys.get(&digest)"), "{keys}");
    assert!(keys.contains("keys: Map<[u8; 32], Key>"), "{keys}");
    // What clients carry for us is opened or it is not: the cipher says so.
    let sealed = source("vault/src/sealer.rs");
    assert!(sealed.contains("aead") && !sealed.contains("=="), "{sealed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_that_is_nearly_right_is_told_what_any_other_is() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let nearly = |at: usize| {
        let mut guess = ALICE.as_bytes().to_vec();
        guess[at] ^= 1;
        String::from_utf8(guess).expect("ASCII")
    };
    let mut guesses = vec!["x".to_owned(), ALICE[1..].to_owned(), format!("{ALICE}x"), ALICE.to_uppercase()];
    guesses.extend((0..ALICE.len()).step_by(3).map(nearly));
    guesses.extend((1..ALICE.len()).step_by(5).map(|length| ALICE[..length].to_owned()));
    let mut told = Vec::new();
    for guess in guesses {
        let client = world.modern("/mcp", &guess);
        let answer = client.raw(Method::POST, &client.headers(), Bytes::from_static(b"{}")).await;
        let names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        told.push((answer.status, names, answer.body));
    }
    assert!(told.iter().all(|it| it.0 == 401 && *it == told[0]), "{told:?}");
    assert_eq!(world.received(), Vec::<String>::new());
    world.stop().await;
}
