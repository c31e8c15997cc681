//! Streams on which a server speaks unasked: the GET stream of a session, and
//! `subscriptions/listen` of the stateless era.
//!
//! A stream that breaks is opened again, later and later. What was said in
//! between is lost, so everything counts as changed then, unless the server keeps
//! event ids and repeats what was missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use doorward_egress::{Replay, Response};
use doorward_wire::error::METHOD_NOT_FOUND;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::{oneshot, watch};

use crate::askers::Askers;
use crate::backoff;
use crate::call::Call;
use crate::envelope;
use crate::error::UpstreamError;
use crate::http::answer::{reply_later, unauthorized};
use crate::http::modern;
use crate::http::remote::{Content, Remote, content};
use crate::inbound::{self, Inbound};
use crate::listening::{ACKNOWLEDGES_WITHIN, Carrier, Listening};
use crate::question::Question;
use crate::status::State;
use crate::task::AbortOnDrop;

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// The longest event of a subscription, in bytes. Nobody asked for it, so that there is no end
/// to how long one that is never finished holds what has come of it.
const LONGEST_NEWS: usize = 1 << 20;

/// The longest where a server asks questions as well, which may be about a picture.
const LONGEST_QUESTION: usize = 4 << 20;

/// How a stream ended.
struct End {
    /// Whether anything came at all.
    was_alive: bool,
    last_id: Option<String>,
    retry: Option<Duration>,
}

/// What came of asking for a stream.
enum Opened {
    Stream(Response),
    /// Not now.
    Failed(UpstreamError),
    /// There is no such stream.
    Refused(StatusCode),
}

/// Keeps the GET stream of a session open for as long as the server offers one. `told` hears
/// whether there is one, as soon as that is known and whenever it changes.
pub(crate) async fn unasked(
    remote: Arc<Remote>,
    session: HeaderMap,
    askers: Arc<Askers>,
    mut is_first: bool,
    told: watch::Sender<Option<bool>>,
) {
    let (mut failures, mut last_id, mut retry) = (0_u32, None::<String>, None);
    loop {
        let mut headers = session.clone();
        if let Some(value) = last_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT, value);
        }
        let opened = opened(&remote, remote.get(headers).await).await;
        told.send_replace(Some(matches!(opened, Opened::Stream(_))));
        let mut brought_something = false;
        match opened {
            Opened::Stream(response) => {
                if !is_first && last_id.is_none() {
                    remote.hub.interrupted();
                }
                let end = read(&remote, response, Some((&session, &askers)), None).await;
                last_id = end.last_id.or(last_id);
                retry = end.retry.map(backoff::wanted).or(retry);
                brought_something = end.was_alive;
            }
            Opened::Failed(_) => {}
            // A session that is gone is noticed by whoever calls next.
            Opened::Refused(_) => return,
        }
        is_first = false;
        failures = if brought_something { 1 } else { failures + 1 };
        let later = remote.hub.jittered(backoff::delay(failures));
        let pause = match retry {
            Some(retry) if brought_something => retry,
            Some(retry) => retry.max(later),
            None => later,
        };
        tokio::time::sleep(pause).await;
    }
}

/// Opens a subscription to the changes named by `filter`, and waits until the server
/// acknowledges it.
pub(crate) async fn subscribed(
    remote: &Arc<Remote>,
    filter: &str,
    wanted: &[Arc<str>],
) -> Result<Listening, UpstreamError> {
    let members = format!("\"notifications\":{filter}").into();
    let call = Call { method: "subscriptions/listen", members, ..Call::default() };
    let headers = modern::headers(remote, &call)?;
    let body = envelope::modern(remote.next_id(), &call, &remote.hub.settings.client_info);
    let response = match opened(remote, remote.post(headers, body, Replay::Harmless).await).await {
        Opened::Stream(response) => response,
        Opened::Failed(error) => return Err(error),
        Opened::Refused(status) => {
            return Err(UpstreamError::Refused {
                server: remote.hub.server.clone(),
                code: METHOD_NOT_FOUND,
                message: format!("the server refuses subscriptions/listen (HTTP {})", status.as_u16()),
            });
        }
    };
    let (acknowledged, honoured) = oneshot::channel();
    let (alive, ended) = oneshot::channel();
    let reader = Arc::clone(remote);
    let stream = AbortOnDrop::spawn(async move {
        read(&reader, response, None, Some(acknowledged)).await;
        drop(alive);
    });
    let honoured = match tokio::time::timeout(ACKNOWLEDGES_WITHIN, honoured).await {
        Ok(Ok(honoured)) => honoured,
        Ok(Err(_)) => {
            let detail = "its stream ended without an acknowledgement";
            return Err(UpstreamError::protocol(&remote.hub.server, detail));
        }
        Err(_) => Vec::new(),
    };
    Ok(Listening::new(wanted, honoured, ended, Carrier::Stream(stream)))
}

/// What an answer means for the stream that was asked for. The state follows the stream: it is
/// the first to notice that a server has gone or come back. A status alone says nothing of the
/// server, which may refuse nothing but this: that is asked after while there is no stream.
async fn opened(remote: &Remote, answer: Result<Response, UpstreamError>) -> Opened {
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            remote.hub.failed(&error);
            return Opened::Failed(error);
        }
    };
    let status = response.status;
    if status == StatusCode::OK && content(&response.headers) == Content::EventStream {
        if matches!(remote.hub.state(), State::Error | State::Degraded | State::AuthRequired) {
            remote.hub.succeeded();
        }
        return Opened::Stream(response);
    }
    let unauthorized = unauthorized(remote, status, &response.headers);
    response.body.release().await;
    if !may_pass(status) {
        return Opened::Refused(status);
    }
    let server = remote.hub.server.clone();
    Opened::Failed(unauthorized.unwrap_or(UpstreamError::Status { server, status: status.as_u16() }))
}

/// Whether a refusal is about the moment and not about the stream. 405 is the regular way of
/// saying that there is none.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 408 | 425 | 429 | 500 | 502..)
}

async fn read(
    remote: &Arc<Remote>,
    response: Response,
    session: Option<(&HeaderMap, &Arc<Askers>)>,
    mut acknowledged: Option<oneshot::Sender<Vec<String>>>,
) -> End {
    let mut end = End { was_alive: false, last_id: None, retry: None };
    let mut body = response.body;
    let longest = if session.is_some() { LONGEST_QUESTION } else { LONGEST_NEWS };
    let mut decoder = remote.hub.decoder_of(longest);
    let mut events = VecDeque::new();
    while let Ok(Some(chunk)) = body.chunk().await {
        end.was_alive = true;
        let fits = decoder.push(&chunk, &mut events);
        for event in events.drain(..) {
            end.last_id = event.id.clone().or(end.last_id);
            end.retry = event.retry.or(end.retry);
            let Ok(document) = inbound::read(&remote.hub, event.data) else { continue };
            match inbound::sort(&document) {
                Some(Inbound::Request { request, reply }) => {
                    let Some((session, askers)) = session else { continue };
                    match Question::read(&document, &request, &askers.questions) {
                        Some((question, reply)) => {
                            reply_later(remote, session, reply);
                            askers.ask(question);
                        }
                        None => remote.send_quietly(Method::POST, session.clone(), reply).await,
                    }
                }
                Some(Inbound::Cancelled(id)) => {
                    if let Some((_, askers)) = session {
                        askers.withdraw(id.raw());
                    }
                }
                Some(Inbound::Acknowledged { uris, .. }) => {
                    if let Some(acknowledged) = acknowledged.take() {
                        // Whoever stopped waiting ends the stream.
                        let _ = acknowledged.send(uris);
                    }
                }
                Some(news) => {
                    inbound::announce(&remote.hub, &news);
                }
                None => {}
            }
        }
        if fits.is_err() {
            break;
        }
    }
    end
}
