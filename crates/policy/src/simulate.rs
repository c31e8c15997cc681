//! Deciding on a written input: what would happen if, and what happened then.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use doorward_model::json::{Document, Kind, Limits, Numbers, Value};
use doorward_model::{
    Agent, Caller, CapabilityKind, ClientLabel, Decision, Grant, GrantKind, Layer, Operation, Person,
    ServerId, Timestamp,
};

use crate::document::MEMBERS;
use crate::facts::{
    Arguments, Context, DefinitionFacts, EarlierCall, Inquiry, ServerFacts, SessionFacts, Target,
};
use crate::problem::hint;
use crate::rego::POLICY_ERROR;
use crate::ruling::Ruling;
use crate::set::PolicySet;

/// A document that is no input document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{member}` {problem}")]
pub struct InvalidInput {
    /// The member, such as `context.time`.
    pub member: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Decides on an input document, as [`PolicySet::input_document`] writes it.
///
/// A document written by hand may leave out whatever it likes, which then is empty
/// (`operation` is the one that goes with what is named, `backend` is `unknown`, the time is 1970), and may
/// shorten: `user` and `agent` as texts stand for the person and the agent, `roles`
/// for the roles of the grant. Read it with
/// [`Numbers::Exact`](doorward_model::json::Numbers::Exact), since records may hold
/// any number.
///
/// # Errors
/// [`InvalidInput`] for a member that is unknown or not of its kind.
pub fn simulate(set: &PolicySet, document: Value<'_>) -> Result<Ruling, InvalidInput> {
    let reader = Reader { value: Some(document), path: String::new() };
    for (name, value) in reader.object()?.map(Value::members).into_iter().flatten() {
        if name == "approval" && !value.is_null() {
            return Err(invalid(
                &name,
                "must be null: a decision made with an approval cannot be simulated yet",
            ));
        }
        if name != "roles" && !MEMBERS.contains(&&*name) {
            return Err(invalid(&name, &format!("is not part of an input document{}", hint(&name, MEMBERS))));
        }
    }
    let operation = operation(&reader)?;
    let (server, (kind, name)) = (server(&reader)?, target(&reader, operation)?);
    let (caller, definition, session) = (caller(&reader)?, definition(&reader)?, session(&reader)?);
    let limits = limits(&reader)?;

    let context = reader.member("context");
    let client = context.member("client");
    let client = ClientLabel {
        name: client.member("name").text()?.unwrap_or_default(),
        version: client.member("version").text()?.unwrap_or_default(),
    };
    let origin = context.member("origin").text()?.unwrap_or_default();
    let context = Context {
        time: context.member("time").time()?.unwrap_or_default(),
        ip: context.member("ip").parsed::<IpAddr>("is not an IP address")?,
        origin: &origin,
        client: &client,
    };
    Ok(set.decide(&Inquiry {
        operation,
        server: &server,
        target: Target::new(kind, &name),
        arguments: arguments(&reader)?,
        caller: &caller,
        definition: Some(&definition),
        session: Some(&session),
        context: &context,
        limits: &limits,
    }))
}

/// What an input document asks about, for whoever wrote it by hand: the operation and its target.
///
/// # Errors
/// [`InvalidInput`] where it names no tool, prompt or resource, or more than one of them.
pub fn asked(document: Value<'_>) -> Result<(Operation, String), InvalidInput> {
    let reader = Reader { value: Some(document), path: String::new() };
    reader.object()?;
    let named: Vec<_> = named(&reader)?.into_iter().filter(|(_, name)| !name.is_empty()).collect();
    let operation = operation(&reader)?;
    let (_, name) = target(&reader, operation)?;
    match &named[..] {
        [] => Err(invalid("input", "names nothing: it needs one of `tool`, `prompt` and `resource.uri`")),
        [(member, _)] if name.is_empty() => {
            Err(invalid("operation", &format!("is {}, which is not about a `{member}`", operation.as_str())))
        }
        [_] => Ok((operation, name)),
        [(one, _), (other, _), ..] => {
            Err(invalid("input", &format!("names `{one}` and `{other}`: one call has one of them")))
        }
    }
}

/// What the document names, by member.
fn named(reader: &Reader<'_>) -> Result<[(&'static str, String); 3], InvalidInput> {
    let text = |reader: Reader<'_>| reader.text().map(Option::unwrap_or_default);
    Ok([
        ("tool", text(reader.member("tool"))?),
        ("prompt", text(reader.member("prompt"))?),
        ("resource", text(reader.member("resource").member("uri"))?),
    ])
}

/// The operation; where none is said, the one that goes with what is named.
fn operation(reader: &Reader<'_>) -> Result<Operation, InvalidInput> {
    let Some(method) = reader.member("operation").text()? else {
        let named = named(reader)?;
        let member = named.iter().find(|(_, name)| !name.is_empty()).map_or("tool", |(member, _)| member);
        return Ok(match member {
            "prompt" => Operation::PromptsGet,
            "resource" => Operation::ResourcesRead,
            _ => Operation::ToolsCall,
        });
    };
    let known = Operation::ALL.map(Operation::as_str);
    Operation::from_method(&method)
        .ok_or_else(|| invalid("operation", &format!("is not one of {}", known.join(", "))))
}

/// What an input document is read with: it nests as deep as its arguments do, and a record holds
/// any number.
pub const WRITTEN: Limits =
    Limits { depth: 140, values: 1 << 20, index_depth: usize::MAX, numbers: Numbers::Exact };

impl PolicySet {
    /// Decides on an input document that was written here: as [`decide`](Self::decide) does, on
    /// any thread, without the call. What cannot be read is refused.
    pub fn decide_written(&self, document: String) -> Ruling {
        let parsed = Document::parse(Bytes::from(document), &WRITTEN).map_err(|error| error.to_string());
        let ruling =
            parsed.and_then(|document| simulate(self, document.root()).map_err(|error| error.to_string()));
        ruling.unwrap_or_else(|error| Ruling {
            errors: vec![error],
            ..Ruling::from(Decision::deny(Layer::Policy, POLICY_ERROR))
        })
    }
}

fn arguments<'a>(reader: &Reader<'a>) -> Result<Arguments<'a>, InvalidInput> {
    let arguments = reader.member("arguments").object()?;
    let incomparable = arguments.filter(|arguments| arguments.unsafe_integers().next().is_some());
    Ok(incomparable.map_or(Arguments::Known(arguments), Arguments::Incomparable))
}

fn server(reader: &Reader<'_>) -> Result<ServerFacts, InvalidInput> {
    let server = reader.member("server");
    let backend = reader.member("backend").text()?.or(server.member("id").text()?);
    let id = ServerId::try_from(backend.unwrap_or_else(|| "unknown".to_owned()))
        .map_err(|error| invalid("backend", &error.to_string()))?;
    Ok(ServerFacts::new(
        id,
        server.member("tags").texts()?,
        server.member("transport").text()?.unwrap_or_default(),
    ))
}

fn target(reader: &Reader<'_>, operation: Operation) -> Result<(CapabilityKind, String), InvalidInput> {
    let uri = reader.member("resource").member("uri").text()?;
    let prompt = reader.member("prompt").text()?;
    let (kind, name) = match operation {
        Operation::ToolsCall => (CapabilityKind::Tool, reader.member("tool").text()?),
        Operation::ResourcesRead
        | Operation::ResourcesSubscribe
        | Operation::SkillsGet
        | Operation::DirectoryRead => (CapabilityKind::Resource, uri),
        Operation::PromptsGet => (CapabilityKind::Prompt, prompt),
        // A completion is for one of the two; the other is empty.
        Operation::CompletionComplete => match uri.filter(|uri| !uri.is_empty()) {
            Some(uri) => (CapabilityKind::ResourceTemplate, Some(uri)),
            None => (CapabilityKind::Prompt, prompt),
        },
    };
    Ok((kind, name.unwrap_or_default()))
}

fn caller(reader: &Reader<'_>) -> Result<Caller, InvalidInput> {
    let identity = reader.member("identity");
    let (grant, user) = (identity.member("grant"), identity.member("user"));
    let mut roles = grant.member("roles").texts()?;
    roles.extend(reader.member("roles").texts()?);
    let person = if user.object()?.is_some() {
        Person {
            id: user.member("id").text()?.unwrap_or_default(),
            email: user.member("email").text()?.filter(|email| !email.is_empty()),
            groups: user.member("groups").texts()?,
            roles: user.member("roles").texts()?,
        }
    } else {
        let user = reader.member("user").text()?.unwrap_or_default();
        Person { email: Some(user.clone()).filter(|user| user.contains('@')), id: user, ..Person::default() }
    };
    let agent = identity.member("agent").member("id").text()?.or(reader.member("agent").text()?);
    Ok(Caller {
        grant: Grant {
            id: grant.member("id").text()?.unwrap_or_default(),
            kind: GrantKind::Key,
            issuer: None,
            roles,
            servers: None,
            scopes: reader.member("scopes").texts()?,
            claims: claims(&identity)?,
            expires_at: grant.member("expires_at").time()?,
            rate_limit: None,
        },
        person: Some(person).filter(|person| *person != Person::default()),
        agent: agent.filter(|id| !id.is_empty()).map(|id| Agent { id }),
    })
}

fn claims(identity: &Reader<'_>) -> Result<BTreeMap<String, String>, InvalidInput> {
    let claims = identity.member("claims");
    let members = claims.object()?.map(Value::members).into_iter().flatten();
    let each = members.map(|(name, value)| match value.as_str() {
        Some(text) => Ok((name.into_owned(), text.into_owned())),
        None => Err(invalid(&format!("identity.claims.{name}"), "is not a text")),
    });
    each.collect()
}

fn definition(reader: &Reader<'_>) -> Result<DefinitionFacts, InvalidInput> {
    let definition = reader.member("definition");
    let annotations = definition.member("annotations").object()?.map_or("{}", Value::raw);
    let text = |name| definition.member(name).text().map(Option::unwrap_or_default);
    Ok(DefinitionFacts::reviewed(
        &text("fingerprint")?,
        annotations.as_bytes(),
        &text("risk")?,
        &text("reviewed_by")?,
    ))
}

fn session(reader: &Reader<'_>) -> Result<SessionFacts, InvalidInput> {
    let session = reader.member("session");
    let calls = session.member("calls").items()?.into_iter().map(|call| {
        let text = |name| call.member(name).text().map(Option::unwrap_or_default);
        let (backend, tool, verdict) = (text("backend")?, text("tool")?, text("verdict")?);
        Ok(EarlierCall { backend, tool, verdict, labels: call.member("labels").texts()? })
    });
    Ok(SessionFacts {
        calls: calls.collect::<Result<_, _>>()?,
        id: session.member("id").text()?.unwrap_or_default(),
        labels: session.member("labels").texts()?,
    })
}

fn limits(reader: &Reader<'_>) -> Result<Vec<(String, u64)>, InvalidInput> {
    let limits = reader.member("limits").object()?;
    let counters = limits.map(Value::members).into_iter().flatten();
    counters
        .map(|(name, count)| match count.raw().parse() {
            Ok(count) => Ok((name.into_owned(), count)),
            Err(_) => Err(invalid(&format!("limits.{name}"), "is not a count")),
        })
        .collect()
}

fn invalid(member: &str, problem: &str) -> InvalidInput {
    InvalidInput { member: member.to_owned(), problem: problem.to_owned() }
}

/// A member of the document, which may be missing, with its path for messages.
struct Reader<'a> {
    value: Option<Value<'a>>,
    path: String,
}

impl<'a> Reader<'a> {
    fn member(&self, name: &str) -> Reader<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Reader { value: self.value.and_then(|value| value.get(name)).filter(|value| !value.is_null()), path }
    }

    fn invalid<T>(&self, problem: &str) -> Result<T, InvalidInput> {
        Err(invalid(if self.path.is_empty() { "input" } else { &self.path }, problem))
    }

    fn object(&self) -> Result<Option<Value<'a>>, InvalidInput> {
        match self.value {
            Some(value) if !value.is_object() => self.invalid("is not an object"),
            other => Ok(other),
        }
    }

    fn text(&self) -> Result<Option<String>, InvalidInput> {
        match self.value.map(Value::as_str) {
            Some(None) => self.invalid("is not a text"),
            other => Ok(other.flatten().map(|text| text.into_owned())),
        }
    }

    fn parsed<T: std::str::FromStr>(&self, problem: &str) -> Result<Option<T>, InvalidInput> {
        match self.text()?.filter(|text| !text.is_empty()).map(|text| text.parse()) {
            Some(Err(_)) => self.invalid(problem),
            other => Ok(other.and_then(Result::ok)),
        }
    }

    fn time(&self) -> Result<Option<Timestamp>, InvalidInput> {
        match self.text()?.filter(|text| !text.is_empty()).map(|text| Timestamp::parse(&text)) {
            Some(Err(error)) => self.invalid(&error.to_string()),
            other => Ok(other.and_then(Result::ok)),
        }
    }

    fn items(&self) -> Result<Vec<Reader<'a>>, InvalidInput> {
        match self.value {
            None => Ok(Vec::new()),
            Some(value) if value.kind() == Kind::Array => Ok(value
                .items()
                .enumerate()
                .map(|(at, item)| Reader { value: Some(item), path: format!("{}[{at}]", self.path) })
                .collect()),
            Some(_) => self.invalid("is not a list"),
        }
    }

    fn texts(&self) -> Result<Vec<String>, InvalidInput> {
        self.items()?
            .iter()
            .map(|item| item.text()?.map_or_else(|| item.invalid("is not a text"), Ok))
            .collect()
    }
}
