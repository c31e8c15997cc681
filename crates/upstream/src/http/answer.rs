//! Reading the answer to one POST: a JSON body, or a stream of events that ends
//! with the answer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorward_egress::{Body, Response};
use doorward_model::json::Document;
use doorward_wire::Era;
use doorward_wire::log::Logs;
use doorward_wire::sse::Event;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::sync::mpsc;

use crate::askers::Askers;
use crate::error::{Cause, UpstreamError};
use crate::http::remote::{Content, MAX_ERROR_BODY, Remote, content};
use crate::inbound::{self, Inbound};
use crate::meant;
use crate::question::{Question, Reply};

/// One request under way, and what is needed to read its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) remote: &'a Arc<Remote>,
    pub(crate) era: Era,
    /// The request's id.
    pub(crate) id: u64,
    pub(crate) notify: Option<&'a mpsc::Sender<Bytes>>,
    pub(crate) progress_token: Option<&'a str>,
    pub(crate) logs: Logs,
    /// Where the server's questions go.
    pub(crate) questions: Option<&'a mpsc::Sender<Question>>,
    /// The headers of the session, for answering the server's requests, and who is asked
    /// in it.
    pub(crate) session: Option<(&'a HeaderMap, &'a Askers)>,
}

/// What came of a request.
pub(crate) enum Outcome {
    /// The answer, and the HTTP status it came with.
    Answered(Document, u16),
    /// A status of 400 and above. `message` is the JSON-RPC error it carried, if it
    /// can belong to this request.
    Refused { status: u16, message: Option<Document> },
    /// The stream ended without an answer. With the id of its last event, the
    /// rest can be asked for after `retry`.
    Ended { last_id: Option<String>, retry: Option<Duration> },
}

impl Exchange<'_> {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`UpstreamError`]; a body that is not the answer to this request is one.
    pub(crate) async fn read(&self, response: Response) -> Result<Outcome, UpstreamError> {
        let Response { status, headers, body } = response;
        let kind = content(&headers);
        if status.is_success() {
            return match kind {
                Content::Json => {
                    self.json(body).await.map(|document| Outcome::Answered(document, status.as_u16()))
                }
                // On the heap: several times the size of all that a plain answer needs.
                Content::EventStream => Box::pin(self.stream(body, status)).await,
                Content::Other => {
                    body.release().await;
                    Err(self.broken("it accepted a request without answering it"))
                }
            };
        }
        if let Some(refused) = unauthorized(self.remote, status, &headers) {
            body.release().await;
            return Err(refused);
        }
        if kind != Content::Json || status.is_redirection() {
            body.release().await;
            return Ok(Outcome::Refused { status: status.as_u16(), message: None });
        }
        let message = body
            .collect(MAX_ERROR_BODY)
            .await
            .ok()
            .and_then(|bytes| inbound::read(&self.remote.hub, bytes).ok());
        let message = message.filter(|document| self.is_error_for_us(document));
        Ok(Outcome::Refused { status: status.as_u16(), message })
    }

    async fn json(&self, body: Body) -> Result<Document, UpstreamError> {
        let bytes = body
            .collect(self.remote.hub.settings.max_answer)
            .await
            .map_err(|cause| UpstreamError::egress(&self.remote.hub.server, cause))?;
        let document = self.parse(bytes)?;
        match inbound::sort(&document) {
            Some(Inbound::Response { id: Some(id), .. }) if id == self.id => Ok(document),
            Some(Inbound::Response { .. }) => Err(self.broken("it answered another request")),
            _ => Err(self.broken("its answer is no JSON-RPC response")),
        }
    }

    /// Reads events until the answer.
    pub(crate) async fn stream(&self, mut body: Body, status: StatusCode) -> Result<Outcome, UpstreamError> {
        let mut decoder = self.remote.hub.decoder();
        let mut events = VecDeque::new();
        let (mut last_id, mut retry) = (None, None);
        loop {
            let chunk = match body.chunk().await {
                Ok(Some(chunk)) => chunk,
                // Cut or ended: what matters is whether the rest can be had.
                Ok(None) => return Ok(Outcome::Ended { last_id, retry }),
                Err(_) if last_id.is_some() => return Ok(Outcome::Ended { last_id, retry }),
                Err(cause) => return Err(UpstreamError::egress(&self.remote.hub.server, cause)),
            };
            let fits = decoder.push(&chunk, &mut events);
            for event in events.drain(..) {
                last_id = event.id.clone().or(last_id);
                retry = event.retry.or(retry);
                if let Some(document) = self.event(event).await? {
                    body.release().await;
                    return Ok(Outcome::Answered(document, status.as_u16()));
                }
            }
            fits.map_err(|cause| UpstreamError::oversized(&self.remote.hub.server, cause))?;
        }
    }

    /// Treats one event; `Some` is the answer.
    async fn event(&self, event: Event) -> Result<Option<Document>, UpstreamError> {
        if event.data.is_empty() || !event.is_message() {
            return Ok(None);
        }
        let document = match self.parse(event.data.clone()) {
            Ok(document) => document,
            Err(error) => return self.unreadable(&event.data, error),
        };
        match inbound::sort(&document) {
            Some(Inbound::Response { id: Some(id), .. }) if id == self.id => return Ok(Some(document)),
            Some(Inbound::Response { .. }) => return Err(self.broken("it answered another request")),
            Some(Inbound::Request { request, reply }) => {
                let Some((session, askers)) = self.session.filter(|_| self.era == Era::Legacy) else {
                    return Err(self.broken(
                        "it sent a request on its response stream, which revision 2026-07-28 does not have",
                    ));
                };
                match self.questions.zip(Question::read(&document, &request, &askers.questions)) {
                    Some((questions, (question, reply))) => {
                        reply_later(self.remote, session, reply);
                        // As in `Askers`: more than the call can take up is dropped.
                        drop(questions.try_send(question));
                    }
                    None => self.remote.send_quietly(Method::POST, session.clone(), reply).await,
                }
            }
            Some(Inbound::Progress { token, id: Some(id) }) if id == self.id => {
                if let (Some(notify), Some(own)) = (self.notify, self.progress_token) {
                    // Waiting for a slow listener here slows down only its own call.
                    let _ = notify.send(inbound::with_token(&document, token, own)).await;
                }
            }
            Some(Inbound::Cancelled(id)) => {
                if let Some((_, askers)) = self.session {
                    askers.withdraw(id.raw());
                }
            }
            Some(Inbound::Log(level)) if !self.logs.want(&level) => {}
            Some(Inbound::Notification | Inbound::Log(_)) => {
                if let Some(notify) = self.notify {
                    let _ = notify.send(document.bytes().clone()).await;
                }
            }
            Some(news) => {
                inbound::announce(&self.remote.hub, &news);
            }
            None => {
                let error = self.broken("its stream holds JSON that is no message");
                return self.unreadable(&event.data, error);
            }
        }
        Ok(None)
    }

    /// What cannot be read ends the call: it may have been the answer, which then never comes.
    /// Unless it is a notification, which can be done without.
    fn unreadable(&self, bytes: &[u8], error: UpstreamError) -> Result<Option<Document>, UpstreamError> {
        if !meant::is_notification(bytes) {
            return Err(error);
        }
        tracing::debug!(server = %self.remote.hub.server, %error, "a notification was dropped unread");
        Ok(None)
    }

    fn parse(&self, bytes: Bytes) -> Result<Document, UpstreamError> {
        inbound::read(&self.remote.hub, bytes).map_err(|error| {
            let detail = "its answer is not the JSON that every reader reads alike";
            UpstreamError::protocol_because(&self.remote.hub.server, detail, Cause::new(error))
        })
    }

    fn is_error_for_us(&self, document: &Document) -> bool {
        match inbound::sort(document) {
            Some(Inbound::Response { id, is_error }) => is_error && id.is_none_or(|id| id == self.id),
            _ => false,
        }
    }

    fn broken(&self, detail: &'static str) -> UpstreamError {
        UpstreamError::protocol(&self.remote.hub.server, detail)
    }
}

/// Posts the answer to a server's question, whenever there is one.
pub(crate) fn reply_later(remote: &Arc<Remote>, session: &HeaderMap, mut reply: Reply) {
    let (remote, session) = (Arc::clone(remote), session.clone());
    tokio::spawn(async move {
        if let Some(message) = reply.message().await {
            remote.send_quietly(Method::POST, session, message).await;
        }
        // Not before: until then it is one of those that are open.
        drop(reply);
    });
}

/// The error for a status that asks for a credential, or for another one.
pub(crate) fn unauthorized(
    remote: &Remote,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<UpstreamError> {
    if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return None;
    }
    let challenge = headers.get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    Some(UpstreamError::AuthRequired {
        server: remote.hub.server.clone(),
        status: status.as_u16(),
        challenge: challenge.map(str::to_owned),
    })
}
