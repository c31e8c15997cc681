//! What servers offer, where not all of it is as it should be: what is wrong stays where it is, and
//! whoever may know hears of it.

use doorward_model::{CapabilityKind, ServerId};
use doorward_registry::name::exposed;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::{ALICE, BOB, Client, Recorder, STAFF_MAY_ALL, World, call, doorward, eventually};

/// `staff` may do everything, `guest` calls `echo` alone.
const RULES: &str = "policies:
  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}]}
  - {id: guest, name: Guest, roles: [guest], rules: [{tool: echo, action: allow}, {tool: \"*\", action: hide}]}
";

/// What a meta tool says.
async fn meta(world: &World, key: &str, tool: &str) -> Value {
    let answer = world.modern("/mcp/_gateway", key).request("tools/call", call(tool, json!({}))).await;
    serde_json::from_str(&answer.text()).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// One list: the names, and what it says about itself.
async fn listed(client: &Client, method: &str) -> (Vec<String>, Value) {
    let result = client.request(method, json!({})).await.json()["result"].clone();
    let member = method.split('/').next().expect("a kind");
    let names = result[member].as_array().unwrap_or_else(|| panic!("no list: {result}")).iter();
    let names = names.map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect();
    (names, result["_meta"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_definition_touches_no_other_and_is_reported_to_whoever_may_see_it() {
    let world = World::start(&["odd", "good"], RULES).await;
    let odd = &world.recorders[0];
    odd.offer_only(&["echo"]);
    odd.defines(
        json!({"name": "mended", "title": null, "annotations": {"readOnlyHint": "yes"}, "inputSchema": null}),
    );
    odd.defines(json!({"name": "hopeless", "inputSchema": {"type": "string"}}));
    odd.defines(json!("no definition"));
    for (client, mended) in [
        (world.modern("/mcp", ALICE), "odd__mended"),
        (world.legacy("/mcp", ALICE).await, "odd__mended"),
        (world.modern("/mcp/odd", ALICE), "mended"),
    ] {
        let result = client.request("tools/list", json!({})).await.json()["result"].clone();
        let tools = result["tools"].as_array().expect("a list");
        let of_odd: Vec<_> = tools
            .iter()
            .filter(|tool| !tool["name"].as_str().is_some_and(|it| it.starts_with("good")))
            .collect();
        assert_eq!(of_odd.len(), 2, "{of_odd:?}");
        let expected = json!({"name": mended, "annotations": {}, "inputSchema": {"type": "object"}});
        assert_eq!(*of_odd[1], expected);
        assert!(tools.len() == 2 || tools.len() == 7, "the other server has all of its own: {tools:?}");
    }
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(alice.call("odd__mended", json!({"a": 1})).await.summary(), "200 ok");
    assert_eq!(alice.call("odd__hopeless", json!({})).await.summary(), "200 -32602");
    assert_eq!(world.received(), ["odd mended"]);

    let status = meta(&world, ALICE, "server_status").await;
    assert_eq!(
        status["odd"]["problems"],
        json!([
            "tools/list: 1 of its entries cannot be read, or have no name",
            "tool `mended`: its definition is malformed and was mended: `title` was null, `annotations.readOnlyHint` was \"yes\", `inputSchema` was null",
            "tool `hopeless`: its definition is malformed: `inputSchema.type` is not `object`; it is left out",
        ])
    );
    assert!(status["good"].get("problems").is_none(), "{status}");
    // Whoever may not see a tool is not told what is wrong with it.
    let told = meta(&world, BOB, "server_status").await["odd"]["problems"].clone();
    assert_eq!(told, json!(["tools/list: 1 of its entries cannot be read, or have no name"]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_or_hangs_hides_no_other_and_is_announced_when_it_is_there() {
    for hangs in [false, true] {
        let world = World::start(&["github"], STAFF_MAY_ALL).await;
        let github = &world.recorders[0];
        if hangs {
            github.hangs("prompts/list");
        } else {
            github.fails("prompts/list");
        }
        let alice = world.legacy("/mcp", ALICE).await;
        let began = std::time::Instant::now();
        let (tools, meta) = listed(&alice, "tools/list").await;
        assert!(began.elapsed().as_secs() < 5, "hangs: {hangs}");
        assert!(tools.contains(&"github__echo".to_owned()) && meta.is_null(), "{tools:?} {meta}");
        let (resources, meta) = listed(&alice, "resources/list").await;
        assert!(!resources.is_empty() && meta.is_null(), "{resources:?} {meta}");
        let (prompts, meta) = listed(&alice, "prompts/list").await;
        assert_eq!((prompts, &meta["dev.doorward/missing"]), (Vec::new(), &json!(["github"])));
        // What it would have, nobody knows yet: that is decided and sent.
        assert_eq!(alice.request("prompts/get", json!({"name": "github__review"})).await.summary(), "200 ok");

        let mut news = alice.events(Method::GET, &Value::Null).await;
        github.mends("prompts/list");
        assert_eq!(news.next().await["method"], "notifications/prompts/list_changed", "hangs: {hangs}");
        let (prompts, meta) = listed(&alice, "prompts/list").await;
        assert_eq!((prompts, meta), (vec!["github__review".to_owned()], Value::Null));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_later_stays_as_it_was() {
    let world = World::start(&["github"], STAFF_MAY_ALL).await;
    let github = &world.recorders[0];
    github.announces();
    let alice = world.modern("/mcp", ALICE);
    assert_eq!(listed(&alice, "prompts/list").await.0, ["github__review"]);
    eventually("its news are listened to", async || github.listeners() > 0).await;
    github.fails("prompts/list");
    github.offer("another");
    github.say_tools_changed();
    eventually("the new tool is listed", async || {
        listed(&alice, "tools/list").await.0.contains(&"github__another".to_owned())
    })
    .await;
    let (prompts, meta) = listed(&alice, "prompts/list").await;
    assert_eq!(
        (prompts, &meta["dev.doorward/missing"]),
        (vec!["github__review".to_owned()], &json!(["github"]))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_tools_would_have_is_neithers_and_only_the_listed_spelling_is_called() {
    let world = World::start(&["s"], RULES).await;
    let server = &world.recorders[0];
    let id = ServerId::try_from("s").expect("an id");
    let contested = exposed(&id, CapabilityKind::Tool, "a.b");
    let namesake = contested.strip_prefix("s__").expect("prefixed");
    server.offer_only(&["a.b", namesake, "c.d", "echo"]);
    let alice = world.modern("/mcp", ALICE);
    let (names, _) = listed(&alice, "tools/list").await;
    let [spelled, echo] = &names[..] else { panic!("{names:?}") };
    assert!(spelled.starts_with("s__c_d_") && echo == "s__echo", "{names:?}");
    for (name, expected) in [
        (contested.as_str(), "200 -32602"),
        ("s__a.b", "200 -32602"),
        ("s__c.d", "200 -32602"),
        (spelled.as_str(), "200 ok"),
        ("s__echo", "200 ok"),
    ] {
        assert_eq!(alice.call(name, json!({})).await.summary(), expected, "{name}");
    }
    assert_eq!(world.received(), ["s c.d", "s echo"]);
    let outcomes: Vec<_> = world
        .records()
        .iter()
        .map(|record| record["verdict"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(outcomes, ["hide", "hide", "hide", "allow", "allow"]);

    // Under their own names they are two.
    let own = world.modern("/mcp/s", ALICE);
    assert_eq!(own.tools().await, ["a.b", namesake, "c.d", "echo"]);
    assert_eq!(own.call("a.b", json!({})).await.summary(), "200 ok");
    let problems = meta(&world, ALICE, "server_status").await["s"]["problems"].clone();
    assert_eq!(problems.as_array().expect("two").len(), 2, "{problems}");
    assert!(meta(&world, BOB, "server_status").await["s"].get("problems").is_none());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_what_one_server_offers_and_what_is_wrong_with_it() {
    let world = World::start(&["odd"], RULES).await;
    let odd = &world.recorders[0];
    odd.offer_only(&["echo"]);
    let whole = json!({"name": "whole", "title": "All of it", "description": "first\nsecond",
        "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}});
    odd.defines(whole.clone());
    odd.defines(json!({"name": "hopeless", "inputSchema": {"type": "string"}}));
    let run = async |arguments: &[&str]| {
        let ran = doorward(&world.config_path(), arguments).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out
    };
    // Nobody has asked it anything so far.
    let tools = run(&["servers", "tools", "odd"]).await;
    assert_eq!(tools, "echo\n    does echo\nwhole  [All of it]\n    first\n");
    let tools: Value =
        serde_json::from_str(&run(&["servers", "tools", "odd", "--json"]).await).expect("JSON");
    assert_eq!(tools[1], whole);
    let resources = run(&["servers", "resources", "odd"]).await;
    assert_eq!(resources, "wiki://handbook  [handbook]\n\nTemplates:\nwiki://{page}  [page]\n");
    assert_eq!(run(&["servers", "prompts", "odd"]).await, "review\n");
    let shown = run(&["servers", "show", "odd"]).await;
    for part in [
        "state         connected",
        "offers        2 tools, 1 resources, 1 resource templates, 1 prompts",
        "problem       tool `hopeless`: its definition is malformed",
        "last answer",
        "up for",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let nobody = doorward(&world.config_path(), &["servers", "tools", "nobody"]).await;
    assert_eq!((nobody.code, nobody.err.as_str()), (Some(1), "the running gateway has no server `nobody`\n"));

    let listed = meta(&world, ALICE, "list_tools").await;
    let listed = listed.as_array().expect("a list").iter().find(|it| it["name"] == "whole").expect("listed");
    for member in ["title", "description", "inputSchema", "outputSchema", "annotations"] {
        assert_eq!(listed[member], whole[member]);
    }
    let config = world.config_path();
    let World { folder, running, .. } = world;
    running.stop().await;
    assert_eq!(doorward(&config, &["servers", "tools", "odd"]).await.code, Some(3), "nobody is there to ask");
    drop(folder);
}

/// A server that is off, one that lacks a secret, and one that is there.
fn servers(recorder: &Recorder) -> String {
    format!(
        "servers:
  - {{id: off, url: \"{url}\", enabled: false, tags: [old]}}
  - {{id: stripe, command: cat, args: [], env: {{KEY: \"${{STRIPE_SECRET_KEY}}\"}}, enabled: true}}
  - {{id: there, url: \"{url}\", enabled: true}}
policies:
  - {{id: staff, name: Staff, roles: [staff], rules: [{{action: allow}}]}}
  - {{id: guest, name: Guest, roles: [guest], rules: [{{server: there, tool: echo, action: allow}}]}}
",
        url = recorder.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_off_or_lacks_a_secret_is_shown_as_such_to_whoever_may_see_it() {
    let there = Recorder::start("there", crate::world::Speaks::Legacy).await;
    let world = World::start(&[], &servers(&there)).await;
    let alice = world.modern("/mcp", ALICE);
    let (tools, list_meta) = listed(&alice, "tools/list").await;
    assert!(tools.iter().all(|tool| tool.starts_with("there__")), "{tools:?}");
    assert_eq!(list_meta, json!({"dev.doorward/missing": ["stripe"]}));

    let listed = meta(&world, ALICE, "list_servers").await;
    let shown: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| json!([it["id"], it["status"], it["reason"]]))
        .collect();
    assert_eq!(
        shown,
        [
            json!(["off", "stopped", "disabled in the configuration"]),
            json!(["stripe", "error", "missing secret STRIPE_SECRET_KEY"]),
            json!(["there", "running", null]),
        ]
    );
    let status = meta(&world, ALICE, "server_status").await;
    let state =
        |id: &str| (status[id]["state"].clone(), status[id]["reason"].clone(), status[id]["uptime"].clone());
    assert_eq!(state("off"), (json!("disabled"), json!("disabled in the configuration"), json!(0)));
    assert_eq!(state("stripe"), (json!("error"), json!("missing secret STRIPE_SECRET_KEY"), json!(0)));
    assert!(status["there"]["lastOkAt"].is_string(), "{status}");
    let seen = meta(&world, BOB, "server_status").await;
    assert_eq!(seen.as_object().expect("an object").keys().collect::<Vec<_>>(), ["there"]);

    let denied = alice.call("off__echo", json!({})).await;
    assert_eq!(denied.text(), "[POLICY DENIED] server_disabled: server `off` is disabled");
    let failed = alice.call("stripe__refund", json!({})).await;
    assert_eq!(failed.text(), "server `stripe` is configured wrongly: missing secret STRIPE_SECRET_KEY");
    assert_eq!(failed.json()["result"]["isError"], true);
    // To whoever may not see it, it is as absent as any other.
    let bob = world.modern("/mcp", BOB);
    for absent in ["off__echo", "nobody__echo"] {
        let answer = bob.call(absent, json!({})).await;
        assert_eq!(answer.text(), format!("Unknown tool: {absent}"));
    }
    let recorded: Vec<_> = world
        .records()
        .iter()
        .map(|it| json!([it["serverId"], it["verdict"], it["outcome"], it["layer"]]))
        .collect();
    assert_eq!(
        recorded,
        [
            json!(["off", "deny", "denied", "exposure"]),
            json!(["stripe", "allow", "upstream_error", "rules"]),
            json!(["off", "hide", "denied", "scope"]),
            json!(["unknown", "hide", "denied", "scope"]),
        ]
    );
    assert_eq!(there.calls(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_a_reload_made_unreachable_fails_calls_and_is_missing_from_lists() {
    let free = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address")
    };
    let dead = [
        (format!("url: \"http://{free}/mcp\""), "server `github` cannot be reached"),
        (
            "command: /nonexistent/server, args: []".to_owned(),
            "server `github` could not be started: its program, or the folder that it is to run in, is not there",
        ),
    ];
    for (place, said) in dead {
        let world = World::start(&["github"], STAFF_MAY_ALL).await;
        let alice = world.modern("/mcp", ALICE);
        assert_eq!(alice.call("github__echo", json!({})).await.summary(), "200 ok");
        assert!(!listed(&alice, "tools/list").await.0.is_empty());
        let config = std::fs::read_to_string(world.config_path()).expect("readable");
        let was = format!("url: \"{}\"", world.recorders[0].url());
        std::fs::write(world.config_path(), config.replace(&was, &place)).expect("written");
        assert!(world.running.reload().expect("a valid file"));

        let began = std::time::Instant::now();
        let failed = alice.call("github__echo", json!({})).await;
        assert!(began.elapsed().as_millis() < 1000, "at once: {:?}", began.elapsed());
        assert_eq!((failed.text().as_str(), &failed.json()["result"]["isError"]), (said, &json!(true)));
        let (names, meta) = listed(&alice, "tools/list").await;
        assert_eq!((names, &meta["dev.doorward/missing"]), (Vec::new(), &json!(["github"])));
        let records = world.records();
        let last = records.last().expect("a record");
        assert_eq!(
            json!([last["serverId"], last["verdict"], last["outcome"]]),
            json!(["github", "allow", "upstream_error"])
        );
        assert_eq!(world.received(), ["github echo"]);
        world.stop().await;
    }
}
