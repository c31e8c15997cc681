//! One call, from question to answer. This is the whole walk:
//!
//! | stage | yields | refuses |
//! |---|---|---|
//! | identify | a caller | unknown keys and tokens (401) |
//! | receive | `Incoming` | malformed, too large, wrong version, header ≠ body |
//! | resolve | [`Resolved`] | what is out of reach |
//! | authorize | [`Permitted`] | denied, hidden |
//! | admit | [`Admitted`] | over a rate limit or a quota |
//! | commit | [`Ready`] | the record cannot be written |
//! | send | [`Answered`] | |
//! | settle | the reply | never: it records whatever happened |
//!
//! Each type has private fields and one maker, so that a stage cannot be skipped.
//!
//! [`Resolved`]: crate::stage::resolve::Resolved
//! [`Permitted`]: crate::stage::authorize::Permitted
//! [`Admitted`]: crate::stage::admit::Admitted
//! [`Ready`]: crate::stage::commit::Ready
//! [`Answered`]: crate::stage::send::Answered

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_model::{CallId, Caller, ClientLabel, Operation};
use doorward_policy::Context;
use doorward_wire::log::Level;
use doorward_wire::message::Request;
use doorward_wire::meta::Meta;
use doorward_wire::{Abilities, Era};
use doorward_wire::{RpcError, error};
use tokio::sync::mpsc;

use crate::gateway::Gateway;
use crate::mailbox::Mailbox;
use crate::receive::Incoming;
use crate::reply::Reply;
use crate::snapshot::Snapshot;
use crate::span::{self, OpenSpan};
use crate::stage::commit::Ready;
use crate::stage::settle::Settled;
use crate::stage::{Refused, admit, authorize, commit, resolve, send, settle};
use crate::standpoint::Standpoint;
use crate::subscriptions::Held;
use crate::trace::Trace;

/// A request whose caller is known.
pub(crate) struct Asked<'a> {
    pub gateway: &'a Arc<Gateway>,
    pub snapshot: Arc<Snapshot>,
    pub caller: &'a Arc<Caller>,
    pub incoming: &'a Incoming,
    pub request: Request<'a>,
    pub meta: Meta<'a>,
    pub call: CallId,
    pub trace: Trace,
    /// Only while a call is under way, and only if its spans are collected.
    pub span: Option<OpenSpan<'a>>,
    pub client: ClientLabel,
    /// Whose sessions with servers this travels in.
    pub affinity: Cow<'a, str>,
    /// What the client can be asked while it waits.
    pub abilities: Cow<'a, Abilities>,
    /// The same as servers are told of it: a JSON object, empty for nothing.
    pub declared: Arc<str>,
    pub notify: Option<mpsc::Sender<Bytes>>,
    /// Told when the server hangs up before its answer, and after how long the rest is there.
    pub hung_up: Option<mpsc::Sender<Duration>>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        gateway: &'a Arc<Gateway>,
        caller: &'a Arc<Caller>,
        incoming: &'a Incoming,
        request: Request<'a>,
        notify: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Box<Self>, Reply> {
        let refuse = |error: RpcError| Reply::error(Some(request.id.raw()), &error);
        let meta = Meta::read(request.params).map_err(refuse)?;
        if let Some(level) = &meta.log_level
            && incoming.era() == Era::Modern
            && Level::parse(level).is_none()
        {
            return Err(refuse(RpcError::answer(error::INVALID_PARAMS, "_meta: unknown logLevel")));
        }
        let call = CallId::new(incoming.received, &*gateway.random);
        let header = incoming.arrival.trace_header();
        let trace = Trace::of(call, meta.traceparent.as_deref().or(header), meta.tracestate.as_deref());
        let client = match (&incoming.session, meta.client_info) {
            (Some(session), _) => session.opening.client.clone(),
            (None, Some(info)) => label(info),
            (None, None) => ClientLabel::default(),
        };
        let abilities = match (&incoming.session, meta.client_capabilities) {
            // Without a stream there is no way to ask.
            (Some(session), _) if notify.is_some() => Cow::Borrowed(&session.opening.abilities),
            (None, Some(declared)) => Cow::Owned(Abilities::read(declared).without_announcements()),
            _ => Cow::Owned(Abilities::default()),
        };
        let snapshot = gateway.snapshot();
        let span = None;
        // On the heap from the start: it is handed from one stage to the next.
        Ok(Box::new(Self {
            gateway,
            snapshot,
            caller,
            incoming,
            request,
            meta,
            call,
            trace,
            span,
            client,
            affinity: affinity(caller, incoming),
            declared: abilities.declared(),
            abilities,
            notify,
            hung_up: None,
        }))
    }

    /// Where and when, as policies see it.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            time: self.incoming.received,
            ip: self.incoming.arrival.ip,
            origin: self.incoming.arrival.origin,
            client: &self.client,
        }
    }

    pub(crate) fn era(&self) -> Era {
        self.incoming.era()
    }
}

/// Whose sessions with servers a request travels in: its own session's, or where the client has
/// none, its grant's. An issuer names its grants as it likes, so its name is part of theirs.
fn affinity<'a>(caller: &'a Caller, incoming: &'a Incoming) -> Cow<'a, str> {
    let grant = &caller.grant;
    match (&incoming.session, &grant.issuer) {
        (Some(session), _) => Cow::Borrowed(&session.id),
        (None, Some(issuer)) => Cow::Owned(format!("{issuer} {}", grant.id)),
        (None, None) => Cow::Borrowed(&grant.id),
    }
}

/// `clientInfo` as a label.
pub(crate) fn label(info: doorward_model::json::Value<'_>) -> ClientLabel {
    let text = |key: &str| {
        let value = info.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        value.chars().take(128).collect()
    };
    ClientLabel { name: text("name"), version: text("version") }
}

/// Decides, relays and records one call.
pub(crate) async fn call(asked: Box<Asked<'_>>, operation: Operation) -> Settled {
    match decide(asked, operation).await {
        Ok(ready) => settle::settle(send::send(ready).await).await,
        Err(refused) => settle::refuse(*refused).await,
    }
}

/// Decides on one subscription, subscribes and records it.
pub(crate) async fn subscribe(
    asked: Box<Asked<'_>>,
    patience: Duration,
    mailbox: &Arc<Mailbox>,
    standpoint: impl Fn() -> Arc<Standpoint>,
) -> Result<Held, Settled> {
    let ready = match decide(asked, Operation::ResourcesSubscribe).await {
        Ok(ready) => ready,
        Err(refused) => return Err(settle::refuse(*refused).await),
    };
    let (answered, held) = send::subscribe(ready, patience, mailbox, standpoint).await;
    // What cannot be recorded does not stand.
    match (settle::settle(answered).await, held) {
        (Settled::Result(_), Some(held)) => Ok(held),
        (settled, _) => Err(settled),
    }
}

/// The stages up to the record of the decision.
async fn decide(mut asked: Box<Asked<'_>>, operation: Operation) -> Result<Ready<'_>, Box<Refused<'_>>> {
    span::open(&mut asked, operation);
    let permitted = match resolve::resolve(asked, operation).await {
        Ok(resolved) => authorize::authorize(resolved).await,
        Err(refused) => Err(refused),
    };
    let admitted = match permitted {
        Ok(permitted) => admit::admit(permitted).await,
        Err(refused) => Err(refused),
    };
    match admitted {
        Ok(admitted) => commit::commit(admitted).await,
        Err(refused) => Err(refused),
    }
}
