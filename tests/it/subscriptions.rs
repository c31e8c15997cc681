//! Resource subscriptions: from clients of either era to servers of either era, on the
//! aggregate and on a server's own endpoint.
//!
//! That somebody hears nothing is shown by what it hears next.

use hyper::Method;
use serde_json::{Value, json};

use crate::world::http::{Events, MODERN};
use crate::world::redis::Redis;
use crate::world::{ALICE, BOB, Client, Pipe, STAFF_MAY_ALL, Speaks, World, eventually};

const UPDATED: &str = "notifications/resources/updated";
const ONE: &str = "wiki://one";
const TWO: &str = "wiki://two";

fn on_aggregate(uri: &str) -> String {
    format!("gw+wiki+{uri}")
}

/// A world whose only server has resources to subscribe to.
async fn start(speaks: Speaks, rest: &str) -> World {
    let world = World::start_speaking(&["wiki"], speaks, rest).await;
    world.recorders[0].announces();
    world
}

/// Opens a stream of 2026-07-28 for resources, and returns what was acknowledged.
async fn subscribe(client: &Client, id: &str, uris: &[&str]) -> (Events, Value) {
    let params = json!({
        "notifications": {"resourceSubscriptions": uris},
        "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}},
    });
    let message = json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params});
    let mut events = client.events(Method::POST, &message).await;
    let first = events.next().await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    (events, first["params"]["notifications"]["resourceSubscriptions"].clone())
}

/// Which resource the next message says was updated.
async fn updated(events: &mut Events) -> String {
    let news = events.next().await;
    assert_eq!(news["method"], UPDATED, "{news}");
    news["params"]["uri"].as_str().expect("a URI").to_owned()
}

/// One client that is subscribed, and what it calls the resource.
struct Subscriber {
    who: &'static str,
    client: Client,
    events: Events,
    uri: String,
}

/// A client of either era on either endpoint, all subscribed to the same resource.
async fn everybody(world: &World, uri: &str) -> Vec<Subscriber> {
    let mut all = Vec::new();
    for (who, path, uri) in
        [("aggregate", "/mcp", on_aggregate(uri)), ("its own endpoint", "/mcp/wiki", uri.to_owned())]
    {
        let client = world.modern(path, ALICE);
        let (events, honoured) = subscribe(&client, who, &[&uri]).await;
        assert_eq!(honoured, json!([uri]), "{who}");
        all.push(Subscriber { who, client, events, uri: uri.clone() });
        let client = world.legacy(path, ALICE).await;
        let answer = client.request("resources/subscribe", json!({"uri": uri})).await;
        assert_eq!(answer.json()["result"], json!({}), "{who}");
        let events = client.events(Method::GET, &Value::Null).await;
        all.push(Subscriber { who, client, events, uri });
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_reaches_clients_of_both_eras_from_servers_of_both() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = start(speaks, STAFF_MAY_ALL).await;
        let wiki = &world.recorders[0];
        let mut all = everybody(&world, ONE).await;
        assert_eq!(wiki.subscribed(), [ONE], "{speaks:?}: once for all of them");
        wiki.say_updated(TWO);
        wiki.say_updated(ONE);
        for subscriber in &mut all {
            assert_eq!(
                updated(&mut subscriber.events).await,
                subscriber.uri,
                "{speaks:?} {}",
                subscriber.who
            );
        }
        // One more resource, for one of them, disturbs nobody.
        let (mut more, honoured) = subscribe(&world.modern("/mcp/wiki", ALICE), "more", &[ONE, TWO]).await;
        assert_eq!(honoured, json!([ONE, TWO]));
        assert_eq!(wiki.subscribed(), [ONE, TWO]);
        wiki.say_updated(TWO);
        assert_eq!(updated(&mut more).await, TWO);
        drop(more);
        eventually("the server is told of the end", async || wiki.subscribed() == [ONE]).await;
        wiki.say_updated(ONE);
        for mut subscriber in all {
            assert_eq!(updated(&mut subscriber.events).await, subscriber.uri);
            if subscriber.client.has_session() {
                let params = json!({"uri": subscriber.uri});
                let answer = subscriber.client.request("resources/unsubscribe", params).await;
                assert_eq!(answer.json()["result"], json!({}));
            }
        }
        eventually("nothing is subscribed to", async || wiki.subscribed().is_empty()).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_resource_is_decided_on_and_recorded() {
    let rules = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{resource: \"wiki://one*\", action: allow}]}\n  - {id: guest, name: Guest, roles: [guest], rules: [{tool: echo, action: allow}]}\n";
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = start(speaks, rules).await;
        let alice = world.modern("/mcp", ALICE);
        let foreign = "gw+nowhere+wiki://one";
        let (one, two) = (on_aggregate(ONE), on_aggregate(TWO));
        let (_events, honoured) = subscribe(&alice, "L", &[&two, &one, foreign, &one, "wiki://one"]).await;
        assert_eq!(honoured, json!([one]), "{speaks:?}");
        let (_none, honoured) = subscribe(&world.modern("/mcp", BOB), "L", &[&one]).await;
        assert_eq!(honoured, Value::Null, "{speaks:?}");
        let session = world.legacy("/mcp", ALICE).await;
        let mut codes = Vec::new();
        for uri in [one.as_str(), &two, foreign] {
            let answer = session.request("resources/subscribe", json!({"uri": uri})).await;
            codes.push(answer.json()["error"]["code"].as_i64());
        }
        assert_eq!(codes, [None, Some(-31403), Some(-32002)], "{speaks:?}");
        assert_eq!(world.recorders[0].subscribed(), [ONE], "{speaks:?}");
        let mut recorded: Vec<_> = world
            .records()
            .iter()
            .map(|record| {
                assert_eq!(record["operation"], "resources/subscribe", "{record}");
                let text = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
                format!("{} {} {} {}", text("person"), text("tool"), text("verdict"), text("outcome"))
            })
            .collect();
        recorded.sort();
        let mut expected = [
            "alice gw+nowhere+wiki://one hide denied",
            "alice gw+nowhere+wiki://one hide denied",
            "alice wiki://one allow success",
            "alice wiki://one allow success",
            "alice wiki://one hide denied",
            "alice wiki://two deny denied",
            "alice wiki://two deny denied",
            "bob wiki://one deny denied",
        ];
        expected.sort();
        assert_eq!(recorded, expected, "{speaks:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_does_not_honour_is_left_out() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = start(speaks, STAFF_MAY_ALL).await;
        let wiki = &world.recorders[0];
        wiki.honours_only(&[ONE]);
        let (mut events, honoured) = subscribe(&world.modern("/mcp/wiki", ALICE), "L", &[ONE, TWO]).await;
        assert_eq!(honoured, json!([ONE]), "{speaks:?}");
        let session = world.legacy("/mcp/wiki", ALICE).await;
        let refused = session.request("resources/subscribe", json!({"uri": TWO})).await;
        assert_eq!(refused.json()["error"]["code"], -32002, "{speaks:?}");
        wiki.say_updated(ONE);
        assert_eq!(updated(&mut events).await, ONE);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_subscriptions_is_not_asked() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = World::start_speaking(&["wiki"], speaks, STAFF_MAY_ALL).await;
        let discovered = world.modern("/mcp", ALICE).request("server/discover", json!({})).await;
        assert_eq!(discovered.json()["result"]["capabilities"]["resources"], json!({"listChanged": true}));
        let (_events, honoured) = subscribe(&world.modern("/mcp/wiki", ALICE), "L", &[ONE]).await;
        assert_eq!(honoured, Value::Null, "{speaks:?}");
        let session = world.legacy("/mcp", ALICE).await;
        let refused = session.request("resources/subscribe", json!({"uri": on_aggregate(ONE)})).await;
        assert_eq!(refused.json()["error"]["code"], -32601, "{speaks:?}");
        let ended = session.request("resources/unsubscribe", json!({"uri": on_aggregate(ONE)})).await;
        assert_eq!(ended.json()["result"], json!({}));
        let asked = |method: &str| {
            world.recorders[0].received().iter().filter(|it| it.json()["method"] == method).count()
        };
        assert_eq!((asked("resources/subscribe"), asked("subscriptions/listen")), (0, 0));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_outlives_the_servers_streams_and_sessions() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = start(speaks, STAFF_MAY_ALL).await;
        let wiki = &world.recorders[0];
        let mut all = everybody(&world, ONE).await;
        eventually("the gateway listens", async || wiki.listeners() == 1).await;
        wiki.lose_everything();
        // Something may have been missed, so that everybody is told once.
        for subscriber in &mut all {
            assert_eq!(
                updated(&mut subscriber.events).await,
                subscriber.uri,
                "{speaks:?} {}",
                subscriber.who
            );
        }
        eventually("the gateway listens again", async || wiki.listeners() == 1 && wiki.subscribed() == [ONE])
            .await;
        wiki.say_updated(ONE);
        for subscriber in &mut all {
            assert_eq!(
                updated(&mut subscriber.events).await,
                subscriber.uri,
                "{speaks:?} {}",
                subscriber.who
            );
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_updated_while_a_session_had_no_stream_is_told_once_when_it_has() {
    let world = start(Speaks::Legacy, STAFF_MAY_ALL).await;
    let wiki = &world.recorders[0];
    let alice = world.legacy("/mcp/wiki", ALICE).await;
    for uri in [ONE, TWO] {
        assert_eq!(alice.request("resources/subscribe", json!({"uri": uri})).await.status, 200);
    }
    // Somebody else shows when the news have come.
    let (mut other, _) = subscribe(&world.modern("/mcp/wiki", ALICE), "L", &[ONE, TWO]).await;
    for uri in [ONE, TWO, ONE] {
        wiki.say_updated(uri);
        assert_eq!(updated(&mut other).await, uri);
    }
    let mut events = alice.events(Method::GET, &Value::Null).await;
    assert_eq!([updated(&mut events).await, updated(&mut events).await], [ONE, TWO]);
    wiki.say_updated(ONE);
    assert_eq!(updated(&mut events).await, ONE, "and nothing in between");
    assert_eq!(alice.delete().await, 204);
    assert_eq!(wiki.subscribed(), [ONE, TWO], "the other one goes on");
    drop(other);
    eventually("nothing is subscribed to", async || wiki.subscribed().is_empty()).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_no_longer_allow_ends() {
    let rules = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{resource: \"wiki://*\", action: allow}]}\n";
    let world = start(Speaks::Legacy, rules).await;
    let wiki = &world.recorders[0];
    let (mut events, _) = subscribe(&world.modern("/mcp/wiki", ALICE), "L", &[ONE, TWO]).await;
    assert_eq!(wiki.subscribed(), [ONE, TWO]);
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(world.config_path(), config.replace("wiki://*", TWO)).expect("written");
    assert!(world.running.reload().expect("a valid file"));
    eventually("the server is told", async || wiki.subscribed() == [TWO]).await;
    wiki.say_updated(ONE);
    wiki.say_updated(TWO);
    assert_eq!(updated(&mut events).await, TWO);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_allowed_until_a_moment_ago_ends_before_it_begins() {
    let redis = Redis::start().await;
    let rules = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{resource: \"wiki://*\", action: allow}]}\n";
    let quota = "limits:\n  - {name: all, kind: quota, key: person, max: 1000, per: month}\n";
    let world = start(Speaks::Legacy, &format!("{rules}{quota}{}", redis.section())).await;
    let wiki = &world.recorders[0];
    let alice = world.modern("/mcp/wiki", ALICE);
    eventually("Redis is reached", async || subscribe(&alice, "first", &[TWO]).await.1 == json!([TWO])).await;

    // Decided on and not yet counted, while the rules change.
    assert_eq!(redis.command("CLIENT PAUSE 60000 WRITE").await.as_deref(), Some("+OK"));
    let waiting = tokio::spawn(async move { subscribe(&alice, "L", &[ONE, TWO]).await });
    let has_asked = "blocked_clients:1".to_owned();
    eventually("it is about to be counted", async || redis.lines("INFO clients").await.contains(&has_asked))
        .await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    std::fs::write(world.config_path(), config.replace("wiki://*", TWO)).expect("written");
    assert!(world.running.reload().expect("a valid file"));
    assert_eq!(redis.command("CLIENT UNPAUSE").await.as_deref(), Some("+OK"));

    let (mut events, _) = waiting.await.expect("acknowledged");
    eventually("the server is told", async || wiki.subscribed() == [TWO]).await;
    wiki.say_updated(ONE);
    wiki.say_updated(TWO);
    assert_eq!(updated(&mut events).await, TWO);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_told_in_plain_words() {
    let world = start(Speaks::Legacy, STAFF_MAY_ALL).await;
    let uris: Vec<_> = (0..501).map(|number| format!("wiki://{number}")).collect();
    let listen = |wanted: Value| json!({"notifications": {"resourceSubscriptions": wanted}});
    let alice = world.modern("/mcp/wiki", ALICE);
    for (wanted, words) in [
        (json!(uris), "names 501 resources; 500 is the most"),
        (json!("wiki://one"), "must be an array of strings"),
        (json!([1]), "must be an array of strings"),
    ] {
        let refused = alice.request("subscriptions/listen", listen(wanted)).await.json();
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        let message = refused["error"]["message"].as_str().expect("words");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(world.recorders[0].subscribed(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aggregate_declares_what_the_callers_servers_have_between_them() {
    let world = World::start(&["plain", "rich"], STAFF_MAY_ALL).await;
    let [plain, rich] = &world.recorders[..] else { unreachable!("two were started") };
    plain.declares(json!({"tools": {}}), "");
    rich.announces();
    rich.declares(json!({"resources": {"subscribe": true}, "completions": {}}), "Read before you write.");
    let discovered = world.modern("/mcp", ALICE).request("server/discover", json!({})).await.json();
    let expected = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true}, "completions": {}});
    assert_eq!(discovered["result"]["capabilities"], expected);
    let instructions = discovered["result"]["instructions"].as_str().expect("some");
    assert!(
        instructions.ends_with("\n\n## rich (tools rich__…)\n\n> Read before you write."),
        "{instructions}"
    );
    let one = world.modern("/mcp/rich", ALICE).request("server/discover", json!({})).await.json();
    assert_eq!(one["result"]["capabilities"]["resources"]["subscribe"], json!(true));
    for (client, status) in [(world.modern("/mcp", ALICE), 404), (world.legacy("/mcp", ALICE).await, 200)] {
        let prompts = client.request("prompts/list", json!({})).await;
        assert_eq!(prompts.summary(), format!("{status} -32601"), "nobody has prompts");
        assert_eq!(client.request("resources/list", json!({})).await.status, 200);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_stdio_subscriptions_share_the_pipe_and_are_ended_by_name() {
    let world = start(Speaks::Modern, STAFF_MAY_ALL).await;
    let wiki = &world.recorders[0];
    let mut pipe = Pipe::open(&world.config_path(), "wiki", ALICE);
    let listen = |id: &str, uris: &[&str]| {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}});
        let params = json!({"notifications": {"resourceSubscriptions": uris}, "_meta": meta});
        json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params})
    };
    let tag = |news: &Value| {
        news["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].as_str().unwrap_or("?").to_owned()
    };
    for (id, uris) in [("first", vec![ONE]), ("second", vec![TWO])] {
        pipe.say(&listen(id, &uris)).await;
        let acknowledged = pipe.next().await;
        assert_eq!(acknowledged["params"]["notifications"]["resourceSubscriptions"], json!(uris));
        assert_eq!(tag(&acknowledged), id);
    }
    wiki.say_updated(TWO);
    let news = pipe.next().await;
    assert_eq!((tag(&news).as_str(), &news["params"]["uri"]), ("second", &json!(TWO)));
    let cancelled = json!({"requestId": "second", "reason": "enough"});
    pipe.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled})).await;
    eventually("the server is told", async || wiki.subscribed() == [ONE]).await;
    wiki.say_updated(ONE);
    assert_eq!(tag(&pipe.next().await), "first");
    pipe.end().await;
    eventually("nothing is subscribed to", async || wiki.subscribed().is_empty()).await;

    let mut pipe = Pipe::open(&world.config_path(), "aggregate", ALICE);
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    pipe.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
    assert_eq!(pipe.next().await["result"]["capabilities"]["resources"]["subscribe"], json!(true));
    let params = json!({"uri": on_aggregate(ONE)});
    pipe.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "resources/subscribe", "params": params})).await;
    // What may have been missed since the last one let go of it is said as well.
    let subscribed = loop {
        let said = pipe.next().await;
        if said["method"] != UPDATED {
            break said;
        }
    };
    assert_eq!(subscribed["result"], json!({}), "{subscribed}");
    wiki.say_updated(ONE);
    let expected = json!({"jsonrpc": "2.0", "method": UPDATED, "params": {"uri": on_aggregate(ONE)}});
    assert_eq!(pipe.next().await, expected);
    pipe.end().await;
    eventually("nothing is subscribed to", async || wiki.subscribed().is_empty()).await;
    world.stop().await;
}
