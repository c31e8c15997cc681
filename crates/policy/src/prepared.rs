//! What is the same from call to call of one caller, made once per thread.
//!
//! A memo and nothing more: an entry is used only for a caller equal to the one
//! it was made for, so it can be dropped at any time and never goes stale.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use doorward_model::json::push_string;
use doorward_model::{Caller, Person};
use regorus::Value as RegoValue;

use crate::document::push_texts;
use crate::value;

/// Entries per thread; a caller has its place by its grant's id.
const PLACES: usize = 256;

thread_local! {
    static MEMO: RefCell<Vec<Option<Rc<Prepared>>>> = const { RefCell::new(Vec::new()) };
}

/// A caller in the forms that the input document needs.
pub(crate) struct Prepared {
    caller: Caller,
    pub(crate) user: String,
    pub(crate) agent: String,
    pub(crate) identity_text: String,
    pub(crate) scopes_text: String,
    pub(crate) user_value: RegoValue,
    pub(crate) agent_value: RegoValue,
    pub(crate) identity: RegoValue,
    pub(crate) scopes: RegoValue,
}

/// The forms of this caller.
pub(crate) fn prepared(caller: &Caller) -> Rc<Prepared> {
    let place = place(&caller.grant.id);
    MEMO.with_borrow_mut(|memo| {
        if memo.is_empty() {
            memo.resize_with(PLACES, || None);
        }
        match &memo[place] {
            Some(entry) if entry.caller == *caller => Rc::clone(entry),
            _ => {
                let entry = Rc::new(Prepared::new(caller));
                memo[place] = Some(Rc::clone(&entry));
                entry
            }
        }
    })
}

/// FNV-1a, enough to spread ids over the places.
fn place(id: &str) -> usize {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 32) as usize % PLACES
}

fn push_pairs(out: &mut String, pairs: &BTreeMap<String, String>) {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push('{');
    for (at, (name, text)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_string(out, name);
        out.push(':');
        push_string(out, text);
    }
    out.push('}');
}

fn claims(claims: &BTreeMap<String, String>) -> RegoValue {
    let pairs = claims.iter().map(|(name, text)| (RegoValue::from(name.as_str()), text.as_str().into()));
    RegoValue::from(pairs.collect::<BTreeMap<_, _>>())
}

impl Prepared {
    fn new(caller: &Caller) -> Self {
        let nobody = Person::default();
        let person = caller.person.as_ref().unwrap_or(&nobody);
        let email = person.email.as_deref().unwrap_or_default();
        let domain = person.domain().unwrap_or_default();
        let user = if email.is_empty() { &person.id } else { email };
        let agent = caller.agent.as_ref().map_or("", |agent| &agent.id);
        let grant = &caller.grant;
        let expires_at = grant.expires_at.map(|at| at.to_string());

        let mut text = String::from("{\"agent\":{\"id\":");
        push_string(&mut text, agent);
        text.push_str("},\"claims\":");
        push_pairs(&mut text, &grant.claims);
        text.push_str(",\"grant\":{\"expires_at\":");
        match &expires_at {
            Some(at) => push_string(&mut text, at),
            None => text.push_str("null"),
        }
        text.push_str(",\"id\":");
        push_string(&mut text, &grant.id);
        text.push_str(",\"roles\":");
        push_texts(&mut text, &grant.roles);
        text.push_str("},\"user\":{\"domain\":");
        push_string(&mut text, &domain);
        text.push_str(",\"email\":");
        push_string(&mut text, email);
        text.push_str(",\"groups\":");
        push_texts(&mut text, &person.groups);
        text.push_str(",\"id\":");
        push_string(&mut text, &person.id);
        text.push_str(",\"roles\":");
        push_texts(&mut text, &person.roles);
        text.push_str("}}");
        let mut scopes_text = String::new();
        push_texts(&mut scopes_text, &grant.scopes);

        let identity = value::object([
            ("agent", value::object([("id", agent.into())])),
            ("claims", claims(&grant.claims)),
            (
                "grant",
                value::object([
                    ("expires_at", expires_at.as_deref().map_or(RegoValue::Null, RegoValue::from)),
                    ("id", grant.id.as_str().into()),
                    ("roles", value::texts(&grant.roles)),
                ]),
            ),
            (
                "user",
                value::object([
                    ("domain", domain.as_str().into()),
                    ("email", email.into()),
                    ("groups", value::texts(&person.groups)),
                    ("id", person.id.as_str().into()),
                    ("roles", value::texts(&person.roles)),
                ]),
            ),
        ]);
        Self {
            user: user.to_owned(),
            agent: agent.to_owned(),
            identity_text: text,
            scopes_text,
            user_value: user.into(),
            agent_value: agent.into(),
            identity,
            scopes: value::texts(&grant.scopes),
            caller: caller.clone(),
        }
    }
}
