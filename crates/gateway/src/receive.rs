//! Stage 2 of 8: from bytes to a message whose era is known.
//!
//! One strict parse, then the classification of the two protocols that share the
//! URL. Everything behind this point works on the same [`Document`]; nothing is
//! ever read from the bytes again. An integer that only some servers take is the one
//! thing that is read twice, and only where there are such servers ([`exact`]).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use doorward_identity::Presented;
use doorward_model::json::{Document, ParseError, Value};
use doorward_model::{Secret, Timestamp};
use doorward_wire::error::{HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, UNSUPPORTED_VERSION};
use doorward_wire::message::{Message, Request};
use doorward_wire::meta::Meta;
use doorward_wire::own::{self, Sender};
use doorward_wire::{Era, Revision, RpcError, header};
use http::{HeaderMap, HeaderName};

use crate::gateway::Gateway;
use crate::reply::Reply;
use crate::session::Session;
use crate::stage::identify::presented;
use crate::stage::settle::tool_failed;
use crate::surface::Surface;
use crate::turned_away::Reason;
use crate::{bounds, exact};

/// The session header, both spellings of which differ only by case.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The one method that opens a stream without an end.
const LISTEN: &str = "subscriptions/listen";
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Where a message came from, as the transport knows it.
#[derive(Clone)]
pub struct Arrival {
    /// The endpoint.
    pub surface: Surface,
    /// `mcp`, `stdio`, `cli` or `meta`, as records name it.
    pub origin: &'static str,
    /// The peer's address, where there is one.
    pub ip: Option<IpAddr>,
    /// How sessions are told apart here.
    pub carrier: Carrier,
    /// Whether the answer may be a stream.
    pub can_stream: bool,
}

/// What carries messages and so carries sessions.
#[derive(Clone)]
pub enum Carrier {
    /// HTTP: the session stands in a header of each request. With it the one it stands
    /// for, if there is one.
    Http(Arc<HeaderMap>, Option<Arc<Session>>),
    /// One connection, one session at most: stdio.
    Connection(Arc<Connection>),
}

/// A connection that carries one client's messages.
#[derive(Default)]
pub struct Connection {
    /// What its client presented, which is judged again with each message.
    pub key: Option<Secret>,
    session: Mutex<Option<Arc<Session>>>,
}

impl Connection {
    /// The connection of a client that presented this.
    pub fn new(key: Option<Secret>) -> Self {
        Self { key, session: Mutex::default() }
    }

    pub(crate) fn session(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arrival {
    /// What its client presented.
    pub(crate) fn presented(&self) -> Presented<'_> {
        match &self.carrier {
            Carrier::Http(headers, _) => presented(headers),
            Carrier::Connection(connection) => {
                Presented { bearer: connection.key.as_ref().map(Secret::expose) }
            }
        }
    }

    /// The `traceparent` header, where there is one.
    pub(crate) fn trace_header(&self) -> Option<&str> {
        let Carrier::Http(headers, _) = &self.carrier else { return None };
        headers.get("traceparent").and_then(|value| value.to_str().ok())
    }

    /// What a `Mcp-Param-*` header says.
    pub(crate) fn parameter(&self, name: &str) -> Parameter {
        let Carrier::Http(headers, _) = &self.carrier else { return Parameter::NoHeaders };
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Parameter::Absent,
            (Some(value), None) => match header::decode(value.as_bytes()) {
                Ok(text) => Parameter::Said(text.into_owned()),
                Err(_) => Parameter::Malformed,
            },
            (Some(_), Some(_)) => Parameter::Malformed,
        }
    }

    /// Its session, if it shows one.
    ///
    /// # Errors
    /// When what it shows is none.
    pub(crate) fn session(&self) -> Result<Option<Arc<Session>>, RpcError> {
        match &self.carrier {
            Carrier::Http(_, None) if self.shows_session() => Err(no_session()),
            Carrier::Http(_, session) => Ok(session.clone()),
            Carrier::Connection(connection) => Ok(connection.session().clone()),
        }
    }

    /// Whether it comes with a session, whatever that is worth.
    fn shows_session(&self) -> bool {
        match &self.carrier {
            Carrier::Http(headers, _) => headers.contains_key(&SESSION),
            Carrier::Connection(connection) => connection.session().is_some(),
        }
    }

    fn header(&self, name: &HeaderName) -> Result<Option<&str>, RpcError> {
        match &self.carrier {
            Carrier::Http(headers, _) => only(headers, name),
            Carrier::Connection(_) => Ok(None),
        }
    }
}

/// What a header says that may be there once.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, RpcError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(RpcError::bad_request(HEADER_MISMATCH, format!("header {name} is repeated")));
    }
    first
        .map(|value| value.to_str().map(str::trim))
        .transpose()
        .map_err(|_| RpcError::bad_request(HEADER_MISMATCH, format!("header {name} is not ASCII")))
}

/// The ticket of a session that a request shows.
pub(crate) fn ticket(headers: &HeaderMap) -> Result<Option<&str>, RpcError> {
    only(headers, &SESSION)
}

/// What a header that repeats an argument says.
pub(crate) enum Parameter {
    /// Nothing here has headers.
    NoHeaders,
    /// It is not there.
    Absent,
    /// This.
    Said(String),
    /// Nothing that can be read, or more than one thing.
    Malformed,
}

/// A message that is ready to be worked on.
pub struct Incoming {
    /// The one reading of its bytes.
    pub document: Document,
    /// Where it came from.
    pub arrival: Arrival,
    /// The revision it is to be answered in.
    pub revision: Revision,
    /// Its session, in the legacy era.
    pub session: Option<Arc<Session>>,
    /// When it arrived.
    pub received: Timestamp,
    /// The same on the clock that durations are measured with.
    pub started: Duration,
    /// Whether notifications may precede the answer.
    pub streams: bool,
    /// Whether it opens a stream that has no end of its own: `subscriptions/listen`.
    pub listens: bool,
    /// What it is answered, unless it is a call of a server that takes integers beyond
    /// ±(2^53−1): it holds one.
    pub unless_exact: Option<Box<RpcError>>,
}

impl Incoming {
    /// Whether it wants an answer.
    pub(crate) fn is_request(&self) -> bool {
        matches!(Message::read(&self.document), Ok(Message::Request(_)))
    }

    /// Whether it is `initialize`, of the era that has it.
    pub(crate) fn opens_session(&self) -> bool {
        self.era() == Era::Legacy && self.session.is_none()
    }

    /// The era of its revision.
    pub fn era(&self) -> Era {
        self.revision.era()
    }
}

/// A message that cannot be worked on, and the answer it gets.
#[derive(Debug)]
pub struct Unreadable {
    /// The id as written, where it could be read.
    pub id: Option<String>,
    /// The answer.
    pub error: RpcError,
    /// The era of its client, if it is a tool call that a model should hear about.
    pub tool: Option<Era>,
}

impl Unreadable {
    /// A message whose id cannot be relied on.
    pub(crate) fn without_id(error: RpcError) -> Self {
        Self { id: None, error, tool: None }
    }

    /// Why it is turned away.
    pub(crate) fn reason(&self) -> Reason {
        if self.error.status == 404 { Reason::NoSession } else { Reason::Malformed }
    }

    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        match (&self.id, self.tool) {
            (Some(id), Some(era)) => tool_failed(id, era, &self.error),
            (id, _) => Reply::error(id.as_deref(), &self.error),
        }
    }
}

/// Reads the body of a request.
///
/// # Errors
/// [`Unreadable`] with the status and code of the specification.
pub fn receive(
    body: Bytes,
    arrival: Arrival,
    gateway: &Gateway,
    received: Timestamp,
    started: Duration,
) -> Result<Incoming, Unreadable> {
    let taken = || exact::is_taken_by_any(&gateway.snapshot());
    let limits = &gateway.settings.json;
    // What cannot be read for this is refused below.
    let body = own::taken_out(body.clone(), Sender::Client).unwrap_or(body);
    let refused = |error: &ParseError| bounds::refusal(body.clone(), &arrival, limits, error);
    let (document, beyond) =
        Document::parse_exact_if(body.clone(), limits, taken).map_err(|error| refused(&error))?;
    let read = read(&document, &arrival);
    let unless_exact = match (&beyond, &read) {
        (None, _) => None,
        (Some(error), Ok((revision, ..)))
            if exact::is_only_passed_on(&document, revision.era(), &arrival.surface) =>
        {
            Some(Box::new(bounds::beyond(error, limits)))
        }
        // Whatever else is wrong with it, it gets the answer that it gets everywhere.
        (Some(error), _) => return Err(refused(error)),
    };
    let (revision, session, streams, listens) = read?;
    let streams = streams && arrival.can_stream;
    Ok(Incoming { document, arrival, revision, session, received, started, streams, listens, unless_exact })
}

/// The revision of a message, its session, whether notifications may precede its answer, and
/// whether it opens a stream.
type Read = (Revision, Option<Arc<Session>>, bool, bool);

pub(crate) fn read(document: &Document, arrival: &Arrival) -> Result<Read, Unreadable> {
    let message = Message::read(document).map_err(|malformed| Unreadable {
        id: malformed.id.map(|id| id.raw().to_owned()),
        error: malformed.error,
        tool: None,
    })?;
    let id = match &message {
        Message::Request(request) => Some(request.id.raw()),
        _ => None,
    };
    let refused = |error| Unreadable { id: id.map(str::to_owned), error, tool: None };
    let (revision, session, streams) = classify(&message, arrival).map_err(refused)?;
    let modern = revision.era() == Era::Modern;
    let listens = matches!(&message, Message::Request(request) if modern && request.method == LISTEN);
    Ok((revision, session, streams, listens))
}

type Classified = (Revision, Option<Arc<Session>>, bool);

fn classify(message: &Message<'_>, arrival: &Arrival) -> Result<Classified, RpcError> {
    if let Message::Request(request) = message {
        let meta = Meta::read(request.params).or_else(|error| Err(ill_described(arrival, error)?))?;
        if let Some(version) = &meta.protocol_version {
            let revision = modern(request, &meta, version, arrival)?;
            return Ok((revision, None, meta.progress_token.is_some() || meta.log_level.is_some()));
        }
        let version = arrival.header(&VERSION)?;
        if request.method == "initialize" {
            let asked =
                request.params.and_then(|params| params.get("protocolVersion")).and_then(Value::as_str);
            return Ok((Revision::negotiate(asked.as_deref().unwrap_or_default()), None, false));
        }
        if version.and_then(Revision::parse).is_some_and(|revision| revision.era() == Era::Modern) {
            return Err(RpcError::bad_request(
                INVALID_PARAMS,
                "params._meta must hold io.modelcontextprotocol/protocolVersion and clientCapabilities",
            ));
        }
        let (revision, session) = legacy(arrival, version)?;
        // Any call may bring log messages along, and questions.
        return Ok((revision, Some(session), true));
    }
    if arrival.shows_session() {
        let version = arrival.header(&VERSION)?;
        let (revision, session) = legacy(arrival, version)?;
        return Ok((revision, Some(session), false));
    }
    match message {
        // Clients of the modern era send none, but some SDKs let one slip; refusing
        // it has been seen to poison their connection.
        Message::Notification(_) => Ok((Revision::V2026_07_28, None, false)),
        _ => Err(RpcError::bad_request(
            INVALID_REQUEST,
            "an answer needs the session of the request it answers",
        )),
    }
}

/// The answer to metadata that cannot be used. In a session it is an answer like any other; only
/// 2026-07-28 wants another status.
fn ill_described(arrival: &Arrival, error: RpcError) -> Result<RpcError, RpcError> {
    if !arrival.shows_session() {
        return Ok(error);
    }
    legacy(arrival, arrival.header(&VERSION)?)?;
    Ok(RpcError { status: 200, ..error })
}

/// Checks that a modern request describes itself completely and that its headers agree.
fn modern(
    request: &Request<'_>,
    meta: &Meta<'_>,
    version: &str,
    arrival: &Arrival,
) -> Result<Revision, RpcError> {
    let mismatch = |message: String| Err(RpcError::bad_request(HEADER_MISMATCH, message));
    let over_http = matches!(arrival.carrier, Carrier::Http(..));
    if over_http {
        match arrival.header(&VERSION)? {
            Some(header) if header == version => {}
            Some(header) => {
                return mismatch(format!("MCP-Protocol-Version is '{header}', _meta says '{version}'"));
            }
            None => return mismatch("header MCP-Protocol-Version is missing".to_owned()),
        }
    }
    let Some(revision) = Revision::parse(version).filter(|revision| revision.era() == Era::Modern) else {
        return Err(unsupported(version));
    };
    if meta.client_capabilities.is_none() {
        return Err(RpcError::bad_request(
            INVALID_PARAMS,
            "_meta: io.modelcontextprotocol/clientCapabilities is required",
        ));
    }
    if over_http {
        match arrival.header(&METHOD)? {
            Some(header) if header == request.method => {}
            Some(header) => {
                return mismatch(format!("Mcp-Method is '{header}', method is '{}'", request.method));
            }
            None => return mismatch("header Mcp-Method is missing".to_owned()),
        }
        if let Some(member) = named_by(&request.method) {
            let named = request.params.and_then(|params| params.get(member)).and_then(Value::as_str);
            let header =
                arrival.header(&NAME)?.map(|value| header::decode(value.as_bytes())).transpose().map_err(
                    |error| RpcError::bad_request(HEADER_MISMATCH, format!("header Mcp-Name: {error}")),
                )?;
            match (&header, &named) {
                (Some(header), Some(named)) if header == named => {}
                (None, None) => {}
                (None, Some(_)) => return mismatch("header Mcp-Name is missing".to_owned()),
                (Some(header), named) => {
                    let named = named.as_deref().unwrap_or_default();
                    return mismatch(format!("Mcp-Name is '{header}', params.{member} is '{named}'"));
                }
            }
        }
    }
    Ok(revision)
}

/// The member of `params` that `Mcp-Name` repeats.
fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

fn unsupported(version: &str) -> RpcError {
    let requested: String = version.chars().take(32).collect();
    let data = format!(
        r#"{{"supported":["{}"],"requested":{}}}"#,
        Revision::V2026_07_28,
        doorward_model::json::quoted(&requested)
    );
    RpcError::bad_request(UNSUPPORTED_VERSION, "Unsupported protocol version").with_data(data)
}

/// Finds the session of a legacy message and the revision it speaks.
fn legacy(arrival: &Arrival, version: Option<&str>) -> Result<(Revision, Arc<Session>), RpcError> {
    let session = match &arrival.carrier {
        Carrier::Http(_, session) => {
            if arrival.header(&SESSION)?.is_none() {
                return Err(RpcError::bad_request(
                    INVALID_REQUEST,
                    "no session: send `initialize` first and then its Mcp-Session-Id, \
                     or put the 2026-07-28 metadata into params._meta",
                ));
            }
            session.clone().ok_or_else(no_session)?
        }
        Carrier::Connection(connection) => connection
            .session()
            .clone()
            .ok_or_else(|| RpcError::bad_request(INVALID_REQUEST, "send `initialize` first"))?,
    };
    let agreed = session.opening.revision;
    if let Some(version) = version
        && Revision::parse(version).is_none_or(|revision| revision.era() == Era::Modern)
    {
        return Err(RpcError::bad_request(
            INVALID_REQUEST,
            format!(
                "MCP-Protocol-Version '{}' is not supported; this session speaks {agreed}",
                version.escape_debug()
            ),
        ));
    }
    Ok((agreed, session))
}

/// What whoever shows the id of no session is told.
pub(crate) fn no_session() -> RpcError {
    RpcError {
        code: INVALID_REQUEST,
        message: "session not found: send `initialize` again".to_owned(),
        data: None,
        status: 404,
    }
}
