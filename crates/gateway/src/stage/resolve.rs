//! Stage 3 of 8: what does the caller mean?
//!
//! Turns the name a client used into a server and the server's own name for the
//! thing. What lies outside the caller's reach is refused in the very words used
//! for what does not exist.

use std::sync::Arc;

use doorward_model::json::{Kind, Value};
use doorward_model::{CapabilityKind, Decision, Layer, Operation};
use doorward_registry::{Capability, Mirrored, Server, name};
use doorward_wire::{Era, RpcError, error};

use crate::ask::state::{self, Resume, Round};
use crate::catalogs;
use crate::exact;
use crate::pipeline::Asked;
use crate::receive::Parameter;
use crate::stage::{Refusal, Refused};
use crate::surface::Surface;
use crate::uri;

/// A call whose target is known.
pub(crate) struct Resolved<'a> {
    /// On the heap, because a call moves from stage to stage by value.
    asked: Box<Asked<'a>>,
    operation: Operation,
    kind: CapabilityKind,
    server: Arc<Server>,
    /// The server's own name or URI for the target.
    target: String,
    /// What the client called it.
    offered: String,
    /// Whether that is how lists spell it.
    is_listed_spelling: bool,
    /// Whether the server has said all that it offers of this kind.
    is_listed: bool,
    capability: Option<Arc<Capability>>,
    arguments: Option<Value<'a>>,
    round: Option<Round<'a>>,
    /// What is wrong with what a call that is made again brings along.
    misfit: Option<RpcError>,
}

/// Whether a server has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is in the server's lists.
    Listed,
    /// It is not, or its registration withholds it.
    Absent,
    /// Its lists are not known, or do not tell.
    Unknown,
}

/// What a request names, before anybody looked whether it exists.
struct Named<'a> {
    kind: CapabilityKind,
    offered: String,
    arguments: Option<Value<'a>>,
}

/// Finds the target.
pub(crate) async fn resolve(
    mut asked: Box<Asked<'_>>,
    operation: Operation,
) -> Result<Resolved<'_>, Box<Refused<'_>>> {
    let named = match named(&asked, operation) {
        Ok(named) => named,
        Err(error) => {
            let beyond = asked.incoming.unless_exact.as_deref().cloned().map(Refusal::Beyond);
            let tool = tool_of(&asked, operation);
            let refused = Refused::new(asked, operation, beyond.unwrap_or(Refusal::Invalid(error)));
            // What is wrong may be the arguments alone.
            return Err(match tool {
                Some(tool) => refused.named(CapabilityKind::Tool, tool),
                None => refused,
            });
        }
    };
    let mut server = match server_of(&asked, &named) {
        Ok(server) => server,
        Err(beyond) => return Err(out_of_reach(asked, operation, named, beyond)),
    };
    if let Some(error) = asked.incoming.unless_exact.as_deref().cloned()
        && !exact::is_taken_by(&server)
    {
        let refused = Refused::new(asked, operation, Refusal::Beyond(error));
        return Err(refused.named(named.kind, named.offered).of(server));
    }
    // A caller who can be allowed nothing here must not make the gateway start or
    // ask the server: with no policy, nothing is touched at all.
    let asking = &asked.gateway.asking;
    if (asked.snapshot.registry.listing(&server.id, &asked.declared).is_none()
        || asking.is_replaced(&server.id))
        && asked.snapshot.rulebook.policy.may_allow(asked.caller, &server.id)
    {
        // A server that cannot be reached is no reason to refuse here: the verdict
        // does not depend on it, and the call will fail by itself.
        Box::pin(catalogs::ensure(asked.gateway, &server.id, &asked.declared)).await;
        asked.snapshot = asked.gateway.snapshot();
        // All of the call is judged by one configuration, and that may be another by now.
        match server_of(&asked, &named) {
            Ok(found) => server = found,
            Err(beyond) => return Err(out_of_reach(asked, operation, named, beyond)),
        }
    }
    let target = own_name(&asked, &server, &named);
    let (round, misfit) = match round(&asked, operation, &server, &target, named.arguments) {
        Ok(round) => (round, None),
        Err(error) => (None, Some(error)),
    };
    // What another server of that name has offered says nothing of this one.
    let listing = asked.snapshot.registry.listing(&server.id, &asked.declared);
    let listing = listing.filter(|_| !asked.gateway.asking.is_replaced(&server.id));
    let capability = listing.and_then(|listing| listing.named(named.kind, &target)).cloned();
    let is_listed = listing.is_some_and(|listing| listing.is_whole(named.kind));
    if let Some(span) = &asked.span {
        span.placed(&server.id, capability.as_ref());
    }
    let is_uri = matches!(named.kind, CapabilityKind::Resource | CapabilityKind::ResourceTemplate);
    // One that stands in the server's own list is its name, however it is spelled.
    let is_listed_spelling = is_listed_spelling(&asked, &server, &named, &target);
    let is_ambiguous = is_uri && capability.is_none() && !uri::has_one_reading(named.kind, &target);
    let resolved = Resolved {
        asked,
        operation,
        kind: named.kind,
        server,
        target,
        offered: named.offered,
        is_listed_spelling,
        is_listed,
        capability,
        arguments: named.arguments,
        round,
        misfit,
    };
    if is_ambiguous {
        let decision = Decision::hide(Layer::Exposure, AMBIGUOUS);
        return Err(resolved.into_refused(Refusal::Unknown(decision)));
    }
    Ok(resolved)
}

/// The refusal of a call on a server that does not exist for its caller, or is out of service. Only
/// whoever may see the server is told which.
fn out_of_reach<'a>(
    asked: Box<Asked<'a>>,
    operation: Operation,
    named: Named<'a>,
    beyond: Option<Arc<Server>>,
) -> Box<Refused<'a>> {
    let is_told = |server: &Server| !server.enabled && asked.snapshot.may_see(asked.caller, server);
    let refusal = match beyond.as_deref().filter(|server| is_told(server)) {
        Some(server) => {
            let reason = format!("server_disabled: server `{}` is disabled", server.id);
            Refusal::Denied(Decision::deny(Layer::Exposure, reason))
        }
        None => Refusal::Unknown(Decision::hide(Layer::Scope, "no such server in the caller's reach")),
    };
    let refused = Refused::new(asked, operation, refusal).named(named.kind, named.offered);
    match beyond {
        Some(server) => refused.of(server),
        None => refused,
    }
}

/// Why a URI is as good as unknown.
const AMBIGUOUS: &str =
    "the URI is not in normal form (RFC 3986, section 6.2.2): its server might read it as another";

/// What a call that is made again brings along: only the modern era makes calls again.
fn round<'a>(
    asked: &Asked<'a>,
    operation: Operation,
    server: &Server,
    target: &str,
    arguments: Option<Value<'a>>,
) -> Result<Option<Round<'a>>, RpcError> {
    let can_be_made_again =
        matches!(operation, Operation::ToolsCall | Operation::PromptsGet | Operation::ResourcesRead);
    let Some(params) = asked.request.params.filter(|_| can_be_made_again && asked.era() == Era::Modern)
    else {
        return Ok(None);
    };
    let responses = params.get("inputResponses");
    if responses.is_some_and(|responses| !responses.is_object()) {
        return Err(RpcError::answer(error::INVALID_PARAMS, "params.inputResponses must be an object"));
    }
    // Without it nothing was asked yet, and what nobody asks goes nowhere.
    let Some(state) = params.get("requestState") else {
        return Ok(responses.is_some().then_some(Round { responses, resume: Resume::Unasked }));
    };
    let binding = state::binding(asked, operation.as_str(), server, target, arguments);
    let resume = state::open(asked, &binding, state.as_str().as_deref().unwrap_or_default())?;
    Ok(Some(Round { responses, resume }))
}

/// The tool that a request names, whatever else is wrong with it.
fn tool_of(asked: &Asked<'_>, operation: Operation) -> Option<String> {
    let name = asked.request.params.filter(|_| operation == Operation::ToolsCall)?.get("name")?;
    name.as_str().filter(|name| name.len() <= 4096).map(std::borrow::Cow::into_owned)
}

fn named<'a>(asked: &Asked<'a>, operation: Operation) -> Result<Named<'a>, RpcError> {
    let invalid = |message: &str| RpcError::answer(error::INVALID_PARAMS, message);
    let params = asked.request.params.ok_or_else(|| invalid("params are missing"))?;
    let text = |object: Value<'a>, key: &str| {
        let found = object.get(key).and_then(Value::as_str).filter(|text| text.len() <= 4096);
        found
            .map(std::borrow::Cow::into_owned)
            .ok_or_else(|| invalid(&format!("params.{key} must be a string")))
    };
    let object = |key: &str| match params.get(key) {
        None => Ok(None),
        // An optional member that is `null` says the same as none.
        Some(value) if value.is_null() => Ok(None),
        Some(value) if value.kind() == Kind::Object => Ok(Some(value)),
        Some(_) => Err(invalid(&format!("params.{key} must be an object"))),
    };
    Ok(match operation {
        Operation::ToolsCall => Named {
            kind: CapabilityKind::Tool,
            offered: text(params, "name")?,
            arguments: object("arguments")?,
        },
        Operation::PromptsGet => Named {
            kind: CapabilityKind::Prompt,
            offered: text(params, "name")?,
            arguments: object("arguments")?,
        },
        Operation::ResourcesRead
        | Operation::ResourcesSubscribe
        | Operation::SkillsGet
        | Operation::DirectoryRead => {
            Named { kind: CapabilityKind::Resource, offered: text(params, "uri")?, arguments: None }
        }
        Operation::CompletionComplete => {
            let reference = object("ref")?.ok_or_else(|| invalid("params.ref is missing"))?;
            let argument = object("argument")?.ok_or_else(|| invalid("params.argument is missing"))?;
            match reference.get("type").and_then(Value::as_str).as_deref() {
                Some("ref/prompt") => Named {
                    kind: CapabilityKind::Prompt,
                    offered: text(reference, "name")?,
                    arguments: Some(argument),
                },
                Some("ref/resource") => Named {
                    kind: CapabilityKind::ResourceTemplate,
                    offered: text(reference, "uri").and_then(|uri| {
                        // Records tell templates from prompts by which of the two has a name.
                        if uri.is_empty() { Err(invalid("params.ref.uri is empty")) } else { Ok(uri) }
                    })?,
                    arguments: Some(argument),
                },
                _ => return Err(invalid("params.ref.type must be ref/prompt or ref/resource")),
            }
        }
    })
}

/// The server that the name belongs to, if the caller reaches it; else the server all the same, if
/// there is one.
fn server_of(asked: &Asked<'_>, named: &Named<'_>) -> Result<Arc<Server>, Option<Arc<Server>>> {
    let server = registered(asked, named).ok_or(None)?;
    let server = Arc::clone(server);
    if asked.snapshot.reaches(asked.caller, &server) { Ok(server) } else { Err(Some(server)) }
}

/// The server that the name belongs to.
fn registered<'s>(asked: &'s Asked<'_>, named: &Named<'_>) -> Option<&'s Arc<Server>> {
    let registry = &asked.snapshot.registry;
    match (&asked.incoming.arrival.surface, named.kind) {
        (Surface::Server(id), _) => registry.server(id.as_str()),
        (_, CapabilityKind::Tool | CapabilityKind::Prompt) => match name::server_of(&named.offered) {
            Some(id) => registry.in_names(&id),
            // Only ids that are nearly as long as a name may be leave no room for it all.
            None => match registry.exposed(named.kind, &named.offered) {
                Some(capability) => Some(&capability.server),
                None => {
                    let mut servers = registry.servers().iter();
                    servers.find(|server| name::may_be_shortened_of(&server.id, &named.offered))
                }
            },
        },
        (_, CapabilityKind::Resource | CapabilityKind::ResourceTemplate) => {
            registry.in_names(&name::original_uri(&named.offered)?.0)
        }
    }
}

/// What the server itself calls the target.
fn own_name(asked: &Asked<'_>, server: &Server, named: &Named<'_>) -> String {
    if matches!(asked.incoming.arrival.surface, Surface::Server(_)) {
        return named.offered.clone();
    }
    match named.kind {
        CapabilityKind::Tool | CapabilityKind::Prompt => {
            // A shortened name can only be looked up; any other is also plain to read,
            // which serves while the server has not been asked yet.
            match asked.snapshot.registry.exposed(named.kind, &named.offered) {
                Some(capability) => capability.name.to_string(),
                None => {
                    let own = named.offered.strip_prefix(&*server.id.in_names());
                    let own = own.and_then(|own| own.strip_prefix(name::SEPARATOR));
                    own.unwrap_or(&named.offered).to_owned()
                }
            }
        }
        CapabilityKind::Resource | CapabilityKind::ResourceTemplate => {
            name::original_uri(&named.offered).map(|(_, uri)| uri).unwrap_or_default()
        }
    }
}

/// Whether lists name a tool or prompt like this, or would if they had it. What two of them would
/// be called is the name of neither.
fn is_listed_spelling(asked: &Asked<'_>, server: &Server, named: &Named<'_>, target: &str) -> bool {
    let is_named = matches!(named.kind, CapabilityKind::Tool | CapabilityKind::Prompt);
    if !is_named || matches!(asked.incoming.arrival.surface, Surface::Server(_)) {
        return true;
    }
    let registry = &asked.snapshot.registry;
    match registry.exposed(named.kind, &named.offered) {
        Some(_) => true,
        None => {
            name::exposed(&server.id, named.kind, target) == named.offered
                && !registry.is_contested(named.kind, &named.offered)
        }
    }
}

impl<'a> Resolved<'a> {
    pub(crate) fn asked(&self) -> &Asked<'a> {
        &self.asked
    }

    pub(crate) fn operation(&self) -> Operation {
        self.operation
    }

    pub(crate) fn kind(&self) -> CapabilityKind {
        self.kind
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// What the client called it.
    pub(crate) fn offered(&self) -> &str {
        &self.offered
    }

    pub(crate) fn capability(&self) -> Option<&Arc<Capability>> {
        self.capability.as_ref()
    }

    pub(crate) fn arguments(&self) -> Option<Value<'a>> {
        self.arguments
    }

    pub(crate) fn round(&self) -> Option<&Round<'a>> {
        self.round.as_ref()
    }

    /// Whether the call can be made: the server has the target, or may have it, and its
    /// registration leaves it callable. A resource may be read without having been listed
    /// (templates); what a server that has not answered yet, or not whole, would offer, nobody knows.
    pub(crate) fn may_exist(&self) -> bool {
        let is_resource = matches!(self.kind, CapabilityKind::Resource | CapabilityKind::ResourceTemplate);
        match self.presence() {
            Presence::Listed | Presence::Unknown => true,
            Presence::Absent => is_resource && self.server.offers(self.kind, &self.target),
        }
    }

    /// Whether the server has the target, as far as its lists tell.
    pub(crate) fn presence(&self) -> Presence {
        if !self.is_listed_spelling || !self.server.offers(self.kind, &self.target) {
            return Presence::Absent;
        }
        if self.capability.is_some() {
            return Presence::Listed;
        }
        // A template may stand for any URI.
        let is_told = self.is_listed && !(self.kind == CapabilityKind::Resource && self.may_be_templated());
        if is_told { Presence::Absent } else { Presence::Unknown }
    }

    /// Whether the server has templates of URIs, or has not said whether it has.
    fn may_be_templated(&self) -> bool {
        let kind = CapabilityKind::ResourceTemplate;
        let listing = self.asked.snapshot.registry.listing(&self.server.id, &self.asked.declared);
        listing.is_none_or(|listing| {
            !listing.is_whole(kind) || listing.offered.iter().any(|capability| capability.kind == kind)
        })
    }

    /// What keeps this call from being made as it stands, if anything does. Asked of whoever
    /// may call the tool only: to all others it must not show that it exists.
    pub(crate) fn unfit(&self) -> Option<RpcError> {
        self.misfit.clone().or_else(|| self.lying_header())
    }

    /// What is wrong with the headers that repeat arguments, if anything is.
    fn lying_header(&self) -> Option<RpcError> {
        let headers = &self.capability.as_ref()?.headers;
        let asked = &self.asked;
        if headers.is_empty() {
            return None;
        }
        // Whether the caller says them in headers or not, the server is to get them there.
        if let Some(unsayable) = headers.iter().find(|mirrored| mirrored.is_unsayable(self.arguments)) {
            let path = unsayable.path.join(".");
            let message = format!(
                "arguments.{path} is an integer beyond ±(2^53−1), which header {} cannot say",
                unsayable.header
            );
            return Some(RpcError::answer(error::INVALID_PARAMS, message));
        }
        if asked.era() == Era::Legacy {
            return None;
        }
        headers.iter().find_map(|mirrored| {
            let argument = mirrored.value(self.arguments);
            let wrong = |what: &str| {
                let message =
                    format!("header {} {what} arguments.{}", mirrored.header, mirrored.path.join("."));
                Some(RpcError::bad_request(error::HEADER_MISMATCH, message))
            };
            match (asked.incoming.arrival.parameter(&mirrored.header), argument) {
                (Parameter::NoHeaders | Parameter::Absent, None) | (Parameter::NoHeaders, _) => None,
                (Parameter::Said(said), Some(argument)) if Mirrored::agrees(&said, &argument) => None,
                (Parameter::Absent, Some(_)) => wrong("is missing for"),
                (Parameter::Said(_), _) => wrong("differs from"),
                (Parameter::Malformed, _) => wrong("cannot be read, for"),
            }
        })
    }

    pub(crate) fn into_refused(self, refusal: Refusal) -> Box<Refused<'a>> {
        Refused::resolved(self, refusal)
    }

    pub(crate) fn into_asked(self) -> (Box<Asked<'a>>, Place) {
        let place = Place {
            kind: Some(self.kind),
            server: Some(self.server),
            target: self.target,
            offered: self.offered,
            fingerprint: self.capability.map(|capability| Arc::clone(&capability.fingerprint)),
        };
        (self.asked, place)
    }
}

/// Where a call was headed, as records name it.
#[derive(Default)]
pub(crate) struct Place {
    pub kind: Option<CapabilityKind>,
    pub server: Option<Arc<Server>>,
    pub target: String,
    pub offered: String,
    pub fingerprint: Option<Arc<str>>,
}
