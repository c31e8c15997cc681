//! A modern POST: checked, answered, forgotten.

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::headers;
use super::reply::{Reply, empty, events, json, refusal};
use crate::modern::{self, Meta};
use crate::out::{Item, Out};
use crate::rpc::{Fault, Incoming};
use crate::server::Everything;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub async fn post(server: &Arc<Everything>, headers: &HeaderMap, message: Incoming) -> Reply {
    let (id, method, params) = match message {
        Incoming::Request { id, method, params } => (id, method, params),
        Incoming::Notification { .. } => return empty(202),
        Incoming::Answer { .. } => {
            return refusal(&Value::Null, Fault::invalid_request("Nothing was asked"));
        }
    };
    let meta = match check(server, headers, &method, &params) {
        Ok(meta) => meta,
        Err(fault) => return refusal(&id, fault),
    };
    let (out, items) = Out::channel();
    let server = Arc::clone(server);
    tokio::spawn(async move {
        let gone = out.clone();
        // To hang up is to cancel.
        tokio::select! {
            () = modern::respond(server, id, &method, params, meta, out) => {}
            () = gone.closed() => {}
        }
    });
    reply(items).await
}

fn check(server: &Everything, headers: &HeaderMap, method: &str, params: &Value) -> Result<Meta, Fault> {
    let meta = Meta::read(params)?;
    headers::check_version(headers, &meta.version)?;
    meta.check_version(server)?;
    headers::check_method(headers, method)?;
    if !modern::knows(method) {
        return Err(Fault::unknown_method(method));
    }
    headers::check_params(server, headers, method, params)?;
    Ok(meta)
}

/// One JSON if the answer comes first, a stream if anything comes before it.
async fn reply(mut items: UnboundedReceiver<Item>) -> Reply {
    let mut next = match items.recv().await {
        Some(Item::Answer { message, status }) => return json(status, &message),
        first => first,
    };
    let (feed, reply) = events();
    tokio::spawn(async move {
        while let Some(item) = next {
            match item {
                Item::Open => feed.comment(),
                Item::Say(message) | Item::Answer { message, .. } => feed.message(None, &message.to_string()),
                Item::HangUp => {}
            }
            next = loop {
                tokio::select! {
                    item = items.recv() => break item,
                    () = feed.closed() => return,
                    () = tokio::time::sleep(KEEP_ALIVE) => feed.comment(),
                }
            };
        }
    });
    reply
}
