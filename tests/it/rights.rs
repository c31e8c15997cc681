//! Rights that end: whoever is still connected when a key is revoked, expires or is good for
//! less has no more rights than whoever comes anew.

use std::sync::Arc;
use std::time::Duration;

use doorward::runtime::Surroundings;
use doorward_gateway::Surface;
use doorward_gateway::door::serve_stdio;
use doorward_model::Secret;
use doorward_model::clock::Fixed;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};
use tokio::task::JoinHandle;

use crate::oidc::Issuer;
use crate::world::http::MODERN;
use crate::world::{ALICE, BOB, Pipe, STAFF_MAY_ALL, Speaks, World, eventually, system};

const ONE: &str = "wiki://one";
const ALICES: &str = "consumerId: alice, roles: [staff]";
const GONE: &str = "the key or token of this connection is no longer accepted";

/// A client of the stdio door, in this very process.
struct Wire {
    input: WriteHalf<DuplexStream>,
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    served: JoinHandle<std::io::Result<()>>,
}

impl Wire {
    fn open(world: &World, key: &str) -> Self {
        let (here, there) = tokio::io::duplex(64 << 10);
        let (input, output) = tokio::io::split(there);
        let key = Some(Secret::new(key));
        let served = serve_stdio(Arc::clone(world.gateway()), key, Surface::Aggregate, input, output);
        let (read, write) = tokio::io::split(here);
        Self { input: write, lines: BufReader::new(read).lines(), served: tokio::spawn(served) }
    }

    async fn say(&mut self, message: &Value) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.expect("written");
    }

    async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line());
        let line = line.await.expect("in time").expect("readable").expect("a message");
        serde_json::from_str(&line).expect("JSON")
    }

    async fn call(&mut self, id: &str, tool: &str) -> Value {
        self.say(&call(id, tool)).await;
        self.next().await
    }

    /// It ended by itself, and this is why.
    async fn ended(mut self) -> std::io::ErrorKind {
        assert_eq!(self.lines.next_line().await.expect("readable"), None, "nothing more is said");
        self.served.await.expect("no panic").expect_err("turned away").kind()
    }
}

/// A request of 2026-07-28.
fn modern(id: &str, method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn call(id: &str, tool: &str) -> Value {
    modern(id, "tools/call", json!({"name": tool, "arguments": {}}))
}

/// Replaces a part of the configuration, which takes force.
fn edit(world: &World, from: &str, to: &str) {
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    assert!(config.contains(from), "{config}");
    std::fs::write(world.config_path(), config.replacen(from, to, 1)).expect("written");
    assert!(world.running.reload().expect("a valid file"));
}

/// Alice's key is no longer accepted.
fn revoke(world: &World) {
    edit(world, "scopes: [audit.read], enabled: true", "scopes: [audit.read], enabled: false");
}

async fn start(clock: &Arc<Fixed>) -> World {
    let surroundings = Surroundings { clock: Arc::clone(clock) as _, ..system() };
    World::start_surrounded(&["wiki"], Speaks::Legacy, STAFF_MAY_ALL, surroundings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_the_rights_of_today_and_ends_with_its_key() {
    type Change = fn(&World, &Fixed);
    let changes: [(&str, Change); 4] = [
        ("revoked", |world, _| revoke(world)),
        ("another text", |world, _| edit(world, ALICE, "gw_another")),
        ("another person", |world, _| edit(world, "person: alice", "person: carol")),
        ("expired", |world, clock| {
            edit(world, ALICES, "consumerId: alice, expiresAt: \"2026-11-21T11:00:00Z\", roles: [staff]");
            clock.advance(Duration::from_secs(3_600));
        }),
    ];
    for (what, change) in changes {
        let clock = Arc::new(Fixed::new(1));
        let world = start(&clock).await;
        let mut wire = Wire::open(&world, ALICE);
        let mut bob = Wire::open(&world, BOB);
        assert_eq!(wire.call("a", "wiki__echo").await["result"]["content"][0]["text"], "{}", "{what}");
        change(&world, &clock);
        let refused = wire.call("b", "wiki__echo").await;
        assert_eq!(refused["id"], "b", "{what}: {refused}");
        assert_eq!(refused["error"]["message"], GONE, "{what}: {refused}");
        assert_eq!(wire.ended().await, std::io::ErrorKind::PermissionDenied, "{what}");
        assert_eq!(world.received(), ["wiki echo"], "{what}: the server received nothing more");
        assert!(bob.call("c", "wiki__echo").await["result"].is_object(), "{what}: others go on");
        world.stop().await;
    }
}

/// Which rule is missing, for whom.
const WHY: &str = "[POLICY DENIED] no rule allows `echo` on `wiki` for the role `guest`";

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_was_taken_away_is_gone_from_connections_of_both_eras() {
    let world = start(&Arc::new(Fixed::new(1))).await;
    let (mut modern, mut legacy) = (Wire::open(&world, ALICE), Wire::open(&world, ALICE));
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    legacy.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
    assert!(legacy.next().await["result"].is_object());
    let plain = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "wiki__echo", "arguments": {}}});
    legacy.say(&plain).await;
    assert_eq!(legacy.next().await["result"]["content"][0]["text"], "{}");
    edit(&world, ALICES, "consumerId: alice, roles: [guest]");
    legacy.say(&plain).await;
    let mut said = legacy.next().await;
    while said["id"].is_null() {
        said = legacy.next().await;
    }
    assert_eq!(said["result"]["content"][0]["text"], WHY, "{said}");
    let denied = modern.call("b", "wiki__echo").await;
    assert_eq!(denied["result"]["content"][0]["text"], WHY, "{denied}");
    assert_eq!(world.received(), ["wiki echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_socket_is_refused_with_its_key() {
    let world = World::start(&["wiki"], STAFF_MAY_ALL).await;
    let mut pipe = Pipe::open(&world.config_path(), "aggregate", ALICE);
    let arguments = json!({"name": "wiki__echo", "arguments": {}});
    assert_eq!(pipe.ask("tools/call", arguments.clone()).await["result"]["content"][0]["text"], "{}");
    revoke(&world);
    assert_eq!(pipe.ask("tools/call", arguments).await["error"]["message"], GONE);
    assert_eq!(pipe.ended().await, Some(1), "the program says that it failed");
    assert_eq!(world.received(), ["wiki echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_end_with_the_key_that_opened_them() {
    for what in ["revoked", "expired"] {
        let clock = Arc::new(Fixed::new(1));
        let world = start(&clock).await;
        edit(&world, ALICES, "consumerId: alice, expiresAt: \"2026-11-21T11:00:00Z\", roles: [staff]");
        let wiki = &world.recorders[0];
        wiki.announces();
        let session = world.legacy("/mcp/wiki", ALICE).await;
        assert_eq!(session.request("resources/subscribe", json!({"uri": ONE})).await.status, 200);
        let mut news = session.events(Method::GET, &Value::Null).await;
        let mut listening = world.modern("/mcp/wiki", ALICE).listen().await;
        let mut others = world.modern("/mcp/wiki", BOB).listen().await;
        let mut wire = Wire::open(&world, ALICE);
        wire.say(&modern("l", "subscriptions/listen", json!({"notifications": {"toolsListChanged": true}})))
            .await;
        assert_eq!(wire.next().await["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(wiki.subscribed(), [ONE]);
        if what == "revoked" {
            revoke(&world);
        } else {
            clock.advance(Duration::from_secs(3_600));
            Arc::clone(world.gateway()).sweep().await;
        }
        let rest = listening.rest().await;
        assert_eq!(rest.last().expect("a last word")["result"]["resultType"], "complete", "{what}: {rest:?}");
        assert_eq!(wire.next().await["result"]["resultType"], "complete", "{what}");
        assert_eq!(news.rest().await, Vec::<Value>::new(), "{what}");
        eventually("the server is told", async || wiki.subscribed().is_empty()).await;
        assert_eq!(session.request("tools/list", json!({})).await.status, 401, "{what}");
        edit(&world, "consumerId: bob, roles: [guest]", "consumerId: bob, roles: [guest, other]");
        assert_eq!(
            others.next().await["result"]["resultType"],
            "complete",
            "{what}: who is somebody else asks anew"
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_owner_may_do_less_hears_of_it_and_of_nothing_else() {
    let world = World::start(&["wiki"], STAFF_MAY_ALL).await;
    let wiki = &world.recorders[0];
    wiki.announces();
    let session = world.legacy("/mcp/wiki", ALICE).await;
    assert!(session.tools().await.len() > 3);
    assert_eq!(session.request("resources/subscribe", json!({"uri": ONE})).await.status, 200);
    let mut news = session.events(Method::GET, &Value::Null).await;
    edit(&world, ALICES, "consumerId: alice, roles: [guest]");
    eventually("the subscription ends", async || wiki.subscribed().is_empty()).await;
    assert_eq!(news.next().await["method"], "notifications/tools/list_changed");
    assert_eq!(session.tools().await, Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_goes_on_with_a_token_good_for_less_keeps_no_subscription() {
    let issuer = Issuer::start().await;
    let world = World::start(&["wiki"], STAFF_MAY_ALL).await;
    let oidc = format!(
        "type: oidc\n  oidc: {{issuerUrl: \"http://{}\", clientId: desk, consumerIdField: azp}}",
        issuer.address
    );
    edit(&world, "type: api-key", &oidc);
    let wiki = &world.recorders[0];
    wiki.announces();
    let session = world.legacy("/mcp/wiki", &issuer.token(&json!({}))).await;
    assert!(session.tools().await.len() > 3);
    assert_eq!(session.request("resources/subscribe", json!({"uri": ONE})).await.status, 200);
    assert_eq!(wiki.subscribed(), [ONE]);
    let same = session.with_key(&issuer.token(&json!({"jti": "another"})));
    let mut news = same.events(Method::GET, &Value::Null).await;
    wiki.say_updated(ONE);
    assert_eq!(news.next().await["method"], "notifications/resources/updated", "a renewed token");
    assert_eq!(wiki.subscribed(), [ONE]);
    let less = session.with_key(&issuer.token(&json!({"roles": ["guest"]})));
    let mut news = less.events(Method::GET, &Value::Null).await;
    eventually("the subscription ends", async || wiki.subscribed().is_empty()).await;
    // What was read a moment ago may be said once more.
    while news.next().await["method"] != "notifications/tools/list_changed" {}
    assert_eq!(less.tools().await, Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_takes_a_call_back_over_stdio() {
    let world = World::start(&["wiki"], STAFF_MAY_ALL).await;
    let wiki = &world.recorders[0];
    wiki.offer("hang");
    let mut wire = Wire::open(&world, ALICE);
    wire.say(&call("slow", "wiki__hang")).await;
    eventually("the call is under way", async || wiki.calls() == ["hang"]).await;
    let cancelled = json!({"requestId": "slow", "reason": "enough"});
    wire.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled})).await;
    let is_withdrawal = |it: &Value| it["method"] == "notifications/cancelled";
    eventually("the server is told", async || wiki.received().iter().any(|it| is_withdrawal(&it.json())))
        .await;
    assert_eq!(wire.call("next", "wiki__echo").await["id"], "next", "what was taken back is not answered");
    let outcome = |world: &World| world.records()[0]["outcome"].clone();
    eventually("it is recorded", async || outcome(&world) == "cancelled").await;
    world.stop().await;
}
