//! A server of the legacy era that wants its user to open a page first: it fails the call
//! with `-32042`, which the modern era says as a question.

use doorward_model::json::{Value, push_string};
use doorward_upstream::Answer;
use doorward_wire::abilities::{self, ELICIT};
use doorward_wire::error::{MISSING_CAPABILITY, URL_REQUIRED};
use doorward_wire::{RpcError, adapt};

use super::state::{self, Resume};
use super::{Sent, reread};
use crate::stage::resolve::Resolved;

/// What the client is to do, if the answer is that error. Made again, the call is sent anew:
/// the server has not begun it.
pub(super) fn asked(resolved: &Resolved<'_>, answer: &Answer) -> Option<Sent> {
    let error = answer.message.root().get("error")?;
    if error.get("code").and_then(Value::as_i64) != Some(i64::from(URL_REQUIRED)) {
        return None;
    }
    let data = reread(error.get("data")?.raw())?;
    let mut requests = String::new();
    for (at, page) in data.root().get("elicitations")?.items().enumerate() {
        if !resolved.asked().abilities.allow(ELICIT, Some(page)) {
            let data = format!(r#"{{"requiredCapabilities":{}}}"#, abilities::required(ELICIT, Some(page)));
            let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
            return Some(Sent::Unanswered(
                RpcError::bad_request(MISSING_CAPABILITY, message).with_data(data),
            ));
        }
        requests.push(if at == 0 { '{' } else { ',' });
        let id = page.get("elicitationId").and_then(Value::as_str);
        push_string(&mut requests, &id.map_or_else(|| format!("url_{at}"), |id| id.into_owned()));
        requests.push_str(r#":{"method":"elicitation/create","params":"#);
        requests.push_str(&adapt::splice(page, &["elicitationId"], ""));
        requests.push('}');
    }
    if requests.is_empty() {
        return None;
    }
    let mut result =
        format!(r#"{{"resultType":"input_required","inputRequests":{requests}}},"requestState":"#);
    // A server of that era gets no answers with the call; that the page was opened is its own to see.
    let resume = Resume::Server { state: None, asked: Vec::new() };
    push_string(&mut result, &state::seal(resolved, &resume)?);
    result.push('}');
    Some(Sent::Asks(result, None))
}
