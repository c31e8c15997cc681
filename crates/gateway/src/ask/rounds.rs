//! Clients of the legacy era: they are asked while their call goes on, whichever way
//! its server asks.

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use doorward_model::json::{Value, push_string};
use doorward_upstream::{Answer, Call, Round, UpstreamError};
use doorward_wire::RpcError;
use doorward_wire::abilities::ELICIT;
use doorward_wire::error::INTERNAL;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::client::{self, NoAnswer};
use super::{Entry, Sent, bounded, broken, endless, entries, result_that_asks};
use crate::stage::resolve::Resolved;
use crate::stage::send::Outgoing;

/// How many questions of one call may wait to be put.
const QUESTIONS: usize = 16;
/// The pause before a call is made again that its server put off without asking anything.
const PAUSE: Duration = Duration::from_millis(200);

/// What the next round of a call takes along.
struct Next {
    responses: String,
    state: Option<String>,
}

/// Sends a call, and again for as long as its server, of the modern era, asks first.
pub(super) async fn relay(resolved: &Resolved<'_>, outgoing: &Outgoing) -> Result<Sent, UpstreamError> {
    let most = resolved.asked().gateway.settings.asks.rounds;
    let mut next: Option<Next> = None;
    for count in 0..=most {
        let round =
            next.as_ref().map(|next| Round { responses: &next.responses, state: next.state.as_deref() });
        let answer = answered(resolved, Call { round, ..outgoing.call(resolved) }).await?;
        let Some(result) = result_that_asks(&answer) else { return Ok(Sent::Answer(answer)) };
        let state = result.get("requestState").and_then(Value::as_str).map(Cow::into_owned);
        let entries = entries(result);
        bounded(entries.len(), &resolved.server().id)?;
        let responses = match responses(resolved, &entries).await {
            Ok(responses) => responses,
            Err(error) => return Ok(Sent::Unanswered(error)),
        };
        if responses.is_empty() {
            // At least one of the two must be there; whoever sends neither asks for nothing.
            if state.is_none() {
                return Err(broken(resolved, "it asks for input without saying which"));
            }
            sleep(PAUSE.saturating_mul(1 << count.min(6))).await;
        }
        next = Some(Next { responses, state });
    }
    Err(endless(&resolved.server().id))
}

/// One request to the server; what it asks meanwhile is put to the client.
async fn answered(resolved: &Resolved<'_>, call: Call<'_>) -> Result<Answer, UpstreamError> {
    let gateway = resolved.asked().gateway;
    let (upstreams, server) = (&gateway.upstreams, &resolved.server().id);
    if !resolved.asked().abilities.can_be_asked() {
        return upstreams.call(server, call).await;
    }
    let limit = upstreams.timeout(server).unwrap_or_default();
    let method = call.method;
    let (sender, mut questions) = mpsc::channel(QUESTIONS);
    let longest = gateway.settings.asks.longest;
    let call = Call { questions: Some(sender), deadline: Some(longest), ..call };
    let mut working = pin!(upstreams.call(server, call));
    let mut open = FuturesUnordered::new();
    let mut asked = 0;
    // The server's time stands still while a person thinks.
    let mut rest = pin!(sleep(limit));
    loop {
        tokio::select! {
            answer = &mut working => return answer,
            Some(question) = questions.recv() => {
                asked += 1;
                bounded(asked, server)?;
                open.push(client::relay(resolved, question));
            }
            Some(()) = open.next(), if !open.is_empty() => rest.set(sleep(limit)),
            () = &mut rest, if open.is_empty() => {
                upstreams.was_silent(server);
                return Err(UpstreamError::Timeout { method: method.to_owned().into(), limit });
            }
        }
    }
}

/// Puts everything that a result asks for to the client: `inputResponses`, or the error
/// that there is no way around.
async fn responses(resolved: &Resolved<'_>, entries: &[(String, Entry)]) -> Result<String, RpcError> {
    let answers = join_all(entries.iter().map(async |(_, entry)| {
        let method = entry.method();
        let answer = client::put(resolved, &method, entry.params().map_or("", Value::raw)).await;
        match answer {
            Ok(result) => Ok(result),
            // An elicitation can be turned down in words that a server understands.
            Err(_) if method == ELICIT => Ok(r#"{"action":"cancel"}"#.to_owned()),
            Err(NoAnswer::Refused(error)) => Err(error),
            Err(NoAnswer::NotOffered | NoAnswer::Silent) => {
                Err(RpcError::answer(INTERNAL, format!("the server needs {method}, which nobody answered")))
            }
        }
    }))
    .await;
    let mut out = String::new();
    for ((key, _), answer) in entries.iter().zip(answers) {
        out.push(if out.is_empty() { '{' } else { ',' });
        push_string(&mut out, key);
        out.push(':');
        out.push_str(&answer?);
    }
    if !out.is_empty() {
        out.push('}');
    }
    Ok(out)
}
