//! Servers that ask: every pair of eras, and what nobody gets by pretending.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use doorward_everything::{Eras, Everything, http};
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::program::free_port;
use crate::world::http::Events;
use crate::world::{ALICE, Answer, BOB, Client, World, ecosystem, entries, eventually};

const RULES: &str = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
/// Asks for a name, and greets.
const ASKS: &str = "test_input_required_result_elicitation";

/// A gateway in front of a server that asks in the way of its era.
async fn world(eras: Eras) -> World {
    before(&Arc::new(Everything::new(eras))).await
}

async fn before(server: &Arc<Everything>) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    tokio::spawn(http::serve(listener, Arc::clone(server)));
    let server = format!("  - {{id: every, url: \"http://{address}{}\", enabled: true}}\n", http::PATH);
    World::start(&[], &format!("servers:\n{server}{RULES}")).await
}

fn everything() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

fn name(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

/// Opens a call whose answer comes as a stream.
async fn open(client: &Client, id: u32, tool: &str) -> Events {
    let params = json!({"name": tool, "arguments": {}});
    let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    client.events(Method::POST, &call).await
}

async fn reply(client: &Client, question: &Value, result: Value) {
    let message = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
    assert_eq!(client.post(&message).await.status, 202);
}

/// Makes a call again, with answers.
async fn again(client: &Client, tool: &str, state: &Value, responses: Value) -> Answer {
    let mut params = json!({"name": tool, "arguments": {}, "inputResponses": responses});
    if !state.is_null() {
        params["requestState"] = state.clone();
    }
    client.request("tools/call", params).await
}

/// The one question of a result, with its key.
fn asked(answer: &Answer) -> (String, Value, Value) {
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{result}");
    let requests = result["inputRequests"].as_object().expect("questions");
    let (key, question) = requests.iter().next().expect("a question");
    (key.clone(), question.clone(), result["requestState"].clone())
}

/// The outcomes on record, oldest first, and what the log says of questions.
fn evidence(world: &World) -> (Vec<String>, Vec<String>) {
    let outcomes = world.records();
    let outcomes = outcomes.iter().map(|record| record["outcome"].as_str().unwrap_or("?").to_owned());
    let questions = entries(world.folder.path())
        .into_iter()
        .filter(|entry| entry["event"] == "question")
        .map(|entry| entry.to_string())
        .collect();
    (outcomes.collect(), questions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_session_is_asked_on_the_stream_of_its_call() {
    for eras in [Eras::Legacy, Eras::Modern] {
        let world = world(eras).await;
        let client = Client::legacy_able(world.address(), "/mcp", ALICE, "2025-11-25", everything()).await;
        let mut stream = open(&client, 7, &format!("every__{ASKS}")).await;
        let question = stream.next().await;
        assert_eq!(question["method"], "elicitation/create", "{eras:?}");
        assert_eq!(question["params"]["message"], "What is your name?");
        reply(&client, &question, name("Ana")).await;
        let answer = stream.next().await;
        assert_eq!(answer["id"], 7);
        assert_eq!(answer["result"]["content"][0]["text"], "Hello, Ana!", "{eras:?}");
        let (outcomes, questions) = evidence(&world);
        assert_eq!(outcomes, ["success"], "one call, however often the server was called");
        assert_eq!(questions.len(), 1, "{questions:?}");
        assert!(questions[0].contains("accept") && !questions[0].contains("Ana"), "{questions:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_session_is_asked_by_the_answer() {
    for eras in [Eras::Legacy, Eras::Modern] {
        let world = world(eras).await;
        let tool = format!("every__{ASKS}");
        let client = world.modern("/mcp", ALICE).able(everything());
        let (key, question, state) = asked(&client.call(&tool, json!({})).await);
        assert_eq!(question["method"], "elicitation/create", "{eras:?}");
        let answer = again(&client, &tool, &state, json!({key: name("Ana")})).await;
        assert_eq!(answer.text(), "Hello, Ana!", "{eras:?}");
        assert_eq!(answer.json()["result"]["resultType"], "complete");
        let (outcomes, questions) = evidence(&world);
        assert_eq!(outcomes, ["input_required", "success"], "each round is a call of its own");
        assert!(!questions.is_empty() && !questions.concat().contains("Ana"), "{questions:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_carries_is_good_for_its_own_call_only() {
    for eras in [Eras::Legacy, Eras::Modern] {
        let world = world(eras).await;
        let path = "/mcp/every";
        let (alice, bob) = (world.modern(path, ALICE), world.modern(path, BOB));
        let (alice, bob) = (alice.able(everything()), bob.able(everything()));
        let (key, _, state) = asked(&alice.call(ASKS, json!({})).await);
        let responses = json!({key: name("Ana")});
        let refused = [
            again(&bob, ASKS, &state, responses.clone()).await,
            again(&alice, "test_simple_text", &state, responses.clone()).await,
            again(&alice, ASKS, &json!(format!("{}A", state.as_str().expect("text"))), responses.clone()).await,
            again(&alice, ASKS, &json!(7), responses.clone()).await,
            alice
                .request(
                    "tools/call",
                    json!({"name": ASKS, "arguments": {"x": 1}, "requestState": state, "inputResponses": responses}),
                )
                .await,
        ];
        for answer in refused {
            assert_eq!(answer.summary(), "200 -32602", "{eras:?}");
        }
        let answer = again(&alice, ASKS, &state, responses.clone()).await;
        assert_eq!(answer.text(), "Hello, Ana!", "what others tried has changed nothing");
        if eras == Eras::Legacy {
            let late = again(&alice, ASKS, &state, responses).await;
            assert!(late.text().contains("expired"), "{}", late.text());
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_what_it_did_not_offer_to_answer() {
    for eras in [Eras::Legacy, Eras::Modern] {
        let world = world(eras).await;
        let tool = "test_input_required_result_capabilities";
        for (capabilities, methods) in [
            (json!({}), vec![]),
            (json!({"sampling": {}}), vec!["sampling/createMessage"]),
            (json!({"roots": {}, "tasks": {}}), vec!["roots/list"]),
        ] {
            let client = world.modern("/mcp/every", ALICE).able(capabilities.clone());
            let result = &client.call(tool, json!({})).await.json()["result"];
            let requests = result["inputRequests"].as_object().cloned().unwrap_or_default();
            let asked: Vec<_> = requests.values().map(|request| request["method"].clone()).collect();
            assert_eq!(asked, methods, "{capabilities} {eras:?}");
        }
        let deaf = world.legacy("/mcp/every", ALICE).await;
        assert_eq!(deaf.call(tool, json!({})).await.text(), "Answered: 0", "{eras:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_withdrawn_takes_its_question_back() {
    let world = world(Eras::Legacy).await;
    let client = Client::legacy_able(world.address(), "/mcp/every", ALICE, "2025-11-25", everything()).await;
    let mut stream = open(&client, 9, ASKS).await;
    let question = stream.next().await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}});
    assert_eq!(client.post(&cancel).await.status, 202);
    let taken_back = stream.next().await;
    assert_eq!(taken_back["method"], "notifications/cancelled");
    assert_eq!(taken_back["params"]["requestId"], question["id"]);
    reply(&client, &question, name("Ana")).await;
    eventually("the call is on record as cancelled", async || evidence(&world).0 == ["cancelled"]).await;
    assert_eq!(client.call("test_simple_text", json!({})).await.status, 200, "and the next call works");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_in_the_same_breath_as_an_answer_is_heard_before_it() {
    let world = world(Eras::Legacy).await;
    let client = Client::modern(world.address(), "/mcp/every", ALICE).able(everything());
    let params = json!({"name": "test_elicitation_then_work", "arguments": {"seconds": 0}, "_meta": {"progressToken": "p"}});
    for turn in 0..50 {
        let (key, _, state) = asked(&client.request("tools/call", params.clone()).await);
        let mut back = params.clone();
        (back["requestState"], back["inputResponses"]) = (state, json!({key: name("Ada")}));
        let told = client.request("tools/call", back).await;
        let said = String::from_utf8_lossy(&told.body).into_owned();
        assert!(said.contains("notifications/progress"), "turn {turn}: {said}");
        assert_eq!(told.text(), "Hello, Ada!");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_call_is_not_made_anew_for_a_client_that_declares_less_than_before() {
    let world = world(Eras::Legacy).await;
    let client = Client::modern(world.address(), "/mcp/every", ALICE).able(everything());
    let (key, _, state) = asked(&client.call(ASKS, json!({})).await);
    let silent = client.able(json!({}));
    let done = again(&silent, ASKS, &state, json!({key: name("Ada")})).await;
    assert_eq!(done.text(), "Hello, Ada!", "it went on");
    assert_eq!(evidence(&world).0, ["input_required", "success"]);
    world.stop().await;
}

/// What the user is to open, as both eras say it.
fn page() -> Value {
    json!({"mode": "url", "message": "Please sign in", "url": "https://sign.in.example/please"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_to_open_reaches_clients_of_either_era() {
    let accepted = json!({"action": "accept"});
    let pages = json!({"elicitation": {"url": {}}});
    for eras in [Eras::Legacy, Eras::Modern] {
        let world = world(eras).await;
        let modern = world.modern("/mcp/every", ALICE).able(pages.clone());
        let (key, question, state) = asked(&modern.call("sign_in", json!({})).await);
        assert_eq!(question, json!({"method": "elicitation/create", "params": page()}), "{eras:?}");
        let answer = again(&modern, "sign_in", &state, json!({ key: accepted.clone() })).await;
        assert_eq!(answer.text(), "Page: action=accept, content=null", "{eras:?}");

        let legacy =
            Client::legacy_able(world.address(), "/mcp/every", ALICE, "2025-11-25", pages.clone()).await;
        let mut call = open(&legacy, 7, "sign_in").await;
        let mut question = call.next().await;
        let id = question["params"].as_object_mut().and_then(|params| params.remove("elicitationId"));
        assert!(id.as_ref().and_then(Value::as_str).is_some_and(|id| !id.is_empty()), "{question}");
        assert_eq!(question["params"], page(), "{eras:?}");
        reply(&legacy, &question, accepted.clone()).await;
        let answer = call.next().await;
        assert_eq!(answer["result"]["content"][0]["text"], "Page: action=accept, content=null", "{answer}");

        // Who can fill in forms cannot open pages.
        let forms = world.modern("/mcp/every", ALICE).able(json!({"elicitation": {}}));
        let refused = forms.call("sign_in", json!({})).await;
        assert!(refused.json()["result"]["resultType"] != "input_required", "{}", refused.text());
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_must_be_opened_first_is_a_question_in_the_newer_era() {
    let world = world(Eras::Legacy).await;
    let pages = json!({"elicitation": {"url": {}}});
    let modern = world.modern("/mcp/every", ALICE).able(pages.clone());
    let first = modern.call("needs_sign_in", json!({})).await;
    let (key, question, state) = asked(&first);
    assert_eq!(question, json!({"method": "elicitation/create", "params": page()}));
    // Made again, the call is sent anew; this server is never content.
    let second = again(&modern, "needs_sign_in", &state, json!({ key: {"action": "accept"} })).await;
    let (_, question, _) = asked(&second);
    assert_eq!(question["params"], page());

    let unable = world.modern("/mcp/every", ALICE).call("needs_sign_in", json!({})).await;
    assert_eq!(unable.summary(), "400 -32021");
    let required = &unable.json()["error"]["data"]["requiredCapabilities"];
    assert_eq!(*required, json!({"elicitation": {"url": {}}}));

    let legacy = Client::legacy_able(world.address(), "/mcp/every", ALICE, "2025-11-25", pages).await;
    let error = legacy.call("needs_sign_in", json!({})).await.json()["error"].clone();
    assert_eq!((&error["code"], &error["data"]["elicitations"][0]["url"]), (&json!(-32042), &page()["url"]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_takes_back_nobody_need_answer() {
    let server = Arc::new(Everything::new(Eras::Legacy));
    let world = before(&server).await;
    let tool = format!("every__{ASKS}");
    let taken_back = r#"No name: "taken back""#;

    let legacy = Client::legacy_able(world.address(), "/mcp", ALICE, "2025-11-25", everything()).await;
    let mut stream = open(&legacy, 7, &tool).await;
    let question = stream.next().await;
    assert_eq!(question["method"], "elicitation/create");
    server.take_back();
    let cancelled = stream.next().await;
    assert_eq!(cancelled["method"], "notifications/cancelled", "{cancelled}");
    assert_eq!(cancelled["params"]["requestId"], question["id"], "in the words of this session");
    let answer = stream.next().await;
    assert_eq!(answer["result"]["content"][0]["text"], taken_back, "{answer}");
    // One that was under way already is nobody's.
    let late = json!({"jsonrpc": "2.0", "id": question["id"], "result": name("Ana")});
    assert_eq!(legacy.post(&late).await.status, 202);

    let modern = world.modern("/mcp", ALICE).able(everything());
    let (key, _, state) = asked(&modern.call(&tool, json!({})).await);
    server.take_back();
    let answer = again(&modern, &tool, &state, json!({key: name("Ana")})).await;
    assert_eq!(answer.text(), taken_back, "what it learns of by coming back");

    let (outcomes, questions) = evidence(&world);
    assert_eq!(outcomes, ["success", "input_required", "success"]);
    assert!(questions[0].contains("withdrawn"), "{questions:?}");
    world.stop().await;
}

/// A server of the Python SDK over HTTP+SSE, until it is dropped, and how a configuration
/// names it.
async fn over_events() -> (Child, String) {
    let port = free_port();
    let child = Command::new(ecosystem::folder().join("python-sdk-1/bin/python"))
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/servers/asks_over_events.py"))
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Python starts");
    eventually("the server listens", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    let url = format!("http://127.0.0.1:{port}/sse");
    (child, format!("servers:\n  - {{id: asks, url: \"{url}\", transport: sse, enabled: true}}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_the_oldest_transport_asks_clients_of_either_era() {
    let (_server, section) = over_events().await;
    let world = World::start(&[], &format!("{section}{RULES}")).await;
    let modern = world.modern("/mcp", ALICE).able(everything());
    for (answer, said) in [(name("Ada"), "Hello, Ada!"), (json!({"action": "decline"}), "So: decline")] {
        let (key, question, state) = asked(&modern.call("asks__greet", json!({})).await);
        assert_eq!(question["params"]["message"], "Who are you?", "{question}");
        assert_eq!(again(&modern, "asks__greet", &state, json!({ key: answer })).await.text(), said);
    }
    let legacy = Client::legacy_able(world.address(), "/mcp", ALICE, "2025-06-18", everything()).await;
    let mut call = open(&legacy, 5, "asks__greet").await;
    let question = call.next().await;
    assert_eq!(question["params"]["message"], "Who are you?", "{question}");
    reply(&legacy, &question, name("Bo")).await;
    assert_eq!(call.next().await["result"]["content"][0]["text"], "Hello, Bo!");
    world.stop().await;
}

/// Two users of one child: one asks it for something and leaves, the other waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_asks_that_was_given_up_is_put_to_nobody_else() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/asks_whoever_is_left.py");
    for tool in ["ask_now", "ask_late"] {
        let folder = tempfile::tempdir().expect("a folder");
        let noted = folder.path().join("called");
        let called = async |tool: &str| {
            let has_it = || std::fs::read_to_string(&noted).unwrap_or_default().lines().any(|it| it == tool);
            eventually("the call is at its server", async || has_it()).await;
        };
        let args = format!("[\"{script}\", \"{}\"]", noted.display());
        let server = format!("servers:\n  - {{id: asks, command: python3, args: {args}, enabled: true}}\n");
        let world = World::start(&[], &format!("{server}{RULES}")).await;
        let able = async |key| {
            Client::legacy_able(world.address(), "/mcp/asks", key, "2025-06-18", everything()).await
        };
        let (alice, bob) = (able(ALICE).await, able(BOB).await);
        let params = json!({"name": tool, "arguments": {}});
        let call = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params});
        let leaves = async {
            called("wait").await;
            let cancels = async {
                called(tool).await;
                let params = json!({"requestId": 9});
                let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
                assert_eq!(alice.post(&cancel).await.status, 202);
            };
            tokio::join!(alice.post(&call), cancels)
        };
        let waits = tokio::time::timeout(Duration::from_secs(10), bob.call("wait", json!({})));
        let (heard, _) = tokio::join!(waits, leaves);
        let heard = heard.expect("he is asked nothing, and so has an answer");
        assert_eq!(heard.text(), "refused", "{tool}: {}", String::from_utf8_lossy(&heard.body));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_asks_without_end_is_ended_and_so_is_what_is_noted_of_it() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/servers/asks_without_end.py");
    let server =
        format!("servers:\n  - {{id: asks, command: python3, args: [\"{script}\"], enabled: true}}\n");
    // What they offer to answer is not what they are asked, so that nobody is asked anything.
    let roots = json!({"roots": {}});
    for is_modern in [false, true] {
        let world = World::start(&[], &format!("{server}{RULES}")).await;
        let client = if is_modern {
            world.modern("/mcp", ALICE).able(roots.clone())
        } else {
            Client::legacy_able(world.address(), "/mcp", ALICE, "2025-06-18", roots.clone()).await
        };
        let answer = client.call("asks__ask", json!({})).await;
        assert_eq!(answer.json()["result"]["isError"], true, "{}", answer.text());
        assert!(answer.text().contains("asks and asks"), "{}", answer.text());
        let (outcomes, questions) = evidence(&world);
        assert_eq!(outcomes, ["upstream_error"]);
        assert!(questions.len() <= 256, "{}", questions.len());
        world.stop().await;
    }
}
