//! Tokens and key sets: whatever is presented, only the one token that was signed is let in,
//! and no key set lets in a token that its keys have not signed.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use doorward_identity::{
    Authenticator, Fetching, JwtKey, JwtSettings, KEY_SET_MAX_AGE, KeyFetcher, Presented, Settings,
};
use doorward_model::Secret;
use doorward_model::clock::Fixed;
use libfuzzer_sys::fuzz_target;

/// Signed with the secret below, without an end.
const SIGNED: &str = include_str!("token.txt");
const SECRET: &str = "a secret for the fuzzer, which is none";

/// Judges by the secret; made once.
static AUTHENTICATOR: LazyLock<Authenticator> =
    LazyLock::new(|| authenticator(JwtKey::Secret(Secret::new(SECRET)), None));

fuzz_target!(|input: (Vec<(u8, u8)>, &str, &[u8])| {
    let (edits, token, keys) = input;
    let signed = SIGNED.trim_end();
    let mut edited = signed.as_bytes().to_vec();
    for (at, byte) in edits {
        let at = usize::from(at) % edited.len();
        edited[at] = byte;
    }
    for text in [Some(token), std::str::from_utf8(&edited).ok()].into_iter().flatten() {
        let answer = AUTHENTICATOR.authenticate(Presented { bearer: Some(text) });
        assert_eq!(answer.is_ok(), text == signed, "{text}");
    }
    let published = authenticator(
        JwtKey::KeySet("https://issuer.example/keys".to_owned()),
        Some(Arc::new(Published(keys.to_vec()))),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let answer = runtime.block_on(published.identify(Presented { bearer: Some(RS256) }));
    assert!(answer.is_err(), "a key set that nobody signed with");
});

/// Names a key and an algorithm that a key set can have; its signature is nobody's.
const RS256: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiJhbmEiLCJleHAiOjQxMDI0NDQ4MDB9.",
    "c2lnbmVkIGJ5IG5vYm9keQ"
);

struct Published(Vec<u8>);

impl KeyFetcher for Published {
    fn fetch<'a>(&'a self, _uri: &'a str, _named_at: Option<&'a str>) -> Fetching<'a> {
        Box::pin(std::future::ready(Ok(self.0.clone())))
    }
}

fn authenticator(key: JwtKey, fetcher: Option<Arc<dyn KeyFetcher>>) -> Authenticator {
    let jwt = JwtSettings {
        key,
        issuer: None,
        audience: Vec::new(),
        roles_field: "roles".to_owned(),
        consumer_field: "sub".to_owned(),
        claims: vec!["team".to_owned()],
        leeway: Duration::ZERO,
        key_set_max_age: KEY_SET_MAX_AGE,
        domains: Vec::new(),
    };
    let settings = Settings { jwt: Some(jwt), ..Settings::default() };
    Authenticator::new(settings, Arc::new(Fixed::new(1)), fetcher).expect("valid settings")
}
