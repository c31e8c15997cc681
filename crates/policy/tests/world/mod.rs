//! Builds inquiries for tests: who asks what of which server.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use doorward_model::json::{Document, Limits, Numbers};
use doorward_model::{
    Agent, Caller, CapabilityKind, ClientLabel, Grant, GrantKind, Operation, Person, ServerId, Timestamp,
    Verdict,
};
use doorward_policy::{
    Arguments, Context, DefinitionFacts, Inquiry, Listing, Mode, Options, PolicyError, PolicySet, RegoSource,
    RolePolicy, Ruling, ServerFacts, SessionFacts, Target, Warning,
};

/// Everything an inquiry borrows.
#[derive(Clone, Debug)]
pub struct World {
    pub operation: Operation,
    pub server: ServerFacts,
    pub kind: CapabilityKind,
    pub target: String,
    pub arguments: Option<Document>,
    pub caller: Caller,
    pub definition: Option<DefinitionFacts>,
    pub session: Option<SessionFacts>,
    pub time: Timestamp,
    pub ip: Option<IpAddr>,
    pub origin: String,
    pub client: ClientLabel,
    pub limits: Vec<(String, u64)>,
}

pub fn json(text: &str) -> Document {
    let limits = Limits { numbers: Numbers::Exact, ..Limits::default() };
    Document::parse(Bytes::copy_from_slice(text.as_bytes()), &limits).expect(text)
}

pub fn server(id: &str) -> ServerFacts {
    ServerFacts::new(ServerId::try_from(id).expect(id), vec!["code".into()], "http".into())
}

impl World {
    /// Ana's agent calls a tool of `github` without arguments.
    pub fn new(tool: &str) -> Self {
        Self {
            operation: Operation::ToolsCall,
            kind: CapabilityKind::Tool,
            server: server("github"),
            target: tool.into(),
            arguments: None,
            caller: Caller {
                grant: Grant {
                    id: "grant-1".into(),
                    kind: GrantKind::Key,
                    issuer: None,
                    roles: vec!["reader".into()],
                    servers: None,
                    scopes: vec!["tools:call".into()],
                    claims: Default::default(),
                    expires_at: None,
                    rate_limit: None,
                },
                person: Some(Person {
                    id: "ana".into(),
                    email: Some("ana@corp.example".into()),
                    groups: vec!["eng".into()],
                    roles: vec![],
                }),
                agent: Some(Agent { id: "claude-code".into() }),
            },
            definition: Some(DefinitionFacts::new("sha256:00", br#"{"readOnlyHint":true}"#)),
            session: None,
            time: Timestamp::parse("2026-11-21T10:00:00Z").expect("a time"),
            ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            origin: "mcp".into(),
            client: ClientLabel { name: "test".into(), version: "1".into() },
            limits: vec![("calls_this_hour".into(), 3)],
        }
    }

    pub fn with(mut self, arguments: &str) -> Self {
        self.arguments = Some(json(arguments));
        self
    }

    pub fn carrying(mut self, roles: &[&str]) -> Self {
        self.caller.grant.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        self
    }

    pub fn on(mut self, id: &str) -> Self {
        self.server = server(id);
        self
    }

    /// A completion is for a prompt, unless [`about`](Self::about) says otherwise.
    pub fn doing(mut self, operation: Operation) -> Self {
        self.operation = operation;
        self.kind = match operation {
            Operation::ToolsCall => CapabilityKind::Tool,
            Operation::PromptsGet | Operation::CompletionComplete => CapabilityKind::Prompt,
            _ => CapabilityKind::Resource,
        };
        self
    }

    pub fn about(mut self, kind: CapabilityKind) -> Self {
        self.kind = kind;
        self
    }

    pub fn ask<T>(&self, question: impl FnOnce(&Inquiry<'_>) -> T) -> T {
        let arguments = self.arguments.as_ref().map(Document::root);
        let incomparable = arguments.filter(|arguments| arguments.unsafe_integers().next().is_some());
        let context = Context { time: self.time, ip: self.ip, origin: &self.origin, client: &self.client };
        question(&Inquiry {
            operation: self.operation,
            server: &self.server,
            target: Target::new(self.kind, &self.target),
            arguments: incomparable.map_or(Arguments::Known(arguments), Arguments::Incomparable),
            caller: &self.caller,
            definition: self.definition.as_ref(),
            session: self.session.as_ref(),
            context: &context,
            limits: &self.limits,
        })
    }

    pub fn decide(&self, set: &PolicySet) -> Ruling {
        self.ask(|inquiry| set.decide(inquiry))
    }

    pub fn lists(&self, set: &PolicySet) -> Listing {
        self.ask(|inquiry| set.lists(inquiry))
    }

    pub fn document(&self, set: &PolicySet) -> String {
        self.ask(|inquiry| set.input_document(inquiry))
    }

    /// The verdict and its reasons, as one line.
    pub fn line(&self, set: &PolicySet) -> String {
        line(&self.decide(set).decision)
    }
}

pub fn line(decision: &doorward_model::Decision) -> String {
    let mut line = decision.verdict.to_string();
    for reason in &decision.reasons {
        line.push_str(" | ");
        line.push_str(reason);
    }
    line
}

pub fn roles(yaml_as_json: serde_json::Value) -> Vec<RolePolicy> {
    serde_json::from_value(yaml_as_json).expect("role policies")
}

pub fn rego(name: &str, source: &str) -> RegoSource {
    RegoSource {
        name: name.into(),
        source: source.into(),
        file: Some(format!("{name}.rego")),
        data: None,
        mode: Mode::Enforce,
    }
}

pub fn compile(
    roles: Vec<RolePolicy>,
    rego: Vec<RegoSource>,
    options: &Options,
) -> Result<(PolicySet, Vec<Warning>), Vec<PolicyError>> {
    PolicySet::compile(roles, rego, options, &|_| Ok(()))
}

pub fn set(roles: Vec<RolePolicy>, rego: Vec<RegoSource>) -> PolicySet {
    compile(roles, rego, &Options::default()).expect("valid policies").0
}

pub fn set_of_rego(source: &str) -> PolicySet {
    set(vec![], vec![rego("p", source)])
}

pub fn is_allowed(ruling: &Ruling) -> bool {
    ruling.decision.verdict == Verdict::Allow
}
