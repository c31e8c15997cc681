//! Balancers cut connections on which nothing is said. So whoever takes a stream of events gets one
//! while its answer takes long, with comments on it, and connections without requests stay open.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::http::{insert, open};
use crate::world::{ALICE, Client, STAFF_MAY_ALL, World, call, eventually};

/// What somebody gets to hear who waits for a slow answer.
struct Heard {
    /// The media type.
    kind: String,
    /// The whole of it.
    text: String,
}

async fn hear(
    client: &Client,
    headers: HeaderMap,
    message: Value,
    first: mpsc::UnboundedSender<()>,
) -> Heard {
    let response = open(client, Method::POST, &headers, Bytes::from(message.to_string())).await;
    let kind = response.headers()["content-type"].to_str().expect("ASCII").to_owned();
    let (mut body, mut text, mut first) = (response.into_body(), String::new(), Some(first));
    while let Some(Ok(frame)) = body.frame().await {
        if let Some(first) = first.take() {
            first.send(()).expect("somebody waits");
        }
        text += &String::from_utf8_lossy(frame.data_ref().expect("data"));
    }
    Heard { kind, text }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_a_stream_hears_something_while_an_answer_takes_long() {
    let world = World::start(&["s"], STAFF_MAY_ALL).await;
    world.recorders[0].offer("wait");
    let (mut waiting, mut plain) = (Vec::new(), Vec::new());
    let (spoken, mut first_words) = mpsc::unbounded_channel();
    let (unheard, _answers) = mpsc::unbounded_channel();
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"] {
        let is_modern = revision == "2026-07-28";
        let client = match is_modern {
            true => world.modern("/mcp", ALICE),
            false => Client::legacy(world.address(), "/mcp", ALICE, revision).await,
        };
        let mut params = call("s__wait", json!({}));
        let mut headers = client.headers();
        if is_modern {
            params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": revision, "io.modelcontextprotocol/clientCapabilities": {}});
            insert(&mut headers, "mcp-method", "tools/call");
            insert(&mut headers, "mcp-name", "s__wait");
        }
        let message =
            |id: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let mut json_only = headers.clone();
        insert(&mut json_only, "accept", "application/json");
        let asking = (client.clone(), message("stream"), message("plain"), json!([message("batch")]));
        let (client, one, other, batch) = asking;
        let is_batched = revision == "2025-03-26";
        waiting.push((
            revision,
            tokio::spawn({
                let (client, headers, spoken) = (client.clone(), headers.clone(), spoken.clone());
                async move { hear(&client, headers, one, spoken).await }
            }),
        ));
        if is_batched {
            let (client, spoken) = (client.clone(), spoken.clone());
            waiting
                .push(("a batch", tokio::spawn(async move { hear(&client, headers, batch, spoken).await })));
        }
        let unheard = unheard.clone();
        plain.push((revision, tokio::spawn(async move { hear(&client, json_only, other, unheard).await })));
    }
    let calls = waiting.len() + plain.len();
    eventually("all are at the server", async || world.received().len() == calls).await;
    // None is answered before all who take a stream have heard something.
    for heard in 0..waiting.len() {
        let word = tokio::time::timeout(Duration::from_secs(15), first_words.recv()).await;
        word.unwrap_or_else(|_| panic!("only {heard} heard anything")).expect("somebody speaks");
    }
    for _ in 0..calls {
        world.recorders[0].release();
    }
    for (revision, heard) in waiting {
        let heard = heard.await.expect("heard");
        assert_eq!(heard.kind, "text/event-stream", "{revision}");
        // One that opens with its place has said so after half a second.
        let opened = if revision == "2025-11-25" { "id: " } else { ":\n\n" };
        assert!(heard.text.starts_with(opened), "{revision}: {}", heard.text);
        let answer = heard.text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        let answer: Value = serde_json::from_str(answer.expect("an answer")).expect("JSON");
        let answer = answer.get(0).unwrap_or(&answer);
        assert!(answer["result"]["content"].is_array(), "{revision}: {answer}");
    }
    for (revision, heard) in plain {
        let heard = heard.await.expect("heard");
        assert_eq!(heard.kind, "application/json", "{revision}: it takes no stream");
        assert!(heard.text.contains(r#""id":"plain""#), "{revision}: {}", heard.text);
    }
    world.stop().await;
}
