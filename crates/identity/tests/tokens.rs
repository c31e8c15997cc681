//! Signed tokens: everything that must be right about one, tried wrong.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING};
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorward_identity::{
    Authenticator, Fetching, JwtKey, JwtSettings, KEY_SET_MAX_AGE, KeyFetcher, Presented, Refused, Settings,
};
use doorward_identity::{FetchError, SettingsError};
use doorward_model::clock::Fixed;
use doorward_model::{Caller, Clock, Secret};
use serde_json::{Value, json};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// What signs the tokens of these tests.
enum Signer {
    Hmac(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Nobody,
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).expect("generated")))
    }

    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("generated"))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Hmac(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
            }
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("signed");
                signature
            }
            Self::Ec(pair) => pair.sign(&random, message).expect("signed").as_ref().to_vec(),
            Self::Nobody => Vec::new(),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn pem(&self) -> String {
        let der = match self {
            Self::Rsa(pair) => {
                AsDer::<signature_der::Der>::as_der(pair.public_key()).expect("encoded").as_ref().to_vec()
            }
            Self::Ec(pair) => {
                AsDer::<signature_der::Der>::as_der(pair.public_key()).expect("encoded").as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public: &PublicKey = pair.public_key();
                let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                let n = number(public.modulus().big_endian_without_leading_zero());
                let e = number(public.exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": n, "e": e})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "x": x, "y": y})
            }
            Self::Hmac(secret) => json!({"kty": "oct", "kid": id, "k": URL_SAFE_NO_PAD.encode(secret)}),
            Self::Nobody => json!({"kty": "unheard of"}),
        }
    }
}

mod signature_der {
    pub(super) type Der<'a> = aws_lc_rs::encoding::PublicKeyX509Der<'a>;
}

fn settings(key: JwtKey) -> JwtSettings {
    JwtSettings {
        claims: Vec::new(),
        key,
        issuer: Some("https://id.example".to_owned()),
        audience: vec!["doorward".to_owned()],
        roles_field: "roles".to_owned(),
        consumer_field: "sub".to_owned(),
        leeway: Duration::ZERO,
        key_set_max_age: KEY_SET_MAX_AGE,
        domains: Vec::new(),
    }
}

fn door(jwt: JwtSettings, clock: &Arc<Fixed>, fetcher: Option<Arc<dyn KeyFetcher>>) -> Authenticator {
    let settings = Settings { jwt: Some(jwt), ..Settings::default() };
    Authenticator::new(settings, clock.clone(), fetcher).expect("valid settings")
}

fn seconds(clock: &Fixed) -> u64 {
    clock.now().as_micros() / 1_000_000
}

fn good(clock: &Fixed) -> Value {
    json!({"iss": "https://id.example", "aud": "doorward", "sub": "agent-7", "exp": seconds(clock) + 600, "roles": ["reader", "writer"]})
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

fn without(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn ask(door: &Authenticator, token: &str) -> Result<Arc<Caller>, Refused> {
    door.authenticate(Presented { bearer: Some(token) })
}

#[test]
fn every_claim_is_enforced() {
    let clock = Arc::new(Fixed::new(5));
    let door = door(settings(JwtKey::Secret(Secret::new(SECRET))), &clock, None);
    let signer = Signer::Hmac(SECRET.as_bytes().to_vec());
    let (good, now) = (good(&clock), seconds(&clock));
    let cases = [
        (good.clone(), None, "as it should be"),
        (with(&good, "aud", json!(["other", "doorward"])), None, "one of several audiences"),
        (with(&good, "aud", json!("other")), Some(Refused::Audience), "for somebody else"),
        (with(&good, "aud", json!(["other"])), Some(Refused::Audience), "for somebody else"),
        (without(&good, "aud"), Some(Refused::Audience), "for nobody"),
        (with(&good, "iss", json!("https://evil.example")), Some(Refused::Issuer), "another issuer"),
        (with(&good, "iss", json!(["https://id.example"])), Some(Refused::Issuer), "not a text"),
        (without(&good, "iss"), Some(Refused::Issuer), "no issuer"),
        (with(&good, "exp", json!(now)), Some(Refused::Expired), "its end is not part of it"),
        (with(&good, "exp", json!(now as f64 + 0.5)), None, "half a second left"),
        (with(&good, "exp", json!("9999999999")), Some(Refused::Claims), "a text is no date"),
        (with(&good, "exp", json!(-1)), Some(Refused::Claims), "before time began"),
        (with(&good, "exp", json!(1e300)), None, "as good as never"),
        (without(&good, "exp"), Some(Refused::Claims), "no end"),
        (with(&good, "nbf", json!(now)), None, "begins now"),
        (with(&good, "nbf", json!(now + 1)), Some(Refused::NotYetValid), "begins later"),
        (with(&good, "nbf", json!("soon")), Some(Refused::Claims), "begins some day"),
        (without(&good, "sub"), Some(Refused::Claims), "nobody"),
        (with(&good, "sub", json!("")), Some(Refused::Claims), "nobody"),
    ];
    for (claims, expected, because) in cases {
        let token = signer.token(&json!({"alg": "HS256", "typ": "JWT"}), &claims);
        assert_eq!(ask(&door, &token).err(), expected, "{because}: {claims}");
    }
}

#[test]
fn the_key_chooses_the_algorithm_and_the_token_does_not() {
    let clock = Arc::new(Fixed::new(5));
    let (rsa, ec, claims) = (Signer::rsa(), Signer::ec(), good(&clock));
    let shared = Signer::Hmac(SECRET.as_bytes().to_vec());
    let by_secret = door(settings(JwtKey::Secret(Secret::new(SECRET))), &clock, None);
    let by_rsa = door(settings(JwtKey::PublicKey(rsa.pem())), &clock, None);
    let by_ec = door(settings(JwtKey::PublicKey(ec.pem())), &clock, None);
    let pem_as_secret = Signer::Hmac(rsa.pem().into_bytes());
    let other = Signer::Hmac(b"another secret of thirty-two bytes!!".to_vec());
    let cases = [
        (&by_secret, &shared, json!({"alg": "HS256"}), None, "the right secret"),
        (&by_rsa, &rsa, json!({"alg": "RS256"}), None, "the right RSA key"),
        (&by_ec, &ec, json!({"alg": "ES256"}), None, "the right elliptic curve key"),
        (
            &by_ec,
            &ec,
            json!({"alg": "ES256", "kid": "x", "typ": "at+jwt"}),
            None,
            "a named key, an access token",
        ),
        (&by_secret, &other, json!({"alg": "HS256"}), Some(Refused::Signature), "another secret"),
        (&by_rsa, &Signer::rsa(), json!({"alg": "RS256"}), Some(Refused::Signature), "another RSA key"),
        (&by_ec, &Signer::ec(), json!({"alg": "ES256"}), Some(Refused::Signature), "another curve key"),
        (
            &by_rsa,
            &pem_as_secret,
            json!({"alg": "HS256"}),
            Some(Refused::SigningKey),
            "public key as a secret",
        ),
        (&by_rsa, &rsa, json!({"alg": "RS512"}), Some(Refused::SigningKey), "another hash"),
        (&by_rsa, &rsa, json!({"alg": "PS256"}), Some(Refused::SigningKey), "another padding"),
        (&by_secret, &shared, json!({"alg": "HS512"}), Some(Refused::SigningKey), "another hash"),
        (&by_rsa, &Signer::Nobody, json!({"alg": "none"}), Some(Refused::Malformed), "no algorithm"),
        (
            &by_secret,
            &Signer::Nobody,
            json!({"alg": "NONE"}),
            Some(Refused::Malformed),
            "no algorithm, shouted",
        ),
        (&by_secret, &Signer::Nobody, json!({"alg": "HS256"}), Some(Refused::Signature), "no signature"),
        (&by_secret, &shared, json!({"typ": "JWT"}), Some(Refused::Malformed), "no algorithm named"),
        (
            &by_secret,
            &shared,
            json!({"alg": "HS256", "crit": ["x"], "x": 1}),
            Some(Refused::Malformed),
            "critical",
        ),
        (
            &by_secret,
            &shared,
            json!({"alg": "HS256", "typ": "logout+jwt"}),
            Some(Refused::Malformed),
            "a logout",
        ),
    ];
    for (door, signer, header, expected, because) in cases {
        assert_eq!(ask(door, &signer.token(&header, &claims)).err(), expected, "{because}: {header}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let clock = Arc::new(Fixed::new(5));
    let door = door(settings(JwtKey::Secret(Secret::new(SECRET))), &clock, None);
    let signer = Signer::Hmac(SECRET.as_bytes().to_vec());
    let token = signer.token(&json!({"alg": "HS256"}), &good(&clock));
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    let array = signer.token(&json!({"alg": "HS256"}), &json!([1]));
    for text in ["..", "a.b.c", "é.é.é", &format!("{head}."), &format!("{head}.{signature}A"), &array] {
        assert!(ask(&door, text).is_err(), "{text}");
    }
    for text in ["a.b", "a.b.c.d", head] {
        assert_eq!(ask(&door, text).err(), Some(Refused::Unknown), "{text}");
    }
}

#[test]
fn public_keys_of_other_kinds_are_refused() {
    let p384 = Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("generated"));
    for pem in
        [p384.pem(), String::new(), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".to_owned()]
    {
        let settings = Settings { jwt: Some(settings(JwtKey::PublicKey(pem))), ..Settings::default() };
        let error = Authenticator::new(settings, Arc::new(Fixed::new(1)), None).err();
        assert_eq!(error, Some(SettingsError::PublicKey));
    }
    let settings = Settings { jwt: Some(settings(JwtKey::KeySet("x".to_owned()))), ..Settings::default() };
    assert_eq!(
        Authenticator::new(settings, Arc::new(Fixed::new(1)), None).err(),
        Some(SettingsError::NoFetcher)
    );
}

#[test]
fn claims_become_a_caller() {
    let clock = Arc::new(Fixed::new(5));
    let signer = Signer::Hmac(SECRET.as_bytes().to_vec());
    let custom = JwtSettings {
        roles_field: "realm.roles".to_owned(),
        consumer_field: "azp".to_owned(),
        ..settings(JwtKey::Secret(Secret::new(SECRET)))
    };
    let token = |claims: &Value| signer.token(&json!({"alg": "HS256"}), claims);
    let plain = door(settings(JwtKey::Secret(Secret::new(SECRET))), &clock, None);
    let caller = ask(&plain, &token(&with(&good(&clock), "roles", json!("reader")))).expect("good");
    assert_eq!(caller.grant.id, "jwt:agent-7");
    assert_eq!(caller.grant.roles, ["reader"], "one text is one role");
    assert_eq!((caller.consumer(), &caller.person), ("agent-7", &None));

    let mut claims = good(&clock);
    claims["azp"] = json!("claude");
    claims["jti"] = json!("t-1");
    claims["realm"] = json!({"roles": ["a", 1, "b"]});
    claims["scope"] = json!("audit.read usage.read");
    claims["email"] = json!("ana@corp.example");
    claims["groups"] = json!(["eng"]);
    for (verified, email) in
        [(json!(true), Some("ana@corp.example")), (json!("true"), None), (json!(false), None)]
    {
        claims["email_verified"] = verified;
        let caller = ask(&door(custom.clone(), &clock, None), &token(&claims)).expect("good");
        assert_eq!(caller.grant.id, "jwt:t-1");
        assert_eq!(caller.grant.roles, ["a", "b"]);
        assert_eq!(caller.grant.scopes, ["audit.read", "usage.read"]);
        assert_eq!(caller.consumer(), "claude");
        let person = caller.person.as_ref().expect("the subject is somebody else than the program");
        assert_eq!((person.id.as_str(), person.email.as_deref()), ("agent-7", email));
        assert_eq!(person.groups, ["eng"]);
    }
}

#[test]
fn a_caller_carries_the_issuer_that_vouches_for_its_name() {
    let clock = Arc::new(Fixed::new(5));
    let (rsa, other) = (Signer::rsa(), Signer::rsa());
    let issuer_of = |settings: JwtSettings, signer: &Signer, algorithm: &str, claims: &Value| {
        let token = signer.token(&json!({"alg": algorithm}), claims);
        let caller = ask(&door(settings, &clock, None), &token).expect("good");
        caller.grant.issuer.clone().expect("a token has an issuer")
    };
    let shared = |secret: &str| Signer::Hmac(secret.as_bytes().to_vec());
    let (secret, second) = (SECRET, "another secret of thirty-two bytes!!");
    let by_secret = |secret: &str| settings(JwtKey::Secret(Secret::new(secret)));
    let (claims, silent) = (good(&clock), without(&good(&clock), "iss"));
    for (settings, signer, algorithm) in [
        (by_secret(secret), shared(secret), "HS256"),
        (by_secret(second), shared(second), "HS256"),
        (settings(JwtKey::PublicKey(rsa.pem())), Signer::Hmac(Vec::new()), "RS256"),
    ] {
        let signer = if algorithm == "RS256" { &rsa } else { &signer };
        let named = issuer_of(settings, signer, algorithm, &claims);
        assert_eq!(named, "https://id.example", "the configured issuer, whatever its key");
    }
    let open = |settings: JwtSettings| JwtSettings { issuer: None, ..settings };
    let mut names = Vec::new();
    for claims in [&claims, &silent, &with(&claims, "iss", json!("https://other.example"))] {
        names.push(issuer_of(open(by_secret(secret)), &shared(secret), "HS256", claims));
        names.push(issuer_of(open(by_secret(second)), &shared(second), "HS256", claims));
        names.push(issuer_of(open(settings(JwtKey::PublicKey(rsa.pem()))), &rsa, "RS256", claims));
        names.push(issuer_of(open(settings(JwtKey::PublicKey(other.pem()))), &other, "RS256", claims));
    }
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "each key vouches for its own names: {names:?}");
    assert!(names.iter().all(|name| !name.contains(secret) && !name.contains(second)), "{names:?}");
}

#[test]
fn a_verified_token_ends_when_it_says_so() {
    let clock = Arc::new(Fixed::new(5));
    let door = door(settings(JwtKey::Secret(Secret::new(SECRET))), &clock, None);
    let claims = with(&good(&clock), "exp", json!(seconds(&clock) + 30));
    let token = Signer::Hmac(SECRET.as_bytes().to_vec()).token(&json!({"alg": "HS256"}), &claims);
    let first = ask(&door, &token).expect("good");
    assert!(Arc::ptr_eq(&first, &ask(&door, &token).expect("good")), "remembered");
    clock.advance(Duration::from_secs(29));
    assert!(ask(&door, &token).is_ok());
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&door, &token).err(), Some(Refused::Expired));
}

/// Answers each fetch with the next document, and counts.
#[derive(Default)]
struct Issuer {
    documents: Mutex<VecDeque<Result<String, FetchError>>>,
    fetches: Mutex<u32>,
}

impl Issuer {
    fn publishing(keys: &[Value]) -> Result<String, FetchError> {
        Ok(json!({ "keys": keys }).to_string())
    }

    fn with(documents: Vec<Result<String, FetchError>>) -> Arc<Self> {
        Arc::new(Self { documents: Mutex::new(documents.into()), fetches: Mutex::default() })
    }

    fn fetches(&self) -> u32 {
        *self.fetches.lock().expect("not poisoned")
    }
}

impl KeyFetcher for Issuer {
    fn fetch<'a>(&'a self, _uri: &'a str, _named_at: Option<&'a str>) -> Fetching<'a> {
        Box::pin(async move {
            *self.fetches.lock().expect("not poisoned") += 1;
            // Gives the others a chance to ask as well.
            tokio::task::yield_now().await;
            let next = self.documents.lock().expect("not poisoned").pop_front();
            next.unwrap_or_else(|| Err("nothing more".into())).map(String::into_bytes)
        })
    }
}

async fn identify(door: &Authenticator, token: &str) -> Option<Refused> {
    door.identify(Presented { bearer: Some(token) }).await.err()
}

#[tokio::test]
async fn published_keys_are_fetched_once_and_again_when_they_change() {
    let clock = Arc::new(Fixed::new(5));
    let (old, new, oct) = (Signer::rsa(), Signer::ec(), Signer::Hmac(SECRET.as_bytes().to_vec()));
    let issuer = Issuer::with(vec![
        Issuer::publishing(&[old.jwk("old"), oct.jwk("oct"), json!({"kty": "later"}), json!(3)]),
        Issuer::publishing(&[new.jwk("new")]),
    ]);
    let door =
        door(settings(JwtKey::KeySet("https://id.example/keys".to_owned())), &clock, Some(issuer.clone()));
    let claims = |n: u32| with(&good(&clock), "jti", json!(n.to_string()));
    let by_old = |n| old.token(&json!({"alg": "RS256", "kid": "old"}), &claims(n));
    let by_new = |n| new.token(&json!({"alg": "ES256", "kid": "new"}), &claims(n));

    assert_eq!(ask(&door, &by_old(1)).err(), Some(Refused::SigningKey), "nothing is known yet");
    let tokens = (by_old(1), by_old(2), by_old(3));
    let answers =
        tokio::join!(identify(&door, &tokens.0), identify(&door, &tokens.1), identify(&door, &tokens.2));
    assert_eq!(answers, (None, None, None));
    assert_eq!(issuer.fetches(), 1, "three asked, one fetched");

    let forged = oct.token(&json!({"alg": "HS256", "kid": "oct"}), &claims(4));
    assert_eq!(identify(&door, &forged).await, Some(Refused::SigningKey), "a published secret is none");
    assert_eq!(identify(&door, &by_new(5)).await, Some(Refused::SigningKey));
    assert_eq!(issuer.fetches(), 1, "unknown keys cannot make it fetch at will");

    clock.advance(Duration::from_secs(30));
    assert_eq!(identify(&door, &by_new(6)).await, None);
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(identify(&door, &by_old(7)).await, Some(Refused::SigningKey), "withdrawn");
}

#[tokio::test]
async fn who_hangs_up_does_not_spend_the_attempt_for_the_others() {
    let clock = Arc::new(Fixed::new(5));
    let rsa = Signer::rsa();
    let issuer = Issuer::with(vec![Issuer::publishing(&[rsa.jwk("k")])]);
    let key = JwtKey::KeySet("https://id.example/keys".to_owned());
    let door = Arc::new(door(settings(key), &clock, Some(issuer.clone())));
    let stranger = tokio::spawn({
        let door = Arc::clone(&door);
        async move { identify(&door, "a.b.c").await }
    });
    while issuer.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    stranger.abort();
    assert!(stranger.await.expect_err("it hung up").is_cancelled());
    let token = rsa.token(&json!({"alg": "RS256"}), &good(&clock));
    assert_eq!(identify(&door, &token).await, None);
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn another_configuration_goes_on_with_the_keys_of_the_same_issuer() {
    let clock = Arc::new(Fixed::new(5));
    let rsa = Signer::rsa();
    let issuer = Issuer::with(vec![Issuer::publishing(&[rsa.jwk("k")])]);
    let key = |place: &str| JwtKey::KeySet(format!("https://id.example/{place}"));
    let first = door(settings(key("keys")), &clock, Some(issuer.clone()));
    let token = rsa.token(&json!({"alg": "RS256"}), &good(&clock));
    assert_eq!(identify(&first, &token).await, None);

    let same = door(settings(key("keys")), &clock, Some(issuer.clone())).after(&first);
    assert_eq!(identify(&same, &token).await, None, "from now on the issuer is down");
    let demanding = JwtSettings { audience: vec!["another".to_owned()], ..settings(key("keys")) };
    let demanding = door(demanding, &clock, Some(issuer.clone())).after(&same);
    assert_eq!(identify(&demanding, &token).await, Some(Refused::Audience), "the keys alone are kept");
    let elsewhere = door(settings(key("others")), &clock, Some(issuer.clone())).after(&same);
    assert_eq!(identify(&elsewhere, &token).await, Some(Refused::SigningKey), "another issuer's are not");
}

#[tokio::test]
async fn an_issuer_that_is_down_locks_nobody_out_who_was_in() {
    let clock = Arc::new(Fixed::new(5));
    let rsa = Signer::rsa();
    let issuer = Issuer::with(vec![
        Err("unreachable".into()),
        Ok("<html>".to_owned()),
        Issuer::publishing(&[rsa.jwk("k")]),
        Err("unreachable".into()),
    ]);
    let door =
        door(settings(JwtKey::KeySet("https://id.example/keys".to_owned())), &clock, Some(issuer.clone()));
    let token = |clock: &Fixed| rsa.token(&json!({"alg": "RS256"}), &good(clock));
    for expected in [Some(Refused::SigningKey), Some(Refused::SigningKey), None] {
        assert_eq!(identify(&door, &token(&clock)).await, expected);
        clock.advance(Duration::from_secs(30));
    }
    clock.advance(Duration::from_secs(600));
    assert_eq!(identify(&door, &token(&clock)).await, None, "the old keys still serve");
    assert_eq!(issuer.fetches(), 4, "it was tried");
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_again_count_for_a_day_and_then_no_more() {
    let hour = Duration::from_secs(3600);
    for (max_age, hours) in [(KEY_SET_MAX_AGE, 24), (2 * hour, 2)] {
        let clock = Arc::new(Fixed::new(5));
        let rsa = Signer::rsa();
        let documents = vec![Issuer::publishing(&[rsa.jwk("k")]), Err("unreachable".into())];
        let issuer = Issuer::with(documents);
        let key = JwtKey::KeySet("https://id.example/keys".to_owned());
        let settings = JwtSettings { key_set_max_age: max_age, ..settings(key) };
        let first = door(settings.clone(), &clock, Some(issuer.clone()));
        let token = |clock: &Fixed| rsa.token(&json!({"alg": "RS256"}), &good(clock));
        assert_eq!(identify(&first, &token(&clock)).await, None);
        clock.advance(hours * hour - Duration::from_secs(1));
        assert_eq!(identify(&first, &token(&clock)).await, None, "an issuer that is down for {hours} h");
        clock.advance(Duration::from_secs(1));
        assert_eq!(identify(&first, &token(&clock)).await, Some(Refused::StaleKeys), "{hours} h");
        let again = door(settings, &clock, Some(issuer.clone())).after(&first);
        assert_eq!(identify(&again, &token(&clock)).await, Some(Refused::StaleKeys), "nor after a reload");
        issuer.documents.lock().expect("not poisoned").push_back(Issuer::publishing(&[rsa.jwk("k")]));
        clock.advance(Duration::from_secs(30));
        assert_eq!(identify(&again, &token(&clock)).await, None, "it is back");
    }
}

/// Documents by their address.
struct Web(Vec<(String, String)>);

impl KeyFetcher for Web {
    fn fetch<'a>(&'a self, uri: &'a str, _named_at: Option<&'a str>) -> Fetching<'a> {
        let found = self.0.iter().find(|(address, _)| address == uri);
        let found = found.map(|(_, document)| document.clone().into_bytes());
        Box::pin(async move { found.ok_or_else(|| FetchError::from(format!("nothing at {uri}"))) })
    }
}

#[tokio::test]
async fn an_issuer_says_where_its_keys_are() {
    let clock = Arc::new(Fixed::new(5));
    let rsa = Signer::rsa();
    let keys = json!({"keys": [rsa.jwk("k")]}).to_string();
    let (root, tenant) = ("https://id.example", "https://id.example/tenant/");
    let metadata = |issuer: &str, uri: &str| json!({"issuer": issuer, "jwks_uri": uri}).to_string();
    let set = "https://keys.example/set";
    let unknown = Some(Refused::SigningKey);
    let cases = [
        (root, "https://id.example/.well-known/openid-configuration", metadata(root, set), None),
        (tenant, "https://id.example/tenant/.well-known/openid-configuration", metadata(tenant, set), None),
        (root, "https://id.example/.well-known/openid-configuration", metadata(tenant, set), unknown),
        (
            root,
            "https://id.example/.well-known/openid-configuration",
            metadata(root, "http://keys.example/set"),
            unknown,
        ),
        (
            root,
            "https://id.example/.well-known/openid-configuration",
            json!({"issuer": root}).to_string(),
            unknown,
        ),
        (root, "https://id.example/elsewhere", metadata(root, set), unknown),
    ];
    for (issuer, address, metadata, expected) in cases {
        let web = Web(vec![
            (address.to_owned(), metadata.clone()),
            (set.to_owned(), keys.clone()),
            ("http://keys.example/set".to_owned(), keys.clone()),
        ]);
        let settings =
            JwtSettings { issuer: Some(issuer.to_owned()), ..settings(JwtKey::Issuer(issuer.to_owned())) };
        let door = door(settings, &clock, Some(Arc::new(web)));
        let claims = with(&good(&clock), "iss", json!(issuer));
        let token = rsa.token(&json!({"alg": "RS256", "kid": "k"}), &claims);
        assert_eq!(identify(&door, &token).await, expected, "{issuer} {address} {metadata}");
        let foreign = rsa.token(
            &json!({"alg": "RS256", "kid": "k"}),
            &with(&claims, "iss", json!("https://other.example")),
        );
        assert!(identify(&door, &foreign).await.is_some(), "{issuer}");
    }
}

#[test]
fn a_caller_carries_the_claims_that_rules_name_and_no_others() {
    let clock = Arc::new(Fixed::new(5));
    let names = ["customer", "number", "is_staff", "realm.unit", "groups", "email", "absent"];
    let named = JwtSettings {
        claims: names.map(str::to_owned).to_vec(),
        ..settings(JwtKey::Secret(Secret::new(SECRET)))
    };
    let door = door(named, &clock, None);
    let signer = Signer::Hmac(SECRET.as_bytes().to_vec());
    let mut claims = good(&clock);
    claims["customer"] = json!("c-1");
    claims["number"] = json!(5.0);
    claims["is_staff"] = json!(true);
    claims["realm"] = json!({"unit": "sales"});
    claims["groups"] = json!(["a"]);
    claims["other"] = json!("x");
    for (verified, email) in [(true, Some("ana@corp.example")), (false, None)] {
        claims["email"] = json!("ana@corp.example");
        claims["email_verified"] = json!(verified);
        let caller = ask(&door, &signer.token(&json!({"alg": "HS256"}), &claims)).expect("good");
        let carried: Vec<_> = caller.grant.claims.iter().map(|(name, text)| (&**name, &**text)).collect();
        let mut expected =
            vec![("customer", "c-1"), ("is_staff", "true"), ("number", "5"), ("realm.unit", "sales")];
        expected.splice(1..1, email.map(|email| ("email", email)));
        assert_eq!(carried, expected, "a list is no value, and an address that nobody verified neither");
    }
}

#[test]
fn only_verified_addresses_of_the_named_domains_are_let_in() {
    let clock = Arc::new(Fixed::new(5));
    let named = JwtSettings {
        domains: vec!["a.example".to_owned(), "b.example".to_owned()],
        ..settings(JwtKey::Secret(Secret::new(SECRET)))
    };
    let door = door(named, &clock, None);
    let signer = Signer::Hmac(SECRET.as_bytes().to_vec());
    let foreign = Some(Refused::Domain);
    let cases = [
        (json!("ann@a.example"), json!(true), None),
        (json!("ann@B.Example"), json!(true), None),
        (json!("ann@a.example"), json!(false), foreign),
        (json!("ann@a.example"), json!("true"), foreign),
        (json!("ann@a.example@evil.example"), json!(true), foreign),
        (json!("ann@sub.a.example"), json!(true), foreign),
        (json!("a.example"), json!(true), foreign),
        (json!(null), json!(true), foreign),
    ];
    for (email, verified, expected) in cases {
        let claims = with(&with(&good(&clock), "email", email.clone()), "email_verified", verified.clone());
        let token = signer.token(&json!({"alg": "HS256"}), &claims);
        assert_eq!(ask(&door, &token).err(), expected, "{email} {verified}");
    }
}

#[test]
fn elliptic_signatures_are_fixed_length() {
    // DER-encoded signatures are what OpenSSL makes by default; RFC 7518, section 3.4, wants 64 bytes.
    let clock = Arc::new(Fixed::new(5));
    let pair = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).expect("generated");
    let signer = Signer::Ec(pair);
    let door = door(settings(JwtKey::PublicKey(signer.pem())), &clock, None);
    assert!(ask(&door, &signer.token(&json!({"alg": "ES256"}), &good(&clock))).is_err());
}
