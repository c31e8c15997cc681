//! `numbers: exact`: a server that takes integers beyond ±(2^53−1) gets the digits that the
//! client wrote. Everybody else gets the refusal that there is without such a server, byte
//! for byte, and so does whoever may not know of one.

use std::collections::HashMap;

use bytes::Bytes;
use doorward_everything::Eras;
use hyper::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::world::everything::{Host, Pipes};
use crate::world::http::insert;
use crate::world::recorder::COUNTED;
use crate::world::{
    ALICE, Answer, BOB, Client, Pipe, Recorder, STAFF_MAY_ALL, Speaks, World, doorward, eventually,
};

const BEYOND: &str = r#"{"account":9007199254740993,"amounts":[-12345678901234567890123,1.50]}"#;
/// The same as records have it.
const CANONICAL: &str = r#"{"account":9007199254740993,"amounts":[-12345678901234567890123,1.5]}"#;
const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
const REFUSED: &str = "the arguments hold an integer beyond ±(2^53−1), which no policy may compare, \
    and a policy looks at them";

/// A gateway in front of `alpha` and `exact`, the latter of which takes every integer.
async fn world(speaks: Speaks, rest: &str) -> World {
    let world = plain_world(speaks, rest).await;
    set_exact(&world, true);
    world
}

/// The same where neither does.
async fn plain_world(speaks: Speaks, rest: &str) -> World {
    let world = World::start_speaking(&["alpha", "exact"], speaks, rest).await;
    world.recorders[1].offer("count");
    world
}

fn set_exact(world: &World, is_exact: bool) {
    let (safe, exact) = ("{id: exact, url", "{id: exact, numbers: exact, url");
    let (old, new) = if is_exact { (safe, exact) } else { (exact, safe) };
    edit(world, old, new);
}

fn edit(world: &World, old: &str, new: &str) {
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    assert!(config.contains(old), "{config}");
    std::fs::write(world.config_path(), config.replace(old, new)).expect("written");
    world.running.reload().expect("a valid file");
}

/// Sends a text with the headers that belong to it.
async fn send(client: &Client, method: &str, name: &str, body: String) -> Answer {
    let mut headers = client.headers();
    if !client.has_session() {
        insert(&mut headers, "mcp-method", method);
        if !name.is_empty() {
            insert(&mut headers, "mcp-name", name);
        }
    }
    client.raw(Method::POST, &headers, Bytes::from(body)).await
}

fn body(id: &str, method: &str, members: &str, meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members},"_meta":{{{META}{meta}}}}}}}"#
    )
}

/// The same for a client with a session.
fn legacy_body(id: &str, method: &str, members: &str, meta: &str) -> String {
    body(id, method, members, meta).replace(&format!("{META},"), "").replace(META, "")
}

/// `tools/call` with arguments as they are.
async fn call(client: &Client, tool: &str, arguments: &str) -> Answer {
    let members = format!(r#""name":"{tool}","arguments":{arguments}"#);
    let body = if client.has_session() { legacy_body } else { body };
    send(client, "tools/call", tool, body("1", "tools/call", &members, "")).await
}

/// A member of an object, as it was written.
fn member<'t>(text: &'t str, key: &str) -> &'t str {
    let members: HashMap<String, &RawValue> = serde_json::from_str(text).expect("an object");
    members.get(key).map_or("", |member| member.get())
}

/// The arguments of the calls that a server received, as they were written.
fn sent(recorder: &Recorder) -> Vec<String> {
    let bodies = recorder.received().into_iter().map(|it| String::from_utf8_lossy(&it.body).into_owned());
    bodies
        .filter(|body| body.contains(r#""tools/call""#))
        .map(|body| member(member(&body, "params"), "arguments").to_owned())
        .collect()
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_gets_the_digits_that_the_client_wrote_and_the_client_those_of_the_server() {
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let world = world(speaks, STAFF_MAY_ALL).await;
        let mut clients =
            vec![(world.modern("/mcp", ALICE), "exact__count"), (world.modern("/mcp/exact", ALICE), "count")];
        for (revision, path, tool) in [
            ("2025-11-25", "/mcp", "exact__count"),
            ("2025-06-18", "/mcp/exact", "count"),
            ("2024-11-05", "/mcp", "exact__count"),
        ] {
            clients.push((Client::legacy(world.address(), path, ALICE, revision).await, tool));
        }
        for (client, tool) in &clients {
            let answer = call(client, tool, BEYOND).await;
            assert_eq!(answer.summary(), "200 ok", "{}", text(&answer));
            assert!(text(&answer).contains(COUNTED), "{}", text(&answer));
        }
        assert_eq!(sent(&world.recorders[1]), vec![BEYOND; clients.len()], "{speaks:?}");
        let prompt = format!(r#""name":"exact__review","arguments":{BEYOND}"#);
        let prompt = body("1", "prompts/get", &prompt, "");
        assert_eq!(send(&clients[0].0, "prompts/get", "exact__review", prompt).await.summary(), "200 ok");
        let received = world.recorders[1].received();
        let prompt = received.iter().find(|it| it.json()["method"] == "prompts/get").expect("it");
        assert_eq!(member(member(&String::from_utf8_lossy(&prompt.body), "params"), "arguments"), BEYOND);
        for record in world.records() {
            assert_eq!((&record["args"], &record["outcome"]), (&json!(CANONICAL), &json!("success")));
        }
        world.stop().await;
    }
}

/// Every way to be refused: the path, the key, the method, what `Mcp-Name` says, the members of
/// `params`, further metadata, and the id.
fn refused()
-> Vec<(&'static str, &'static str, &'static str, &'static str, String, &'static str, &'static str)> {
    let call = |tool: &str| format!(r#""name":"{tool}","arguments":{BEYOND}"#);
    let safe = r#""name":"exact__echo","arguments":{}"#;
    let mut cases = Vec::new();
    for tool in ["alpha__echo", "nobdy__echo", "exact__leak", "exact__nope", "exactecho__"] {
        cases.push(("/mcp", ALICE, "tools/call", tool, call(tool), "", "1"));
    }
    // Out of this caller's reach, existing or not.
    for tool in ["exact__echo", "nobdy__echo"] {
        cases.push(("/mcp", BOB, "tools/call", tool, call(tool), "", "1"));
    }
    for (path, tool) in
        [("/mcp/alpha", "echo"), ("/mcp/nobdy", "echo"), ("/mcp/exact", "leak"), ("/mcp/exact", "nope")]
    {
        cases.push((path, ALICE, "tools/call", tool, call(tool), "", "1"));
    }
    cases.push(("/mcp/exact", BOB, "tools/call", "echo", call("echo"), "", "1"));
    cases.push(("/mcp/_gateway", ALICE, "tools/call", "call", call("call"), "", "1"));
    let exact = || call("exact__echo");
    cases.extend([
        ("/mcp", ALICE, "tools/call", "exact__echo", exact(), "", "9007199254740993"),
        ("/mcp", ALICE, "tools/call", "exact__echo", exact(), r#","progressToken":9007199254740993"#, "1"),
        ("/mcp", ALICE, "tools/call", "exact__echo", exact(), r#","more":[9007199254740993]"#, "1"),
        ("/mcp", ALICE, "tools/call", "exact__echo", safe.to_owned(), r#","more":9007199254740993"#, "1"),
        ("/mcp", ALICE, "tools/call", "exact__echo", format!("{},\"more\":9007199254740993", exact()), "", "1"),
        ("/mcp", ALICE, "tools/call", "exact__echo", format!("{},\"name\":\"twice\"", exact()), "", "1"),
        ("/mcp", ALICE, "tools/call", "exact__echo", format!("{},\"Name\":\"case\"", exact()), "", "1"),
        ("/mcp", ALICE, "tools/call", "exact__echo", r#""name":7,"arguments":{"a":9007199254740993}"#.to_owned(), "", "1"),
        ("/mcp", ALICE, "tools/call", "exact__echo", r#""name":"exact__echo","arguments":[9007199254740993]"#.to_owned(), "", "1"),
        ("/mcp", ALICE, "tools/call", "unlike", exact(), "", "1"),
        ("/mcp", ALICE, "tools/list", "", r#""cursor":9007199254740993"#.to_owned(), "", "1"),
        ("/mcp", ALICE, "resources/read", "gw+exact+wiki://a", r#""uri":"gw+exact+wiki://a","n":9007199254740993"#.to_owned(), "", "1"),
        ("/mcp", ALICE, "completion/complete", "", r#""ref":{"type":"ref/prompt","name":"exact__review"},"argument":{"name":"a","value":9007199254740993}"#.to_owned(), "", "1"),
        ("/mcp", ALICE, "no/such", "", format!(r#""arguments":{BEYOND}"#), "", "1"),
    ]);
    cases
}

/// How such a request is answered: under its id, unless more is wrong with it than its integers.
fn summary_of(method: &str, name: &str, members: &str, id: &str, is_modern: bool) -> &'static str {
    let is_unlike_its_header = name == "unlike" || members.starts_with(r#""name":7"#);
    match method {
        _ if id != "1" || members.contains("twice") => "400 -32700",
        _ if members.contains("Name") => "400 -32600",
        _ if is_unlike_its_header && is_modern => "400 -32020",
        "tools/call" => "200 request-bounds",
        _ => "200 -32602",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_else_is_refused_as_if_there_were_no_such_server() {
    let rules = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}, {tool: leak, action: hide}]}\n";
    for speaks in [Speaks::Legacy, Speaks::Modern] {
        let (plain, exact) = (plain_world(speaks, rules).await, world(speaks, rules).await);
        for world in [&plain, &exact] {
            edit(world, "roles: [guest], enabled", "roles: [guest], servers: [alpha], enabled");
        }
        for (path, key, method, name, members, meta, id) in refused() {
            // Nobody has a session on an endpoint that is not there, or not for them; and only
            // those without one repeat a name in a header.
            let has_session = path != "/mcp/nobdy" && (path, key) != ("/mcp/exact", BOB) && name != "unlike";
            let mut answers = Vec::new();
            for world in [&plain, &exact] {
                let modern = world.modern(path, key);
                answers.push(send(&modern, method, name, body(id, method, &members, meta)).await);
                if has_session {
                    let legacy = world.legacy(path, key).await;
                    answers.push(send(&legacy, method, name, legacy_body(id, method, &members, meta)).await);
                }
            }
            let (alone, beside) = answers.split_at(answers.len() / 2);
            for (at, (alone, beside)) in alone.iter().zip(beside).enumerate() {
                let said = |answer: &Answer| {
                    (answer.status, answer.headers.get("content-type").cloned(), text(answer))
                };
                assert_eq!(said(beside), said(alone), "{path} {method} {members} {meta} {id}");
                let expected = summary_of(method, name, &members, id, at == 0);
                assert_eq!(beside.summary(), expected, "{}", text(beside));
                let is_told = text(beside).contains("integer beyond ±(2^53−1) at byte ");
                assert!(is_told || expected == "400 -32600" || expected == "400 -32020", "{}", text(beside));
            }
        }
        assert_eq!((plain.received(), exact.received()), (vec![], vec![]), "{speaks:?}");
        let records = exact.records();
        assert!(!records.is_empty() && records.iter().all(|record| record["status"] == "denied"), "attempts");
        let alpha = records.iter().find(|record| record["serverId"] == "alpha").expect("a record");
        assert!(alpha.to_string().contains("integer beyond"), "{alpha}");
        plain.stop().await;
        exact.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_of_such_a_refusal_shows_its_caller_no_server_either() {
    let rules = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}, {server: secret, action: hide}]}\n";
    let world = World::start_speaking(&["exact", "secret"], Speaks::Modern, rules).await;
    set_exact(&world, true);
    let (bob, own) = (world.modern("/mcp", BOB), world.modern("/mcp/_gateway", BOB));
    let kept = async || {
        let ask = async |tool: &str| own.call(tool, json!({})).await.text();
        (ask("audit_log").await, ask("audit_stats").await, ask("usage").await)
    };
    let before = kept().await;
    for (tool, server) in [("secret__x", "secret"), ("absent__x", "unknown")] {
        assert_eq!(call(&bob, tool, BEYOND).await.summary(), "200 request-bounds", "{tool}");
        assert_eq!(kept().await, before, "{tool}");
        let record = world.records().pop().expect("a record");
        let said = ["serverId", "tool", "status", "verdict"].map(|key| record[key].as_str().unwrap_or("-"));
        assert_eq!(said, [server, tool, "denied", "hide"], "operators see the attempt");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_would_look_at_arguments_refuses_them_and_the_record_says_why() {
    let module = |mode: &str| {
        format!(
            "{STAFF_MAY_ALL}regoPolicies:\n  - name: accounts\n    mode: {mode}\n    source: |\n      package accounts\n      deny contains \"closed\" if input.arguments.account == 9007199254740992\n"
        )
    };
    let rule = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow}, {server: exact, tool: echo, action: deny, conditions: [{param: account, operator: eq, value: \"9007199254740992\"}]}]}\n";
    for (rules, expected) in [
        (module("enforce"), "policy/accounts@sha256:"),
        (module("shadow"), "policy/accounts@sha256:"),
        (rule.to_owned(), "rules/staff#/rules/1"),
    ] {
        let world = world(Speaks::Legacy, &rules).await;
        for client in [world.modern("/mcp", ALICE), world.legacy("/mcp", ALICE).await] {
            let answer = call(&client, "exact__echo", BEYOND).await;
            assert_eq!(answer.text(), format!("[POLICY DENIED] {REFUSED}"));
            let decision = &answer.json()["result"]["_meta"]["dev.doorward/decision"];
            assert!(decision["rule"].as_str().is_some_and(|rule| rule.starts_with(expected)), "{decision}");
            assert_eq!(sent(&world.recorders[1]), Vec::<String>::new());
            let record = world.records().pop().expect("a record");
            assert_eq!(
                (&record["status"], &record["args"]),
                (&json!("denied"), &json!(CANONICAL)),
                "{record}"
            );
            assert!(record.to_string().contains("integer beyond"), "{record}");
        }
        let safe = r#"{"account":9007199254740991}"#;
        assert_eq!(call(&world.modern("/mcp", ALICE), "exact__echo", safe).await.summary(), "200 ok");
        assert_eq!(sent(&world.recorders[1]), [safe]);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_taken_apart_before_anybody_asks_whose_numbers_they_are() {
    let world = world(Speaks::Legacy, STAFF_MAY_ALL).await;
    let old = Client::legacy(world.address(), "/mcp", ALICE, "2025-03-26").await;
    let one = |id: &str, tool: &str| {
        legacy_body(id, "tools/call", &format!(r#""name":"{tool}","arguments":{BEYOND}"#), "")
    };
    let ping = r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#;
    let batch = format!(
        "[{},{},{},{ping}]",
        one("1", "exact__echo"),
        one("2", "alpha__echo"),
        one("9007199254740993", "exact__echo")
    );
    let answer = send(&old, "", "", batch).await.json();
    let answers = answer.as_array().expect("a batch");
    let by_id = |id: Value| answers.iter().filter(|answer| answer["id"] == id).collect::<Vec<_>>();
    assert_eq!(by_id(json!(1))[0]["result"]["isError"], false, "{answer}");
    assert_eq!(by_id(json!(9))[0]["result"], json!({}));
    assert_eq!(by_id(json!(2))[0]["result"]["isError"], true, "{answer}");
    let nobodys = by_id(Value::Null);
    assert_eq!((nobodys.len(), &nobodys[0]["error"]["code"]), (1, &json!(-32700)), "{answer}");
    assert_eq!((sent(&world.recorders[0]), sent(&world.recorders[1])), (vec![], vec![BEYOND.to_owned()]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_no_other_door() {
    let world = world(Speaks::Modern, STAFF_MAY_ALL).await;
    let one = |id: &str, tool: &str| {
        body(id, "tools/call", &format!(r#""name":"{tool}","arguments":{BEYOND}"#), "")
    };
    for (surface, taken, refused) in
        [("aggregate", "exact__count", "alpha__echo"), ("exact", "count", "nope")]
    {
        let mut pipe = Pipe::open(&world.config_path(), surface, ALICE);
        pipe.say_text(&one("1", taken)).await;
        let answer = pipe.next_text().await;
        assert!(answer.contains(COUNTED), "{answer}");
        pipe.say_text(&one("1", refused)).await;
        let answer = pipe.next_text().await;
        assert!(answer.starts_with(r#"{"jsonrpc":"2.0","id":1,"result":"#), "{answer}");
        assert!(answer.contains("integer beyond ±(2^53−1) at byte ") && answer.contains(r#""isError":true"#));
        let expected = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error: integer beyond ±(2^53−1) at byte "#;
        pipe.say_text(&one("9007199254740993", taken)).await;
        let answer = pipe.next_text().await;
        assert!(answer.starts_with(expected), "{answer}");
        pipe.end().await;
    }
    assert_eq!((sent(&world.recorders[0]), sent(&world.recorders[1])), (vec![], vec![BEYOND.to_owned(); 2]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_meta_tool_passes_on_what_the_server_itself_would_get() {
    let (plain, exact) =
        (plain_world(Speaks::Legacy, STAFF_MAY_ALL).await, world(Speaks::Legacy, STAFF_MAY_ALL).await);
    let ask = |world: &World, arguments: Value| {
        let client = world.modern("/mcp/_gateway", ALICE);
        async move { client.call("call", arguments).await }
    };
    let answer = ask(&exact, json!({"tool": "exact__count", "args": BEYOND})).await.text();
    assert!(answer.contains(&format!("\"count\": {COUNTED}")), "{answer}");
    assert_eq!(sent(&exact.recorders[1]), [BEYOND]);
    for arguments in [
        json!({"tool": "alpha__echo", "args": BEYOND}),
        json!({"tool": "nobody__echo", "args": BEYOND}),
        json!({"tool": "exact__nope", "args": BEYOND}),
        json!({"tool": "echo", "serverId": "No Id", "args": BEYOND}),
        json!({"tool": "exact__count", "args": "9007199254740993"}),
        json!({"tool": "exact__count", "args": format!("{BEYOND}}}")}),
    ] {
        let (alone, beside) = (ask(&plain, arguments.clone()).await, ask(&exact, arguments.clone()).await);
        assert_eq!(text(&beside), text(&alone), "{arguments}");
        assert!(
            beside.text().starts_with("`args` is not a JSON object: integer beyond"),
            "{}",
            text(&beside)
        );
    }
    assert_eq!((sent(&exact.recorders[0]).len(), sent(&exact.recorders[1]).len()), (0, 1));
    plain.stop().await;
    exact.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_it_was_told_and_shows_what_it_got() {
    let world = world(Speaks::Legacy, STAFF_MAY_ALL).await;
    let config = std::fs::read_to_string(world.config_path()).expect("readable");
    let beside = world.folder.path().join("call.yaml");
    std::fs::write(&beside, format!("{config}port: {}\n", world.address().port())).expect("written");
    let ran = doorward(&beside, &["call", "exact", "count", BEYOND, "--key", ALICE, "--json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains(&format!("\n      \"count\": {COUNTED}\n")), "{}", ran.out);
    assert_eq!(sent(&world.recorders[1]), [BEYOND]);
    let ran = doorward(&beside, &["call", "alpha", "echo", BEYOND, "--key", ALICE]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("integer beyond"), "{ran:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_asked_for_reach_no_server_and_are_read_like_any_others() {
    let rules = "policies:\n  - {id: staff, name: Staff, roles: [staff], rules: [{action: allow, conditions: [{param: n, operator: lt, value: 5}]}]}\n";
    let world = world(Speaks::Modern, rules).await;
    let responses = r#"{"q":{"action":"accept","content":{"n":9007199254740993}}}"#;
    let members =
        |tool: &str| format!(r#""name":"{tool}","arguments":{{"n":1}},"inputResponses":{responses}"#);
    let alice = world.modern("/mcp", ALICE);
    let again =
        |tool: &'static str| send(&alice, "tools/call", tool, body("1", "tools/call", &members(tool), ""));
    assert_eq!(again("exact__echo").await.summary(), "200 ok");
    assert_eq!(again("alpha__echo").await.summary(), "200 request-bounds");
    let received = world.recorders[1].received();
    let call = received.iter().find(|it| it.json()["method"] == "tools/call").expect("a call");
    assert_eq!(call.json()["params"].get("inputResponses"), None, "{}", call.json());
    assert_eq!(sent(&world.recorders[0]), Vec::<String>::new());
    world.stop().await;
}

/// A gateway in front of a server with everything, which takes every integer.
async fn everything(section: String) -> World {
    let section = section.replace("{id: every,", "{id: every, numbers: exact,");
    World::start(&[], &format!("{section}{STAFF_MAY_ALL}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_pipes_gets_them_too() {
    for era in ["legacy", "modern"] {
        let pipes = Pipes::new(era);
        let world = everything(pipes.section()).await;
        let alice = world.modern("/mcp", ALICE);
        let answer = call(&alice, "every__test_simple_text", r#"{"n":9007199254740993}"#).await;
        assert_eq!(answer.summary(), "200 ok", "{}", text(&answer));
        let called = || pipes.heard().into_iter().find(|message| message["method"] == "tools/call");
        // Whoever listens in may hear it a moment after the server.
        eventually("the call is heard", async || called().is_some()).await;
        let heard = called();
        assert_eq!(heard.expect("the call")["params"]["arguments"], json!({"n": 9_007_199_254_740_993_u64}));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_with_any_integer_in_both_eras_of_the_server() {
    const ASKS: &str = "test_elicitation";
    for eras in [Eras::Legacy, Eras::Modern] {
        let host = Host::start(eras).await;
        let world = everything(host.section()).await;
        let client = world.modern("/mcp/every", ALICE).able(json!({"elicitation": {}}));
        let abilities = body("1", "tools/call", &format!(r#""name":"{ASKS}","arguments":{BEYOND}"#), "")
            .replace(r#"clientCapabilities":{}"#, r#"clientCapabilities":{"elicitation":{}}"#);
        let asked = send(&client, "tools/call", ASKS, abilities.clone()).await.json();
        let (state, requests) = (&asked["result"]["requestState"], &asked["result"]["inputRequests"]);
        let key = requests
            .as_object()
            .and_then(|requests| requests.keys().next())
            .unwrap_or_else(|| panic!("{asked}"));
        let more = format!(
            r#""arguments":{BEYOND},"requestState":{state},"inputResponses":{{"{key}":{{"action":"accept","content":{{"username":"Ana","n":9007199254740993}}}}}}"#
        );
        let more = if state.is_null() { more.replace(r#""requestState":null,"#, "") } else { more };
        let again = abilities.replace(&format!(r#""arguments":{BEYOND}"#), &more);
        // Bound to the very digits: the neighbour of an argument does not open it.
        let neighbour = again.replacen("9007199254740993", "9007199254740992", 1);
        if !state.is_null() {
            assert_eq!(
                send(&client, "tools/call", ASKS, neighbour).await.summary(),
                "200 -32602",
                "{eras:?}"
            );
        }
        let answer = send(&client, "tools/call", ASKS, again).await;
        assert!(answer.text().contains("9007199254740993"), "{eras:?} {}", text(&answer));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_argument_that_a_header_repeats_stays_within_what_headers_may_say() {
    const TOOL: &str = "test_custom_header";
    let host = Host::start(Eras::Modern).await;
    let world = everything(host.section()).await;
    for client in [world.modern("/mcp/every", ALICE), world.legacy("/mcp/every", ALICE).await] {
        let answer = call(&client, TOOL, r#"{"region":"eu","priority":9007199254740993}"#).await;
        let expected =
            "arguments.priority is an integer beyond ±(2^53−1), which header mcp-param-priority cannot say";
        assert_eq!((answer.status, answer.text()), (200, expected.to_owned()), "{}", text(&answer));
        assert_eq!(answer.json()["error"]["code"], -32602);
        assert_eq!(world.records().pop().expect("a record")["status"], "denied");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_gives_and_takes_it() {
    let world = plain_world(Speaks::Modern, STAFF_MAY_ALL).await;
    let alice = world.modern("/mcp", ALICE);
    let before = call(&alice, "exact__echo", BEYOND).await;
    assert_eq!(before.summary(), "200 request-bounds");
    set_exact(&world, true);
    assert_eq!(call(&alice, "exact__echo", BEYOND).await.summary(), "200 ok");
    set_exact(&world, false);
    let after = call(&alice, "exact__echo", BEYOND).await;
    assert_eq!((after.status, &after.body), (before.status, &before.body));
    assert_eq!(sent(&world.recorders[1]), [BEYOND]);
    world.stop().await;
}
