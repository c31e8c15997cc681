//! News of changed lists: from servers of both eras and from a reload, to clients of
//! both eras, once each, and only to those whose view has the server.
//!
//! That somebody hears nothing is shown by what it hears next.

use hyper::Method;
use serde_json::{Value, json};

use crate::world::http::{Events, MODERN};
use crate::world::{ALICE, BOB, Client, Recorder, STAFF_MAY_ALL, Speaks, World, eventually};

const TOOLS: &str = "notifications/tools/list_changed";
/// What a reload announces, as any list may have changed.
const ALL: [&str; 3] = [TOOLS, "notifications/prompts/list_changed", "notifications/resources/list_changed"];

/// Opens a stream of 2026-07-28 and reads its acknowledgement.
async fn subscribe(client: &Client, id: &str) -> Events {
    let wants = json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true});
    let params = json!({
        "notifications": wants,
        "_meta": {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}},
    });
    let message = json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params});
    let mut events = client.events(Method::POST, &message).await;
    let first = events.next().await;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(first["params"]["notifications"], wants);
    events
}

/// Opens the GET stream of a session.
async fn listen(client: &Client) -> Events {
    client.events(Method::GET, &Value::Null).await
}

/// Puts another configuration in force, made of the one before.
fn reload(world: &World, change: impl FnOnce(String) -> String) {
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    // A comment makes it another file in any case.
    std::fs::write(world.config_path(), change(config) + "# once more\n").expect("written");
    assert!(world.running.reload().expect("a valid file"));
}

/// Takes everybody's right to everything away, or gives it back.
fn flip(world: &World) {
    reload(world, |config| match config.contains(NOTHING) {
        true => config.replace(NOTHING, ANYTHING),
        false => config.replace(ANYTHING, NOTHING),
    });
}

const ANYTHING: &str = "rules: [{";
const NOTHING: &str = "rules: [{tool: nothing-at-all, ";

/// `alice` sees both servers; `bob` is let through to `gitlab` alone, `github` by no rule.
const RULES: &str = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}]}\n  - {id: guest, name: Guest, roles: [guest], rules: [{server: gitlab, action: allow}]}\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_servers_news_reach_clients_of_both_eras_once_and_nobody_else() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = World::start_speaking(&["github", "gitlab"], speaks, RULES).await;
        let github = &world.recorders[0];
        github.announces();
        // Everybody's lists are known before anybody listens.
        let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
        assert_eq!((alice.tools().await.len(), bob.tools().await.len()), (10, 5));
        eventually("the gateway listens to the server", async || github.listeners() == 1).await;
        let mut streams = vec![
            ("modern", subscribe(&alice, "a-1").await),
            (
                "modern, the server's own endpoint",
                subscribe(&world.modern("/mcp/github", ALICE), "a-2").await,
            ),
            ("legacy", listen(&world.legacy("/mcp", ALICE).await).await),
            ("legacy, the server's own endpoint", listen(&world.legacy("/mcp/github", ALICE).await).await),
        ];
        let mut others = vec![
            ("no rule lets bob call it", subscribe(&bob, "b-1").await),
            ("nor in the other era", listen(&world.legacy("/mcp", BOB).await).await),
            ("another server's endpoint", subscribe(&world.modern("/mcp/gitlab", ALICE), "a-3").await),
        ];
        github.offer_only(&["echo", "brand_new"]);
        for _ in 0..25 {
            github.say_tools_changed();
        }
        for (who, events) in &mut streams {
            let news = events.next().await;
            assert_eq!(news["method"], TOOLS, "{speaks:?} {who}");
            let tag = &news["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!(tag.is_string(), who.starts_with("modern"), "{who}: {news}");
        }
        let tools = alice.tools().await;
        assert!(
            tools.contains(&"github__brand_new".to_owned()) && !tools.contains(&"github__leak".to_owned())
        );
        // Saying so again when nothing changed is no news.
        github.say_tools_changed();
        for _ in 0..2 {
            flip(&world);
            for (who, events) in streams.iter_mut().chain(&mut others) {
                assert_eq!(events.methods(3).await, ALL, "{speaks:?} {who}");
            }
        }
        github.offer_only(&["echo"]);
        github.say_tools_changed();
        for (who, events) in &mut streams {
            assert_eq!(events.next().await["method"], TOOLS, "{speaks:?} {who}");
        }
        flip(&world);
        for (who, events) in streams.iter_mut().chain(&mut others) {
            assert_eq!(events.methods(3).await, ALL, "{speaks:?} {who}");
        }
        assert_eq!(world.received(), Vec::<String>::new(), "news are no calls");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_first_heard_of_is_announced_once_a_kind() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    let mut events = subscribe(&alice, "first").await;
    let mut bobs = subscribe(&world.modern("/mcp", BOB), "nobody").await;
    assert_eq!(alice.tools().await.len(), 5);
    let mut kinds = events.methods(3).await;
    kinds.sort();
    let mut expected = ALL;
    expected.sort();
    assert_eq!(kinds, expected);
    flip(&world);
    assert_eq!(events.methods(3).await, ALL);
    reload(&world, |config| config.replace("roles: [staff], rules", "roles: [guest], rules"));
    flip(&world);
    assert_eq!(bobs.methods(3).await, ALL, "and that is the first bob hears of");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_nobody_listened_is_told_once_when_somebody_does() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let alice = world.legacy("/mcp", ALICE).await;
    for _ in 0..3 {
        flip(&world);
    }
    let mut events = listen(&alice).await;
    assert_eq!(events.methods(3).await, ALL);
    // A second stream takes over, so that nothing is said twice.
    let mut second = listen(&alice).await;
    flip(&world);
    assert_eq!(second.methods(3).await, ALL);
    flip(&world);
    assert_eq!(second.methods(3).await, ALL);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_asked_for_is_told() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let meta = json!({"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}});
    let params =
        json!({"notifications": {"promptsListChanged": true, "toolsListChanged": false}, "_meta": meta});
    let message = json!({"jsonrpc": "2.0", "id": 9, "method": "subscriptions/listen", "params": params});
    let mut events = world.modern("/mcp", ALICE).events(Method::POST, &message).await;
    assert_eq!(events.next().await["params"]["notifications"], json!({"promptsListChanged": true}));
    assert_eq!(world.modern("/mcp", ALICE).tools().await.len(), 5);
    for _ in 0..3 {
        assert_eq!(events.methods(1).await, [ALL[1]]);
        flip(&world);
    }
    assert_eq!(events.methods(1).await, [ALL[1]]);
    // At the end the request is answered.
    let stopping = tokio::spawn(world.stop());
    let last = events.next().await;
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(9), &json!("complete")));
    drop(events);
    stopping.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_told_to_those_whose_lists_are_different_by_it() {
    let world = World::start(&["github", "gitlab"], RULES).await;
    let (alice, bob) = (world.modern("/mcp", ALICE), world.modern("/mcp", BOB));
    assert_eq!((alice.tools().await.len(), bob.tools().await.len()), (10, 5));
    let mut hers = subscribe(&alice, "a").await;
    let mut hers_of_github = listen(&world.legacy("/mcp/github", ALICE).await).await;
    let mut his = listen(&world.legacy("/mcp", BOB).await).await;
    // The same rules in other words, and rules about something else.
    reload(&world, |config| config);
    reload(&world, |config| config.replace("name: Guest", "name: Visitor"));
    reload(&world, |config| config.replace("server: gitlab, action", "server: gitlab, tool: echo, action"));
    assert_eq!(his.methods(3).await, ALL, "all but one tool are gone");
    reload(&world, |config| config.replace("rules: [{action", "rules: [{server: gitlab, action"));
    assert_eq!(hers.methods(3).await, ALL);
    assert_eq!(hers_of_github.methods(3).await, ALL);
    reload(&world, |config| config.replace("tool: echo, action", "tool: get_issue, action"));
    assert_eq!(his.methods(1).await, [TOOLS], "and nothing since");
    // A server that comes into view is asked what it has, and announced.
    let another = Recorder::start("gitea", Speaks::Legacy).await;
    let entry = format!("servers:\n  - {{id: gitea, url: \"{}\", enabled: true}}\n", another.url());
    reload(&world, |config| {
        config
            .replace("servers:\n", &entry)
            .replace("server: gitlab, tool: get_issue", "server: gitea, tool: echo")
    });
    assert_eq!(his.methods(2).await, [TOOLS, TOOLS], "what was there is gone, then something else is there");
    assert_eq!(bob.tools().await, ["gitea__echo"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_on_announcing_changes_is_asked_now_and_then() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let github = &world.recorders[0];
    github.announces();
    let alice = world.modern("/mcp/github", ALICE);
    assert!(alice.tools().await.contains(&"echo".to_owned()));
    eventually("its news are listened to", async || github.listeners() == 1).await;
    let asked = || github.received().iter().filter(|it| it.json()["method"] == "tools/list").count();
    let before = asked();
    for _ in 0..300 {
        github.say_tools_changed();
        tokio::task::yield_now().await;
        assert!(alice.tools().await.contains(&"echo".to_owned()));
    }
    github.offer_only(&["newest"]);
    github.say_tools_changed();
    eventually("what it has now is listed", async || alice.tools().await == ["newest"]).await;
    let more = asked() - before;
    assert!((1..50).contains(&more), "asked {more} times");
    world.stop().await;
}
