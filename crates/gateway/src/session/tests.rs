//! What tickets are good for, and when sessions end.

use bytes::Bytes;
use doorward_model::clock::Fixed;
use doorward_model::json::{Document, Limits};
use doorward_model::{Agent, Grant, Seal, SealError};

use tokio::sync::mpsc;

use super::table::Found;
use super::*;
use crate::callers;
use crate::mailbox::Mailbox;

/// Seals by writing the context beside the text: whoever alters either is found out.
#[derive(Debug)]
struct Glass;

impl Seal for Glass {
    fn seal(&self, context: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok([context, b"|", clear].concat())
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let clear = sealed.strip_prefix(context).and_then(|rest| rest.strip_prefix(b"|"));
        clear.map(<[u8]>::to_vec).ok_or(SealError::Altered)
    }
}

fn caller(id: &str) -> Arc<Caller> {
    Arc::new(callers::caller(id))
}

fn opening() -> Opening {
    Opening {
        surface: Surface::Aggregate,
        revision: Revision::NEWEST_LEGACY,
        client: ClientLabel::default(),
        client_info: String::new(),
        abilities: Abilities::default(),
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn session(owner: &Arc<Caller>, random: &Fixed, now: Duration) -> Session {
    let (id, opened) = (ticket::id(random), Timestamp::from_micros(1_000_000));
    let ticket = ticket::seal(&Glass, &id, owner, opened, &opening()).expect("sealed");
    Session::new(id, ticket, opened, opening(), Arc::clone(owner), now)
}

fn limits(total: usize, each: usize) -> SessionLimits {
    SessionLimits { total, each, idle: at(60), longest: at(3600), ..SessionLimits::default() }
}

fn document(text: &str) -> Document {
    Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("valid")
}

#[test]
fn a_session_is_its_principals_its_endpoints_and_mortal() {
    let sessions = Sessions::new(limits(10, 10));
    let (ana, ben) = (caller("ana"), caller("ben"));
    let (opened, _) = sessions.keep(session(&ana, &Fixed::new(1), at(0))).expect("room");
    let find =
        |ticket: &str, who: &Caller, surface: &Surface, now| match sessions.find(ticket, who, surface, now) {
            Found::Here(_) => "here",
            Found::Idle(_) => "idle",
            Found::Unknown => "unknown",
            Found::Refused => "refused",
        };
    let ticket = &opened.ticket;
    assert_eq!(find(ticket, &ana, &Surface::Aggregate, at(1)), "here");
    assert_eq!(find(ticket, &ben, &Surface::Aggregate, at(1)), "refused", "another principal's");
    assert_eq!(find(ticket, &ana, &Surface::Gateway, at(1)), "refused", "another endpoint's");
    assert_eq!(find(&format!("{ticket}A"), &ana, &Surface::Aggregate, at(1)), "refused", "altered");
    assert_eq!(find("0", &ana, &Surface::Aggregate, at(1)), "refused", "nonsense");
    assert_eq!(find(ticket, &ana, &Surface::Aggregate, at(61)), "here", "use keeps it");
    let running = opened.begin("1", 1).expect("room for one");
    assert!(opened.begin("1", 2).is_err(), "under way already");
    assert!(opened.begin("2", 1).is_err(), "no more than so many");
    assert_eq!(find(ticket, &ana, &Surface::Aggregate, at(500)), "here", "a call under way keeps it");
    drop(running);
    let reader = stream::Reader::of(&opened, "0");
    assert_eq!(find(ticket, &ana, &Surface::Aggregate, at(600)), "here", "so does an open stream");
    drop(reader);
    assert_eq!(sessions.sweep(at(660), Timestamp::from_micros(0)).len(), 0);
    assert_eq!(find(ticket, &ana, &Surface::Aggregate, at(661)), "idle", "silence ends it");
    assert_eq!(sessions.sweep(at(661), Timestamp::from_micros(0)).len(), 1);
    assert!(sessions.close(&opened) && !sessions.close(&opened));
    assert_eq!(sessions.count(), 0);
    assert!(sessions.keep(session(&ana, &Fixed::new(1), at(662))).is_none(), "and it stays ended");
    assert_eq!(sessions.sweep(at(700), Timestamp::from_micros(1_000_000).plus(at(3601))).len(), 0);
    assert!(sessions.keep(session(&ana, &Fixed::new(1), at(701))).is_some(), "until its ticket is too old");
}

#[test]
fn an_id_is_free_once_its_request_has_ended_however_it_did() {
    let ana = caller("ana");
    let session = Arc::new(session(&ana, &Fixed::new(1), at(0)));
    let given_up = session.begin("1", 10).expect("room");
    assert!(session.is_busy() && session.begin("1", 10).is_err());
    drop(given_up);
    assert!(!session.is_busy());
    let cancelled = session.begin("1", 10).expect("free again");
    assert!(session.cancel("1") && !session.cancel("1"));
    let next = session.begin("1", 10).expect("free as soon as it was cancelled");
    drop(cancelled);
    assert!(session.begin("1", 10).is_err(), "the next one has the id now");
    drop(next);
    assert!(!session.is_busy());
}

#[test]
fn what_waits_to_be_kept_for_a_session_waits_once_however_often_it_is_said() {
    let session = Arc::new(session(&caller("ana"), &Fixed::new(1), at(0)));
    let (queue, mut queued) = mpsc::unbounded_channel();
    let mailbox = Mailbox::of_session(queue, Arc::downgrade(&session));
    let (one, two) = (Arc::from("wiki://one"), Arc::from("wiki://two"));
    for _ in 0..10_000 {
        mailbox.updated(&one);
        mailbox.updated(&two);
    }
    assert_eq!(queued.len(), 1, "nobody has kept any of it");
    assert!(queued.try_recv().is_ok_and(|queued| Arc::ptr_eq(&queued, &session)));
    mailbox.forget(&two);
    mailbox.updated(&one);
    assert!(queued.is_empty(), "whoever has it from the queue finds all that waits");
}

#[test]
fn a_full_table_takes_room_from_the_same_principal_only() {
    let sessions = Sessions::new(limits(3, 2));
    let random = Fixed::new(1);
    let (ana, ben) = (caller("ana"), caller("ben"));
    let keep = |who: &Arc<Caller>, now| sessions.keep(session(who, &random, now));
    let (first, _) = keep(&ana, at(0)).expect("room");
    let (second, _) = keep(&ana, at(1)).expect("room");
    let (other, displaced) = keep(&ben, at(2)).expect("room");
    assert!(displaced.is_none());
    let (third, displaced) = keep(&ana, at(3)).expect("room");
    assert_eq!(displaced.map(|session| session.id.clone()), Some(first.id.clone()), "the longest idle");
    let open = |session: &Session, who: &Caller| {
        matches!(sessions.find(&session.ticket, who, &Surface::Aggregate, at(3)), Found::Here(_))
    };
    assert!(!open(&first, &ana));
    assert!(open(&second, &ana) && open(&third, &ana) && open(&other, &ben));
    assert!(keep(&caller("cid"), at(4)).is_none(), "nobody else's is taken");
}

#[test]
fn a_ticket_holds_what_was_settled_and_is_its_owners() {
    let (ana, ben) = (caller("ana"), caller("ben"));
    let declared = document(r#"{"elicitation":{"url":{}},"sampling":{"tools":{}},"roots":{}}"#);
    let info = document(r#"{"name":"claude","version":"2","icons":[{"src":"x"}]}"#);
    let settled = Opening {
        surface: Surface::named("github").expect("an id"),
        revision: Revision::V2025_06_18,
        client: crate::pipeline::label(info.root()),
        client_info: client_info(info.root()),
        abilities: abilities(declared.root()),
    };
    let (id, now) = (ticket::id(&Fixed::new(1)), Timestamp::from_micros(77));
    let ticket = ticket::seal(&Glass, &id, &ana, now, &settled).expect("sealed");
    assert!(ticket.len() < 1024 && ticket.bytes().all(|byte| byte.is_ascii_graphic()), "{ticket}");
    let (opened, opening) = ticket::open(&Glass, &ticket, &ana).expect("opens");
    assert_eq!((opened, format!("{opening:?}")), (now, format!("{settled:?}")));
    assert!(ticket::open(&Glass, &ticket, &ben).is_none(), "another principal's");
    let issued = |issuer: &str| {
        let grant = Grant { kind: GrantKind::Jwt, issuer: Some(issuer.to_owned()), ..ana.grant.clone() };
        Caller { grant, ..(*ana).clone() }
    };
    let (here, there) = (issued("https://here.example"), issued("https://there.example"));
    let issued = ticket::seal(&Glass, &id, &here, now, &settled).expect("sealed");
    assert!(ticket::open(&Glass, &issued, &here).is_some());
    assert!(ticket::open(&Glass, &issued, &there).is_none(), "the same name of another issuer");
    let other = ticket.replace(&*id, &ticket::id(&Fixed::new(2)));
    assert!(ticket::open(&Glass, &other, &ana).is_none(), "under another id");
    for nonsense in ["", ".", "0.0", &ticket[..ticket.len() - 9], &"x".repeat(10_000)] {
        assert!(ticket::open(&Glass, nonsense, &ana).is_none(), "{nonsense}");
    }
}

#[test]
fn a_client_that_says_too_much_of_itself_is_cut_short() {
    let long = "é".repeat(1000);
    let info = document(&format!(r#"{{"name":"{long}","version":"1","websiteUrl":"{long}"}}"#));
    let kept = client_info(info.root());
    assert_eq!(kept, format!(r#"{{"name":"{}","version":"1"}}"#, "é".repeat(64)));
    let ui = format!(r#"{{"extensions":{{"io.modelcontextprotocol/ui":{{"x":"{long}"}}}},"roots":{{}}}}"#);
    let kept = abilities(document(&ui).root()).to_json();
    assert_eq!(kept, r#"{"roots":{},"extensions":{"io.modelcontextprotocol/ui":{}}}"#);
}

#[test]
fn two_callers_are_one_principal_by_name_if_and_only_if_they_are_by_comparison() {
    let base = caller("one");
    let grant = |change: &dyn Fn(&mut Grant)| {
        let mut grant = base.grant.clone();
        change(&mut grant);
        Caller { grant, person: base.person.clone(), agent: base.agent.clone() }
    };
    let token = |id: &str, issuer: Option<&str>| {
        grant(&|grant| {
            (grant.id, grant.kind) = (id.to_owned(), GrantKind::Jwt);
            grant.issuer = issuer.map(str::to_owned);
        })
    };
    let all = [
        Caller::clone(&base),
        grant(&|grant| grant.roles = vec!["other".to_owned()]),
        grant(&|grant| grant.id = "another key".to_owned()),
        token("jwt:1", Some("https://a.example")),
        token("jwt:2", Some("https://a.example")),
        token("jwt:1", Some("https://b.example")),
        token("jwt:1", None),
        Caller { agent: None, ..Caller::clone(&base) },
        Caller { agent: Some(Agent { id: "other".to_owned() }), ..Caller::clone(&base) },
    ];
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            let by_name = principal(one) == principal(other);
            assert_eq!(one.is_same_principal(other), by_name, "{at} and {other_at}");
        }
    }
}
