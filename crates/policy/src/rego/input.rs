//! An inquiry as the value that Rego sees as `input`.
//!
//! Equal to the input document, member by member; but only the members that some
//! policy can see are built, because building is most of what a small policy costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regorus::Value as RegoValue;

use super::shape::InputPath;
use crate::document::MEMBERS;
use crate::facts::{Context, Inquiry, Kind, SessionFacts};
use crate::prepared::Prepared;
use crate::value::{self, object, texts};

/// The definition of a capability that nobody knows.
static NO_DEFINITION: LazyLock<RegoValue> = LazyLock::new(|| {
    let nothing = || RegoValue::from("");
    object([
        ("annotations", RegoValue::new_object()),
        ("fingerprint", nothing()),
        ("reviewed_by", nothing()),
        ("risk", nothing()),
    ])
});

thread_local! {
    /// The names of the members. One set for each thread, so that threads do not
    /// take turns counting references to the same twenty texts.
    static KEYS: [RegoValue; MEMBERS.len()] = MEMBERS.map(RegoValue::from);
}

/// Which members of the input some policy can see, as bits in the order of [`MEMBERS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs(u32);

impl Needs {
    /// All members.
    pub(crate) const ALL: Self = Self((1 << MEMBERS.len()) - 1);

    /// The members that these paths start with. A path without a first step sees all.
    pub(crate) fn of(paths: &BTreeSet<InputPath>) -> Self {
        paths.iter().fold(Self::default(), |needs, path| match path.first() {
            None => Self::ALL,
            Some(name) => match MEMBERS.iter().position(|member| member == name) {
                Some(at) => Self(needs.0 | 1 << at),
                None => needs,
            },
        })
    }

    /// What either needs.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, at: usize) -> bool {
        self.0 & 1 << at != 0
    }
}

/// Builds the input of an inquiry, as far as it is needed.
pub(crate) fn build(inquiry: &Inquiry<'_>, caller: &Prepared, needs: Needs) -> RegoValue {
    KEYS.with(|keys| {
        let members = MEMBERS.iter().enumerate().filter(|(at, _)| needs.has(*at));
        let members = members.map(|(at, name)| (keys[at].clone(), member(name, inquiry, caller)));
        RegoValue::from(members.collect::<BTreeMap<_, _>>())
    })
}

fn member(name: &str, inquiry: &Inquiry<'_>, caller: &Prepared) -> RegoValue {
    match name {
        "agent" => caller.agent_value.clone(),
        "approval" => RegoValue::Null,
        "arguments" => inquiry.known_arguments().map_or_else(RegoValue::new_object, value::from_json),
        "backend" => inquiry.server.id.as_str().into(),
        "context" => context(inquiry.context),
        "definition" => {
            inquiry.definition.map_or_else(|| NO_DEFINITION.clone(), |definition| definition.value.clone())
        }
        "identity" => caller.identity.clone(),
        "limits" => limits(inquiry.limits),
        "operation" => inquiry.operation.as_str().into(),
        "prompt" => inquiry.target.named_as(Kind::Prompt).into(),
        "resource" => object([("uri", inquiry.target.named_as(Kind::Resource).into())]),
        "scopes" => caller.scopes.clone(),
        "server" => inquiry.server.value.clone(),
        "session" => session(inquiry.session),
        "tool" => inquiry.target.named_as(Kind::Tool).into(),
        _ => caller.user_value.clone(),
    }
}

fn context(context: &Context<'_>) -> RegoValue {
    object([
        (
            "client",
            object([
                ("name", context.client.name.as_str().into()),
                ("version", context.client.version.as_str().into()),
            ]),
        ),
        ("ip", context.ip.map_or_else(String::new, |ip| ip.to_string()).into()),
        ("origin", context.origin.into()),
        ("time", context.time.to_string().into()),
    ])
}

fn limits(limits: &[(String, u64)]) -> RegoValue {
    let counters =
        limits.iter().map(|(name, count)| (RegoValue::from(name.as_str()), RegoValue::from(*count)));
    RegoValue::from(counters.collect::<BTreeMap<_, _>>())
}

fn session(session: Option<&SessionFacts>) -> RegoValue {
    let calls = session.map(|session| session.calls.as_slice()).unwrap_or_default().iter().map(|call| {
        object([
            ("backend", call.backend.as_str().into()),
            ("labels", texts(&call.labels)),
            ("tool", call.tool.as_str().into()),
            ("verdict", call.verdict.as_str().into()),
        ])
    });
    object([
        ("calls", RegoValue::from(calls.collect::<Vec<_>>())),
        ("id", session.map_or("", |session| session.id.as_str()).into()),
        ("labels", texts(session.map(|session| session.labels.as_slice()).unwrap_or_default())),
    ])
}
