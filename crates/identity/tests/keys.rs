//! Keys: who gets in with which text, and who does not.

use std::sync::Arc;
use std::time::Duration;

use doorward_identity::{
    Authenticator, KeySettings, Presented, Refused, Settings, SettingsError, StoredKey, new_key,
};
use doorward_model::clock::Fixed;
use doorward_model::{Clock, GrantKind, Person};

fn key(id: &str, stored: &str) -> KeySettings {
    KeySettings {
        previous: None,
        id: id.to_owned(),
        key: StoredKey::parse(stored).expect("a key"),
        person: None,
        agent: Some(format!("agent-of-{id}")),
        roles: vec!["reader".to_owned()],
        servers: None,
        scopes: vec!["audit.read".to_owned()],
        expires_at: None,
        rate_limit: Some(7),
        enabled: true,
    }
}

fn authenticator(keys: Vec<KeySettings>, clock: &Arc<Fixed>) -> Authenticator {
    Authenticator::new(Settings { keys, ..Settings::default() }, clock.clone(), None).expect("valid settings")
}

fn ask(authenticator: &Authenticator, text: &str) -> Result<String, Refused> {
    authenticator.authenticate(Presented { bearer: Some(text) }).map(|caller| caller.grant.id.clone())
}

#[test]
fn only_the_key_itself_opens() {
    let clock = Arc::new(Fixed::new(3));
    let (secret, hash) = new_key(&*clock);
    let off = KeySettings { enabled: false, ..key("off", "gw_off") };
    let soon =
        KeySettings { expires_at: Some(clock.now().plus(Duration::from_secs(60))), ..key("soon", "gw_soon") };
    let door = authenticator(
        vec![key("raw", "gw_raw"), key("hashed", &format!("sha256:{hash}")), off, soon],
        &clock,
    );
    let upper = hash.to_uppercase();
    let cases = [
        // presented                answer                    because
        ("gw_raw", Ok("raw"), "stored in the clear"),
        (secret.expose(), Ok("hashed"), "stored as a hash"),
        (&hash, Err(Refused::Unknown), "a hash is not a key"),
        (&upper, Err(Refused::Unknown), "in any case"),
        (&format!("sha256:{hash}"), Err(Refused::Unknown), "nor with its scheme"),
        ("gw_off", Err(Refused::Disabled), "switched off"),
        ("gw_soon", Ok("soon"), "not yet expired"),
        ("gw_nobody", Err(Refused::Unknown), "never configured"),
        ("gw_raw ", Err(Refused::Unknown), "another text"),
        ("", Err(Refused::Missing), "nothing"),
        ("a.b.c", Err(Refused::Unknown), "a token where none are accepted"),
        (&"x".repeat(20_000), Err(Refused::Malformed), "absurdly long"),
    ];
    for (presented, expected, because) in cases {
        assert_eq!(ask(&door, presented), expected.map(str::to_owned), "{because}");
    }
    assert_eq!(door.authenticate(Presented::default()), Err(Refused::Missing));
    clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&door, "gw_soon"), Err(Refused::Expired), "its end is not part of it");
    let texts =
        [Refused::Unknown, Refused::Disabled, Refused::Expired, Refused::Missing].map(|it| it.to_string());
    assert!(texts.iter().all(|text| *text == texts[0]), "the same to the outside");
}

#[test]
fn the_log_tells_apart_why_a_key_opens_nothing() {
    let clock = Arc::new(Fixed::new(3));
    let off = KeySettings { enabled: false, ..key("off", "gw_off") };
    let ended = KeySettings { expires_at: Some(clock.now()), ..key("ended", "gw_ended") };
    let door = authenticator(vec![off, ended], &clock);
    for (bearer, expected) in [
        (None, "missing_credentials"),
        (Some("gw_nobody"), "unknown_key"),
        (Some("gw_off"), "key_disabled: off"),
        (Some("gw_ended"), "expired: ended"),
    ] {
        let presented = Presented { bearer };
        let refused = door.authenticate(presented).expect_err("refused");
        assert_eq!(door.account(presented, refused), expected);
    }
}

#[test]
fn the_key_before_a_renewal_opens_as_the_same_grant_until_its_time_is_over() {
    let clock = Arc::new(Fixed::new(3));
    let in_seconds = |seconds| clock.now().plus(Duration::from_secs(seconds));
    let previous = |text: &str, until| Some((StoredKey::parse(text).expect("a key"), until));
    let renewed = KeySettings { previous: previous("gw_old", in_seconds(60)), ..key("a", "gw_new") };
    // A key that ends does so under both of its texts.
    let ending = KeySettings {
        previous: previous("gw_older", in_seconds(60)),
        expires_at: Some(in_seconds(30)),
        ..key("b", "gw_newer")
    };
    let off =
        KeySettings { previous: previous("gw_oldest", in_seconds(60)), enabled: false, ..key("c", "gw_off") };
    let door = authenticator(vec![renewed, ending, off], &clock);
    let answers =
        || ["gw_new", "gw_old", "gw_newer", "gw_older", "gw_oldest"].map(|text| ask(&door, text).ok());
    let found = |ids: [Option<&str>; 5]| ids.map(|id| id.map(str::to_owned));
    assert_eq!(answers(), found([Some("a"), Some("a"), Some("b"), Some("b"), None]));
    clock.advance(Duration::from_secs(30));
    assert_eq!(answers(), found([Some("a"), Some("a"), None, None, None]));
    clock.advance(Duration::from_secs(30));
    assert_eq!(answers(), found([Some("a"), None, None, None, None]));
    let twin = KeySettings { previous: previous("gw_1", in_seconds(60)), ..key("x", "gw_2") };
    let settings = Settings { keys: vec![key("y", "gw_1"), twin], ..Settings::default() };
    let error = Authenticator::new(settings, clock.clone(), None).err();
    assert_eq!(error, Some(SettingsError::DuplicateKey("y".to_owned(), "x".to_owned())));
}

#[test]
fn a_key_tells_who_calls() {
    let clock = Arc::new(Fixed::new(3));
    let person = Person { id: "ana".to_owned(), ..Person::default() };
    let both = KeySettings { person: Some(person.clone()), ..key("both", "gw_1") };
    let human = KeySettings { agent: None, ..both.clone() };
    for (settings, consumer) in [(both, "agent-of-both"), (human, "ana")] {
        let door = authenticator(vec![settings], &clock);
        let caller = door.authenticate(Presented { bearer: Some("gw_1") }).expect("known");
        assert_eq!(caller.consumer(), consumer);
        assert_eq!(caller.person.as_ref(), Some(&person));
        assert_eq!(caller.grant.kind, GrantKind::Key);
        assert_eq!(caller.grant.roles, ["reader"]);
        assert_eq!(caller.grant.rate_limit, Some(7));
        assert!(caller.has_scope("audit.read"));
    }
}

#[test]
fn keys_that_cannot_be_told_apart_are_refused() {
    let clock = Arc::new(Fixed::new(3));
    let (secret, hash) = new_key(&*clock);
    let nobody = KeySettings { agent: None, ..key("a", "gw_1") };
    let cases = [
        (vec![key("a", "gw_1"), key("a", "gw_2")], SettingsError::DuplicateId("a".to_owned())),
        (
            vec![key("a", "gw_1"), key("b", "gw_1")],
            SettingsError::DuplicateKey("a".to_owned(), "b".to_owned()),
        ),
        (
            vec![key("a", secret.expose()), key("b", &hash)],
            SettingsError::DuplicateKey("a".to_owned(), "b".to_owned()),
        ),
        (vec![nobody], SettingsError::NobodysKey("a".to_owned())),
    ];
    for (keys, expected) in cases {
        let settings = Settings { keys, ..Settings::default() };
        assert_eq!(Authenticator::new(settings, clock.clone(), None).err(), Some(expected));
    }
}

#[test]
fn where_nobody_is_asked_everybody_is_anonymous() {
    let settings = Settings { anonymous: true, keys: vec![key("a", "gw_1")], jwt: None };
    let door = Authenticator::new(settings, Arc::new(Fixed::new(3)), None).expect("valid settings");
    for bearer in [None, Some(""), Some("gw_1"), Some("anything")] {
        let caller = door.authenticate(Presented { bearer }).expect("nobody is asked");
        assert_eq!((caller.consumer(), caller.grant.id.as_str()), ("anonymous", "none"));
        assert_eq!(caller.grant.roles, ["*"]);
        assert_eq!(caller.grant.kind, GrantKind::Anonymous);
    }
}

/// Prints how long one answer takes: `cargo test -p doorward-identity --profile dist -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn how_long_a_key_takes() {
    let clock = Arc::new(Fixed::new(3));
    let door = authenticator((0..1000).map(|n| key(&format!("k{n}"), &format!("gw_{n}"))).collect(), &clock);
    let rounds = 200_000_u32;
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(door.authenticate(Presented { bearer: Some("gw_512") })).expect("known");
    }
    println!("{:?} a key", start.elapsed() / rounds);
}
