//! What is asked: one operation of one caller on one server.

use std::net::IpAddr;

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers, Value, canonical, push_string};
use doorward_model::{Caller, ClientLabel, Operation, ServerId, Timestamp};
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
    /// The server's own name of the tool or prompt, or the URI of the resource.
    pub target: &'a str,
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

    /// What kind of thing the target is.
    pub(crate) fn kind(&self) -> Kind {
        Kind::of(self.operation, self.target)
    }
}

/// What the target of an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tool,
    Resource,
    Prompt,
}

impl Kind {
    /// A completion is for a prompt or for a resource template; what starts like a
    /// URI (RFC 3986, section 3.1) is the latter.
    fn of(operation: Operation, target: &str) -> Self {
        match operation {
            Operation::ToolsCall => Self::Tool,
            Operation::ResourcesRead
            | Operation::ResourcesSubscribe
            | Operation::SkillsGet
            | Operation::DirectoryRead => Self::Resource,
            Operation::PromptsGet => Self::Prompt,
            Operation::CompletionComplete => {
                let scheme = target.split_once(':').map_or("", |(scheme, _)| scheme);
                let letters = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.');
                let starts = scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
                if starts && scheme.bytes().all(letters) { Self::Resource } else { Self::Prompt }
            }
        }
    }
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
    fn a_completion_is_for_what_its_target_looks_like() {
        let cases = [
            ("file:///{path}", Kind::Resource),
            ("urn:x:{id}", Kind::Resource),
            ("a+b.c-d:x", Kind::Resource),
            ("summarise", Kind::Prompt),
            (":x", Kind::Prompt),
            ("1a:x", Kind::Prompt),
            ("two words: x", Kind::Prompt),
        ];
        for (target, expected) in cases {
            assert_eq!(Kind::of(Operation::CompletionComplete, target), expected, "{target}");
        }
    }

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
