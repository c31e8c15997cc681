//! Servers that are dead, slow or liars: the others are listed and called as if they were
//! not there, and the answer says what it lacks.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{ALICE, Client, Recorder, STAFF_MAY_ALL, Speaks, World, eventually};

/// A port that somebody listens on, and what to put into a configuration.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    (listener, url)
}

/// Takes connections and never says a word.
fn hang(listener: TcpListener) {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
}

/// Answers everything with something that is no MCP.
fn lie(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let lies = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"tools\":[1,[]}";
                    if stream.write_all(lies.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

async fn listed(client: &Client) -> (Vec<String>, Value) {
    let result = client.request("tools/list", json!({})).await.json()["result"].clone();
    let names = result["tools"].as_array().expect("a list").iter();
    let names = names.map(|tool| tool["name"].as_str().unwrap_or_default().to_owned()).collect();
    (names, result["_meta"]["dev.doorward/missing"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_and_the_list_names_what_it_lacks() {
    let good = Recorder::start("good", Speaks::Modern).await;
    let (dead, dead_url) = listener().await;
    let dead_address = dead.local_addr().expect("an address");
    drop(dead);
    let (slow, slow_url) = listener().await;
    hang(slow);
    let (liar, liar_url) = listener().await;
    lie(liar);
    let servers = format!(
        "servers:\n  - {{id: dead, url: \"{dead_url}\", enabled: true}}\n  - {{id: slow, url: \"{slow_url}\", timeout: 300, startTimeout: 500, enabled: true}}\n  - {{id: liar, url: \"{liar_url}\", enabled: true}}\n  - {{id: good, url: \"{}\", enabled: true}}\n",
        good.url()
    );
    let world = World::start(&[], &format!("{servers}{STAFF_MAY_ALL}")).await;
    let modern = world.modern("/mcp", ALICE);
    let legacy = world.legacy("/mcp", ALICE).await;
    for client in [&modern, &legacy] {
        let (names, missing) = listed(client).await;
        assert!(!names.is_empty() && names.iter().all(|name| name.starts_with("good__")), "{names:?}");
        assert_eq!(missing, json!(["dead", "slow", "liar"]));
        assert_eq!(client.call("good__echo", json!({"message": "hi"})).await.summary(), "200 ok");
        for server in ["dead", "slow", "liar"] {
            let failed = client.call(&format!("{server}__echo"), json!({})).await;
            assert_eq!(failed.json()["result"]["isError"], true, "{}", failed.text());
        }
    }
    assert_eq!(good.calls().len(), 2);

    // It comes, and its tools with it.
    let late =
        Recorder::start_on(TcpListener::bind(dead_address).await.expect("free"), "dead", Speaks::Legacy);
    eventually("the tools of the server that was dead are there", async || {
        let (names, missing) = listed(&modern).await;
        names.iter().any(|name| name == "dead__echo") && missing == json!(["slow", "liar"])
    })
    .await;
    let answer = legacy.call("dead__echo", json!({"message": "at last"})).await;
    assert_eq!(answer.summary(), "200 ok");
    assert_eq!(late.calls(), ["echo"]);
    world.stop().await;
}
