//! Limits against a clock that moves when told, and against a naive model.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use doorward_limit::{Limiter, Per, RateLimit, Subject};
use doorward_model::clock::Fixed;
use doorward_model::{Agent, Caller, Grant, GrantKind, Person, ServerId};
use proptest::prelude::*;

fn limit(name: &str, key: &str, max: u32, per: Per, burst: u32) -> RateLimit {
    RateLimit {
        name: name.into(),
        key: key.parse().expect(key),
        server: None,
        tool: None,
        max,
        per,
        burst,
        override_by_grant: None,
    }
}

fn caller(grant: &str, person: Option<&str>, agent: Option<&str>) -> Caller {
    Caller {
        grant: Grant {
            id: grant.into(),
            kind: GrantKind::Key,
            issuer: None,
            roles: vec![],
            servers: None,
            scopes: vec![],
            claims: Default::default(),
            expires_at: None,
            rate_limit: None,
        },
        person: person.map(|id| Person { id: id.into(), ..Person::default() }),
        agent: agent.map(|id| Agent { id: id.into() }),
    }
}

struct World {
    limiter: Limiter,
    clock: Arc<Fixed>,
}

impl World {
    fn new(limits: Vec<RateLimit>) -> Self {
        let clock = Arc::new(Fixed::new(1));
        Self { limiter: Limiter::new(limits, clock.clone()), clock }
    }

    /// `ok`, or the limit and the milliseconds to wait.
    fn call(&self, caller: &Caller, server: &str, tool: &str) -> String {
        let server = ServerId::try_from(server).expect(server);
        let subject = Subject { caller, server: &server, tool, ip: Some(IpAddr::from([192, 0, 2, 1])) };
        match self.limiter.take(&subject) {
            Ok(()) => "ok".to_owned(),
            Err(exceeded) => format!("{} {}", exceeded.name, exceeded.retry_after.as_millis()),
        }
    }
}

#[test]
fn sixty_a_minute_twice_over_is_120_at_once_and_then_one_a_second() {
    let world = World::new(vec![limit("default", "consumer:server", 60, Per::Minute, 120)]);
    let ana = caller("k", None, Some("ana"));
    for at in 0..120 {
        assert_eq!(world.call(&ana, "github", "t"), "ok", "call {at}");
    }
    assert_eq!(world.call(&ana, "github", "t"), "default 1000");
    for second in 0..300 {
        world.clock.advance(Duration::from_millis(999));
        assert_eq!(world.call(&ana, "github", "t"), "default 1", "second {second}");
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(world.call(&ana, "github", "t"), "ok", "second {second}");
        assert_eq!(world.call(&ana, "github", "t"), "default 1000", "second {second}");
    }
    assert_eq!(world.call(&ana, "stripe", "t"), "ok", "another server, another bucket");
    world.clock.advance(Duration::from_secs(3_600));
    let taken = (0..200).filter(|_| world.call(&ana, "github", "t") == "ok").count();
    assert_eq!(taken, 120, "an hour of rest fills the bucket and no more");
}

#[test]
fn a_refused_call_takes_from_no_limit() {
    let world = World::new(vec![
        limit("wide", "grant", 60, Per::Minute, 10),
        limit("narrow", "grant:tool", 60, Per::Minute, 2),
    ]);
    let ana = caller("k", None, Some("ana"));
    assert_eq!(world.call(&ana, "s", "a"), "ok");
    assert_eq!(world.call(&ana, "s", "a"), "ok");
    for _ in 0..50 {
        assert_eq!(world.call(&ana, "s", "a"), "narrow 1000");
    }
    let others = (0..20).filter(|at| world.call(&ana, "s", &format!("b{at}")) == "ok").count();
    assert_eq!(others, 8, "the wide limit lost only what was allowed");
}

#[test]
fn a_grants_own_rate_replaces_the_default_and_nothing_else() {
    let default = RateLimit {
        override_by_grant: Some(1.5),
        ..limit("default", "consumer:server", 60, Per::Minute, 90)
    };
    let world = World::new(vec![default, limit("second", "grant", 15, Per::Second, 50)]);
    let mut slow = caller("slow", None, Some("slow"));
    slow.grant.rate_limit = Some(7);
    let count = |caller: &Caller| (0..100).filter(|_| world.call(caller, "s", "t") == "ok").count();
    assert_eq!(count(&slow), 11, "7 × 1.5, rounded up");
    let mut zero = caller("zero", None, Some("zero"));
    zero.grant.rate_limit = Some(0);
    assert_eq!(count(&zero), 50, "zero means the default; the other limit stops it");
}

#[test]
fn a_limit_speaks_of_what_its_patterns_match() {
    let refunds = RateLimit {
        server: Some("stripe".into()),
        tool: Some("*refund*".into()),
        ..limit("refunds", "person", 1, Per::Minute, 1)
    };
    let world = World::new(vec![refunds]);
    let ana = caller("k", Some("ana"), None);
    assert_eq!(world.call(&ana, "stripe", "create_refund_now"), "ok");
    assert_eq!(world.call(&ana, "stripe", "refund"), "refunds 60000");
    assert_eq!(world.call(&ana, "stripe", "charge"), "ok");
    assert_eq!(world.call(&ana, "github", "refund"), "ok");
}

#[test]
fn who_lacks_a_part_of_the_key_is_counted_by_grant() {
    let world = World::new(vec![limit("person", "person", 1, Per::Minute, 1)]);
    assert_eq!(world.call(&caller("one", None, Some("a")), "s", "t"), "ok");
    assert_eq!(world.call(&caller("two", None, Some("a")), "s", "t"), "ok", "not thrown together");
    assert_eq!(world.call(&caller("one", None, Some("b")), "s", "t"), "person 60000", "not free");
    assert_eq!(world.call(&caller("three", Some("one"), None), "s", "t"), "ok", "a person is no grant");
}

/// A bucket as one would explain it: so many nanoseconds of refill are in it.
struct Model {
    interval: u128,
    capacity: u128,
    level: u128,
    at: u128,
}

impl Model {
    fn new(limit: &RateLimit, now: u128) -> Self {
        let period = if limit.per == Per::Second { 1_000_000_000 } else { 60_000_000_000 };
        let interval = period / u128::from(limit.max);
        let capacity = interval * u128::from(limit.burst);
        Self { interval, capacity, level: capacity, at: now }
    }

    fn missing(&mut self, now: u128) -> u128 {
        self.level = (self.level + (now - self.at)).min(self.capacity);
        self.at = now;
        self.interval.saturating_sub(self.level)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_traffic_is_let_through_as_the_model_does(
        rates in prop::collection::vec((1_u32..50, any::<bool>(), 1_u32..8, any::<bool>()), 1..4),
        calls in prop::collection::vec((0_u64..3_000_000, 0_usize..2), 1..200),
    ) {
        let limits: Vec<_> = rates
            .iter()
            .enumerate()
            .map(|(at, (max, seconds, burst, by_tool))| {
                let per = if *seconds { Per::Second } else { Per::Minute };
                limit(&at.to_string(), if *by_tool { "grant:tool" } else { "grant" }, *max, per, *burst)
            })
            .collect();
        let world = World::new(limits.clone());
        let ana = caller("k", None, Some("ana"));
        let server = ServerId::try_from("s").expect("an id");
        let mut models: HashMap<(usize, usize), Model> = HashMap::new();
        let mut now = 0_u128;
        for (micros, tool) in calls {
            world.clock.advance(Duration::from_micros(micros));
            now += u128::from(micros) * 1_000;
            let keys: Vec<_> = (0..limits.len()).map(|at| (at, if rates[at].3 { tool } else { 0 })).collect();
            let mut missing = Vec::new();
            for key in &keys {
                missing.push(models.entry(*key).or_insert_with(|| Model::new(&limits[key.0], now)).missing(now));
            }
            let wait = missing.iter().copied().max().unwrap_or_default();
            if wait == 0 {
                for key in &keys {
                    let model = models.get_mut(key).expect("made above");
                    model.level -= model.interval;
                }
            }
            let tool = tool.to_string();
            let taken = world.limiter.take(&Subject { caller: &ana, server: &server, tool: &tool, ip: None });
            prop_assert_eq!(taken.map_or_else(|exceeded| exceeded.retry_after.as_nanos(), |()| 0), wait);
        }
    }
}
