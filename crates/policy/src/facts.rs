//! What is asked: one operation of one caller on one server.

use std::net::IpAddr;

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, canonical, push_string};
use doorward_model::{Caller, CapabilityKind, ClientLabel, Operation, ServerId, Timestamp};
use regorus::Value as RegoValue;

use crate::document::push_texts;
use crate::value;

/// Everything a decision may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry<'a> {
    /// What the caller wants to do.
    pub operation: Operation,
    /// On which server.
    pub server: &'a ServerFacts,
    /// About what.
    pub target: Target<'a>,
    /// With which arguments.
    pub arguments: Arguments<'a>,
    /// Who asks.
    pub caller: &'a Caller,
    /// How the server defines the target, when it is known.
    pub definition: Option<&'a DefinitionFacts>,
    /// What the caller's session has done so far.
    pub session: Option<&'a SessionFacts>,
    /// Where and when.
    pub context: &'a Context<'a>,
    /// Counters, by name.
    pub limits: &'a [(String, u64)],
}

impl<'a> Inquiry<'a> {
    /// The arguments of a call that has some.
    pub(crate) fn known_arguments(&self) -> Option<Value<'a>> {
        match self.arguments {
            Arguments::Known(arguments) => arguments,
            Arguments::Incomparable(arguments) => Some(arguments),
            Arguments::Listing => None,
        }
    }
}

/// What is asked about, under the name that its server has for it. A prompt may be named like
/// a URI, so that the name does not tell what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
}

impl<'a> Target<'a> {
    /// * `name`: the server's own name of the tool or prompt, the URI of the resource, or the
    ///   template of such URIs.
    pub fn new(kind: CapabilityKind, name: &'a str) -> Self {
        let kind = match kind {
            CapabilityKind::Tool => Kind::Tool,
            CapabilityKind::Resource | CapabilityKind::ResourceTemplate => Kind::Resource,
            CapabilityKind::Prompt => Kind::Prompt,
        };
        Self { kind, name }
    }

    /// Its name, if it is of this kind.
    pub(crate) fn named_as(self, kind: Kind) -> &'a str {
        if self.kind == kind { self.name } else { "" }
    }
}

/// What rules tell apart: a template stands for resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tool,
    Resource,
    Prompt,
}

/// The arguments of a call, or the fact that nobody calls yet.
#[derive(Clone, Copy, Debug)]
pub enum Arguments<'a> {
    /// A call, with its `arguments` object if it has one.
    Known(Option<Value<'a>>),
    /// A call whose arguments hold an integer beyond ±(2^53−1). Readers differ about its
    /// value, so no policy may compare it: who would look at arguments refuses the call.
    Incomparable(Value<'a>),
    /// The question is whether the capability stands in a list.
    Listing,
}

/// A registered server as policies see it. Made once, used by every call.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    pub(crate) id: ServerId,
    pub(crate) text: String,
    pub(crate) value: RegoValue,
}

impl ServerFacts {
    /// * `tags`: as configured.
    /// * `transport`: `http`, `sse` or `stdio`.
    pub fn new(id: ServerId, tags: Vec<String>, transport: String) -> Self {
        let mut text = String::from("{\"id\":");
        push_string(&mut text, id.as_str());
        text.push_str(",\"tags\":");
        push_texts(&mut text, &tags);
        text.push_str(",\"transport\":");
        push_string(&mut text, &transport);
        text.push('}');
        let value = value::object([
            ("id", id.as_str().into()),
            ("tags", value::texts(&tags)),
            ("transport", transport.as_str().into()),
        ]);
        Self { id, text, value }
    }

    /// The server's id.
    pub fn id(&self) -> &ServerId {
        &self.id
    }
}

/// A capability's definition as policies see it. Made once, used by every call.
#[derive(Clone, Debug)]
pub struct DefinitionFacts {
    pub(crate) text: String,
    pub(crate) value: RegoValue,
}

impl DefinitionFacts {
    /// * `fingerprint`: `sha256:<hex>` over the definition.
    /// * `annotations`: its `annotations`, a JSON object; anything else counts as `{}`.
    ///
    /// Nobody has reviewed it, see [`reviewed`](Self::reviewed).
    pub fn new(fingerprint: &str, annotations: &[u8]) -> Self {
        Self::reviewed(fingerprint, annotations, "", "")
    }

    /// * `risk`: the reviewer's word for what it can do, such as `read` or `write`.
    /// * `reviewed_by`: who approved this very fingerprint.
    pub fn reviewed(fingerprint: &str, annotations: &[u8], risk: &str, reviewed_by: &str) -> Self {
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let parsed = Document::parse(Bytes::copy_from_slice(annotations), &limits).ok();
        let annotations = parsed.as_ref().map(Document::root).filter(|root| root.is_object());
        let mut text = String::from("{\"annotations\":");
        text.push_str(&annotations.map_or_else(|| "{}".to_owned(), canonical));
        for (key, member) in [("fingerprint", fingerprint), ("reviewed_by", reviewed_by), ("risk", risk)] {
            text.push_str(",\"");
            text.push_str(key);
            text.push_str("\":");
            push_string(&mut text, member);
        }
        text.push('}');
        let value = value::object([
            ("annotations", annotations.map_or_else(RegoValue::new_object, value::from_json)),
            ("fingerprint", fingerprint.into()),
            ("reviewed_by", reviewed_by.into()),
            ("risk", risk.into()),
        ]);
        Self { text, value }
    }
}

/// What is remembered of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFacts {
    /// The session's id.
    pub id: String,
    /// Labels that earlier results left on it.
    pub labels: Vec<String>,
    /// Earlier calls, oldest first.
    pub calls: Vec<EarlierCall>,
}

/// One earlier call of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EarlierCall {
    /// The server's id.
    pub backend: String,
    /// The tool's own name.
    pub tool: String,
    /// `allow`, `deny`, `hide` or `approve`.
    pub verdict: String,
    /// Labels of its result.
    pub labels: Vec<String>,
}

/// Where and when a call was made.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// When it was received; the only time that a policy knows.
    pub time: Timestamp,
    /// The client's address, if it came over a network.
    pub ip: Option<IpAddr>,
    /// The surface it came through, such as `mcp`.
    pub origin: &'a str,
    /// What the client says of itself.
    pub client: &'a ClientLabel,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_that_are_no_object_count_as_none() {
        for annotations in ["", "[1]", "{", "null"] {
            let facts = DefinitionFacts::new("sha256:0", annotations.as_bytes());
            assert_eq!(
                facts.text,
                r#"{"annotations":{},"fingerprint":"sha256:0","reviewed_by":"","risk":""}"#
            );
        }
        let facts = DefinitionFacts::reviewed("f", br#"{"b":1,"a":9007199254740993}"#, "write", "ana");
        assert_eq!(
            facts.text,
            r#"{"annotations":{"a":9007199254740993,"b":1},"fingerprint":"f","reviewed_by":"ana","risk":"write"}"#
        );
        assert_eq!(RegoValue::from_json_str(&facts.text).expect("JSON"), facts.value);
    }
}
