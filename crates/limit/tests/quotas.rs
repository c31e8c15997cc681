//! Quotas against counters in memory: who shares them, when they begin anew, and how a
//! reservation ends.

use std::collections::HashMap;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use doorward_limit::{Quota, Quotas, Reservation, Subject, Unreserved, Window};
use doorward_model::counts::Counting;
use doorward_model::{
    Caller, Counted, Counter, Counts, Grant, GrantKind, Person, ServerId, Timestamp, Uncounted,
};

/// Counters in memory, which can be out of order.
#[derive(Debug, Default)]
struct Slate(Mutex<HashMap<String, u64>>, Mutex<bool>);

impl Counts for Slate {
    fn take<'a>(&'a self, counters: &'a [Counter], _: Timestamp) -> Counting<'a> {
        if *self.1.lock().expect("not poisoned") {
            let uncounted = Uncounted { what: "the counts cannot be written", cause: "a test".to_owned() };
            return Box::pin(ready(Err(uncounted)));
        }
        let mut slate = self.0.lock().expect("not poisoned");
        let mut used: Vec<u64> =
            counters.iter().map(|counter| slate.get(&counter.name).copied().unwrap_or(0)).collect();
        let fits = used.iter().zip(counters).all(|(used, counter)| *used < u64::from(counter.most));
        for (counter, used) in counters.iter().zip(&mut used).filter(|_| fits) {
            *used += 1;
            slate.insert(counter.name.clone(), *used);
        }
        Box::pin(ready(Ok(Counted { fits, used })))
    }

    fn give_back(&self, counters: &[Counter]) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut slate = self.0.lock().expect("not poisoned");
        for counter in counters {
            *slate.get_mut(&counter.name).expect("it was taken") -= 1;
        }
        Box::pin(ready(()))
    }
}

impl Slate {
    fn sum(&self) -> u64 {
        self.0.lock().expect("not poisoned").values().sum()
    }
}

fn quota(name: &str, key: &str, max: u32, per: Window) -> Quota {
    Quota { name: name.into(), key: key.parse().expect(key), server: None, tool: None, max, per }
}

fn caller(grant: &str, person: Option<&str>) -> Caller {
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
        agent: None,
    }
}

struct World {
    quotas: Quotas,
    slate: Arc<Slate>,
}

impl World {
    fn new(quotas: Vec<Quota>) -> Self {
        Self { quotas: Quotas::new(quotas), slate: Arc::default() }
    }

    /// A call's reservation; `None` when no quota speaks of it.
    async fn reserve(
        &self,
        caller: &Caller,
        tool: &str,
        now: &str,
    ) -> Option<Result<Reservation, Unreserved>> {
        let server = ServerId::try_from("stripe").expect("an id");
        let subject = Subject { caller, server: &server, tool, ip: None };
        let claim = self.quotas.claim(&subject, Timestamp::parse(now).expect(now))?;
        Some(claim.reserve(Arc::clone(&self.slate) as Arc<dyn Counts>).await)
    }

    /// How a call ends that is sent: `free`, `ok` or the refusal.
    async fn call(&self, caller: &Caller, tool: &str, now: &str) -> String {
        match self.reserve(caller, tool, now).await {
            None => "free".to_owned(),
            Some(Ok(reservation)) => {
                assert!(reservation.departure().leave());
                "ok".to_owned()
            }
            Some(Err(unreserved)) => unreserved.to_string(),
        }
    }
}

const NOON: &str = "2026-11-21T12:00:00Z";

#[tokio::test]
async fn a_quota_is_renewed_when_the_calendar_says_so() {
    let world = World::new(vec![quota("refunds", "person", 2, Window::Month)]);
    let ana = caller("k", Some("ana"));
    let cases = [
        ("2024-02-01T00:00:00Z", "ok"),
        ("2024-02-29T23:59:59.999999Z", "ok"),
        (
            "2024-02-29T23:59:59.999999Z",
            "quota `refunds` exceeded: 2 per month are used up; it resets at 2024-03-01T00:00:00.000000Z",
        ),
        ("2024-03-01T00:00:00Z", "ok"),
        // A clock that is put back finds what it left.
        (
            "2024-02-29T23:59:59Z",
            "quota `refunds` exceeded: 2 per month are used up; it resets at 2024-03-01T00:00:00.000000Z",
        ),
    ];
    for (now, expected) in cases {
        assert_eq!(world.call(&ana, "t", now).await, expected, "{now}");
    }
}

#[tokio::test]
async fn a_key_says_who_shares_a_count() {
    let (ana, also_ana, bob) = (caller("a", Some("ana")), caller("b", Some("ana")), caller("c", None));
    let cases = [
        // key           ana's other key  bob     another tool
        ("person", ["full", "ok", "full"]),
        ("grant", ["ok", "ok", "full"]),
        ("tool", ["full", "full", "ok"]),
        ("person:tool", ["full", "ok", "ok"]),
        ("server", ["full", "full", "full"]),
    ];
    for (key, expected) in cases {
        let world = World::new(vec![quota("q", key, 1, Window::Day)]);
        assert_eq!(world.call(&ana, "t", NOON).await, "ok");
        let mut said = Vec::new();
        for (caller, tool) in [(&also_ana, "t"), (&bob, "t"), (&ana, "u")] {
            said.push(if world.call(caller, tool, NOON).await == "ok" { "ok" } else { "full" });
        }
        assert_eq!(said, expected, "{key}");
    }
}

#[tokio::test]
async fn a_quota_is_known_by_its_name_key_and_period_and_by_nothing_else() {
    let first = Quota { tool: Some("create_*".into()), ..quota("q", "person", 1, Window::Day) };
    let mut world = World::new(vec![first.clone()]);
    let ana = caller("k", Some("ana"));
    assert_eq!(world.call(&ana, "get_refund", NOON).await, "free");
    assert_eq!(world.call(&ana, "create_refund", NOON).await, "ok");
    let cases = [
        (first.clone(), 0),
        (Quota { server: Some("stripe".into()), tool: None, ..first.clone() }, 0),
        (Quota { max: 3, ..first.clone() }, 2),
        (Quota { max: 1, ..first.clone() }, 0),
        (Quota { per: Window::Month, ..first.clone() }, 1),
        (Quota { name: "r".into(), ..first.clone() }, 1),
        (Quota { key: "grant".parse().expect("a key"), ..first.clone() }, 1),
    ];
    for (quota, left) in cases {
        let told = format!("{quota:?}");
        world.quotas = Quotas::new(vec![quota]);
        for _ in 0..left {
            assert_eq!(world.call(&ana, "create_refund", NOON).await, "ok", "{told}");
        }
        assert!(world.call(&ana, "create_refund", NOON).await.contains("exceeded"), "{told}");
    }
}

#[tokio::test]
async fn names_that_hold_anything_do_not_meet() {
    let quotas = vec![quota("q", "person", 1, Window::Day), quota("q/person", "person", 1, Window::Day)];
    let world = World::new(quotas);
    assert_eq!(world.call(&caller("k", Some("day/1")), "t", NOON).await, "ok");
    assert_eq!(world.call(&caller("k", Some("1")), "t", NOON).await, "ok");
    assert_eq!(world.slate.0.lock().expect("not poisoned").len(), 4);
}

#[tokio::test]
async fn all_quotas_count_a_call_or_none_and_the_last_to_be_renewed_is_named() {
    let quotas = vec![quota("day", "person", 2, Window::Day), quota("month", "server", 3, Window::Month)];
    let world = World::new(quotas);
    let (ana, bob) = (caller("a", Some("ana")), caller("b", Some("bob")));
    assert_eq!(world.call(&ana, "t", NOON).await, "ok");
    assert_eq!(world.call(&ana, "t", NOON).await, "ok");
    assert!(world.call(&ana, "t", NOON).await.contains("`day`"));
    let Some(Ok(reservation)) = world.reserve(&bob, "t", NOON).await else { panic!("there is one left") };
    assert_eq!(reservation.used(), [("day".to_owned(), 1), ("month".to_owned(), 3)]);
    assert!(reservation.departure().leave());
    drop(reservation);
    assert!(world.call(&bob, "t", NOON).await.contains("`month`"));
    let Some(Err(Unreserved::Exceeded { name, resets_at, used, .. })) = world.reserve(&ana, "t", NOON).await
    else {
        panic!("both are used up")
    };
    assert_eq!((name.as_str(), resets_at.to_string().as_str()), ("month", "2026-12-01T00:00:00.000000Z"));
    assert_eq!(used, [("day".to_owned(), 2), ("month".to_owned(), 3)]);
    assert_eq!(world.slate.sum(), 6, "what was refused was not counted");
}

#[tokio::test]
async fn a_reservation_is_kept_once_the_call_has_left_and_given_back_before() {
    let world = World::new(vec![quota("q", "person", 5, Window::Day)]);
    let ana = caller("k", Some("ana"));
    let reserve = async || world.reserve(&ana, "t", NOON).await.expect("it speaks").expect("it fits");
    let unsent = reserve().await;
    let departure = Arc::clone(unsent.departure());
    drop(unsent);
    assert_eq!(world.slate.sum(), 0, "dropped before it left");
    assert!(!departure.leave(), "and now it must not");
    let sent = reserve().await;
    assert!(sent.departure().leave());
    drop(sent);
    assert_eq!(world.slate.sum(), 1, "dropped after it left");
    let undone = reserve().await;
    assert!(undone.departure().leave());
    undone.give_back().await;
    assert_eq!(world.slate.sum(), 1, "known to have done nothing: given back, once");
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused() {
    let world = World::new(vec![quota("q", "person", 5, Window::Day)]);
    *world.slate.1.lock().expect("not poisoned") = true;
    assert_eq!(
        world.call(&caller("k", None), "t", NOON).await,
        "quota `q` cannot be counted: the counts cannot be written; try again later"
    );
}
