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
use tokio::sync::oneshot;

use crate::askers::Askers;
use crate::backoff;
use crate::call::Call;
use crate::envelope;
use crate::error::UpstreamError;
use crate::http::answer::reply_later;
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

/// Keeps the GET stream of a session open for as long as the server offers one. `decided` is
/// told as soon as it is known whether the server does.
pub(crate) async fn unasked(
    remote: Arc<Remote>,
    session: HeaderMap,
    askers: Arc<Askers>,
    decided: oneshot::Sender<()>,
) {
    let mut decided = Some(decided);
    let (mut failures, mut last_id, mut retry) = (0_u32, None::<String>, None);
    let mut is_first = true;
    loop {
        let mut headers = session.clone();
        if let Some(value) = last_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT, value);
        }
        let opened = remote.get(headers).await;
        if let Some(decided) = decided.take() {
            // Whoever waited may have gone on without.
            let _ = decided.send(());
        }
        if let Ok(response) = &opened
            && !is_stream(response)
        {
            // 405 is the regular way of saying that there is no such stream; and a
            // session that is gone is noticed by whoever calls next.
            return;
        }
        opened_again(&remote, is_first, last_id.is_some(), &opened);
        is_first = false;
        let mut brought_something = false;
        if let Ok(response) = opened {
            let end = read(&remote, response, Some((&session, &askers)), None).await;
            last_id = end.last_id.or(last_id);
            retry = end.retry.map(backoff::wanted).or(retry);
            brought_something = end.was_alive;
        }
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
    let response = remote.post(headers, body, Replay::Harmless).await;
    if let Err(error) = &response {
        remote.hub.failed(error);
    }
    let response = response?;
    if !is_stream(&response) {
        let status = response.status;
        response.body.release().await;
        return Err(UpstreamError::Refused {
            server: remote.hub.server.clone(),
            code: METHOD_NOT_FOUND,
            message: format!("the server refuses subscriptions/listen (HTTP {})", status.as_u16()),
        });
    }
    if matches!(remote.hub.state(), State::Error | State::Degraded) {
        remote.hub.succeeded();
    }
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

fn is_stream(response: &Response) -> bool {
    response.status == StatusCode::OK && content(&response.headers) == Content::EventStream
}

/// The state follows the stream: it is the first to notice that a server has gone
/// or come back.
fn opened_again(remote: &Remote, is_first: bool, resumed: bool, opened: &Result<Response, UpstreamError>) {
    match opened {
        Err(error) => remote.hub.failed(error),
        Ok(_) if is_first => {}
        Ok(_) => {
            if matches!(remote.hub.state(), State::Error | State::Degraded) {
                remote.hub.succeeded();
            }
            if !resumed {
                remote.hub.interrupted();
            }
        }
    }
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
