//! What a server says of itself when a link opens, in either era.

use std::sync::Arc;

use bytes::Bytes;
use doorward_model::CapabilityKind;
use doorward_model::json::{Document, Limits, Numbers, Value, quoted};
use doorward_wire::{Era, Revision};

/// What a server said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    pub(crate) revision: Revision,
    /// The `capabilities` object as received; empty when there is none.
    pub(crate) capabilities: Bytes,
    /// The `serverInfo` object as received; empty when there is none.
    pub(crate) server_info: Bytes,
    pub(crate) instructions: Option<Arc<str>>,
    /// Whether it has log messages to send.
    pub(crate) logs: bool,
    /// Whether one can subscribe to its resources.
    pub(crate) subscribes: bool,
    /// What lists it has, and of which it announces changes.
    lists: [Offer; 3],
    /// Whether it was asked for the newer era and had not answered when it was spoken to in the
    /// older one: another time it may be quicker.
    is_makeshift: bool,
}

/// What is said of one kind of capability.
#[derive(Clone, Copy, Debug, Default)]
struct Offer {
    exists: bool,
    announces: bool,
}

/// The member of `capabilities` for each kind that announces changes.
const LISTS: [(&str, CapabilityKind); 3] = [
    ("tools", CapabilityKind::Tool),
    ("resources", CapabilityKind::Resource),
    ("prompts", CapabilityKind::Prompt),
];

impl Handshake {
    /// Reads the answer to `initialize`; an error names what is wrong with it.
    pub(crate) fn from_initialize(answer: &Document) -> Result<Self, &'static str> {
        let result = answer.root().get("result").ok_or("it refused to initialize")?;
        let version = result.get("protocolVersion").and_then(Value::as_str);
        let revision = version
            .as_deref()
            .and_then(Revision::parse)
            .filter(|revision| revision.era() == Era::Legacy)
            .ok_or("it chose an unknown protocol version")?;
        Ok(Self::read(result, revision, result.get("serverInfo")))
    }

    /// Reads the answer to `server/discover`; `None` unless the server speaks the
    /// stateless revision.
    pub(crate) fn from_discover(answer: &Document) -> Option<Self> {
        let result = answer.root().get("result")?;
        let revision = Revision::V2026_07_28;
        let speaks = |version: Value<'_>| version.as_str().as_deref() == Some(revision.as_str());
        result.get("supportedVersions")?.items().find(|version| speaks(*version))?;
        let info = result.get("_meta").and_then(|meta| meta.get("io.modelcontextprotocol/serverInfo"));
        Some(Self::read(result, revision, info))
    }

    fn read(result: Value<'_>, revision: Revision, info: Option<Value<'_>>) -> Self {
        // Copies: they outlive the answer, and must not hold the room for it.
        let object = |value: Option<Value<'_>>| {
            let object = value.filter(|value| value.is_object());
            object.map(|object| Bytes::copy_from_slice(object.raw().as_bytes())).unwrap_or_default()
        };
        let capabilities = object(result.get("capabilities"));
        // The answer itself was indexed less deeply than this needs.
        let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
        let parsed = Document::parse(capabilities.clone(), &limits).ok();
        let lists = LISTS.map(|(member, _)| {
            let offer = parsed.as_ref().and_then(|document| declared(document, member));
            let announces = offer.and_then(|offer| offer.get("listChanged")).and_then(Value::as_bool);
            Offer { exists: offer.is_some(), announces: announces == Some(true) }
        });
        let resources = parsed.as_ref().and_then(|document| declared(document, "resources"));
        let subscribes = resources.and_then(|offer| offer.get("subscribe")).and_then(Value::as_bool);
        Self {
            revision,
            subscribes: subscribes == Some(true),
            capabilities,
            server_info: object(info),
            instructions: result.get("instructions").and_then(Value::as_str).map(|text| text.as_ref().into()),
            logs: parsed.as_ref().is_some_and(|document| declared(document, "logging").is_some()),
            lists,
            is_makeshift: false,
        }
    }

    /// The same, for want of an answer about the newer era in time, or not.
    pub(crate) fn makeshift(self, is_makeshift: bool) -> Self {
        Self { is_makeshift, ..self }
    }

    /// Whether another time another era may be found.
    pub(crate) fn is_makeshift(&self) -> bool {
        self.is_makeshift
    }

    /// Whether the server has a list of this kind.
    pub(crate) fn offers(&self, kind: CapabilityKind) -> bool {
        let kind = if kind == CapabilityKind::ResourceTemplate { CapabilityKind::Resource } else { kind };
        self.each().any(|(listed, offer)| listed == kind && offer.exists)
    }

    /// The `notifications` filter of `subscriptions/listen` for every change of a list
    /// that the server announces, and for these resources; `None` when that is nothing.
    pub(crate) fn listen_filter<'u>(&self, uris: impl Iterator<Item = &'u str>) -> Option<String> {
        let mut wanted: Vec<_> = self
            .each()
            .filter(|(_, offer)| offer.announces)
            .map(|(kind, _)| format!("\"{}ListChanged\":true", kind.list_member()))
            .collect();
        let uris: Vec<_> = uris.map(quoted).collect();
        if !uris.is_empty() {
            wanted.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
        }
        (!wanted.is_empty()).then(|| format!("{{{}}}", wanted.join(",")))
    }

    fn each(&self) -> impl Iterator<Item = (CapabilityKind, Offer)> {
        LISTS.iter().zip(self.lists).map(|((_, kind), offer)| (*kind, offer))
    }
}

/// A member of `capabilities`. One that is `null` says the same as none.
fn declared<'a>(capabilities: &'a Document, member: &str) -> Option<Value<'a>> {
    capabilities.root().get(member).filter(|offer| !offer.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::parse;

    fn document(text: &str) -> Document {
        parse(Bytes::copy_from_slice(text.as_bytes())).expect("valid")
    }

    #[test]
    fn either_opening_is_read() {
        let answer = document(
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"prompts":null,"logging":null},
               "serverInfo":{"name":"s"},"instructions":"be kind"}}"#,
        );
        let opened = Handshake::from_initialize(&answer).expect("well formed");
        assert_eq!(opened.revision, Revision::V2025_06_18);
        assert_eq!(&opened.server_info[..], br#"{"name":"s"}"#);
        assert_eq!(opened.instructions.as_deref(), Some("be kind"));
        assert!(opened.offers(CapabilityKind::Tool) && opened.offers(CapabilityKind::ResourceTemplate));
        assert!(!opened.offers(CapabilityKind::Prompt) && !opened.logs);
        assert_eq!(opened.listen_filter([].into_iter()).as_deref(), Some(r#"{"toolsListChanged":true}"#));
        assert_eq!(
            opened.listen_filter(["a:b\""].into_iter()).as_deref(),
            Some(r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b\""]}"#)
        );
        assert!(opened.subscribes);

        let answer = document(
            r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28","2025-06-18"],"capabilities":{"prompts":{}},
               "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"m"}}}}"#,
        );
        let opened = Handshake::from_discover(&answer).expect("well formed");
        assert_eq!((opened.revision.era(), &opened.server_info[..]), (Era::Modern, &br#"{"name":"m"}"#[..]));
        assert_eq!(opened.listen_filter([].into_iter()), None);
        assert!(!opened.subscribes);
    }

    #[test]
    fn what_cannot_be_spoken_is_refused() {
        let cases = [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2031-01-01"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2026-07-28"}}"#,
        ];
        for text in cases {
            assert!(Handshake::from_initialize(&document(text)).is_err(), "{text}");
        }
        let legacy_only = r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2025-06-18"]}}"#;
        assert!(Handshake::from_discover(&document(legacy_only)).is_none());
    }
}
