//! Tasks of clients without sessions: calls that go on after they were answered, at servers of the
//! other era.

use std::net::SocketAddr;
use std::time::Duration;

use doorward_everything::Eras;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::everything::{Host, Pipes};
use crate::world::tap::Tap;
use crate::world::{ALICE, BOB, Client, World, ecosystem, entries, eventually};

const RULES: &str = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// What a server is sent by whoever waits for a result.
pub const RESULT: &str = r#""method":"tasks/result""#;

async fn world(host: &Host) -> World {
    World::start(&[], &format!("{RULES}{}", host.section())).await
}

/// What a client declares that can have tasks and answer forms.
pub fn able() -> Value {
    json!({"elicitation": {}, "extensions": { EXTENSION: {} }})
}

/// Makes a call that becomes a task, and returns its handle.
pub async fn begin(client: &Client, tool: &str, arguments: Value) -> Value {
    let begun = client.call(tool, arguments).await.json()["result"].clone();
    assert_eq!(begun["resultType"], "task", "{begun}");
    for absent in ["task", "ttl", "pollInterval", "result", "inputRequests", "requestState"] {
        assert!(begun.get(absent).is_none(), "{absent}: {begun}");
    }
    begun
}

pub async fn ask(client: &Client, method: &str, task: &Value) -> Value {
    client.request(method, json!({"taskId": task["taskId"]})).await.json()
}

/// The task, as soon as its status is none of these.
async fn beyond(client: &Client, task: &Value, statuses: &[&str]) -> Value {
    for _ in 0..400 {
        let now = ask(client, "tasks/get", task).await["result"].clone();
        assert_eq!((&now["resultType"], &now["taskId"]), (&json!("complete"), &task["taskId"]), "{now}");
        if !statuses.contains(&now["status"].as_str().unwrap_or_default()) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the task goes on and on");
}

pub async fn ended(client: &Client, task: &Value) -> Value {
    beyond(client, task, &["working", "input_required"]).await
}

pub async fn asking(client: &Client, task: &Value) -> Value {
    let now = beyond(client, task, &["working"]).await;
    assert_eq!(now["status"], "input_required", "{now}");
    now["inputRequests"].clone()
}

pub async fn update(client: &Client, task: &Value, responses: Value) -> Value {
    client
        .request("tasks/update", json!({"taskId": task["taskId"], "inputResponses": responses}))
        .await
        .json()
}

pub fn accept(content: Value) -> Value {
    json!({"action": "accept", "content": content})
}

pub fn text(task: &Value) -> &str {
    task["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

/// How many calls and tasks are kept for clients that are to answer.
async fn kept(world: &World) -> String {
    suspended(world.address()).await
}

pub async fn suspended(gateway: SocketAddr) -> String {
    let metrics = Client::modern(gateway, "/metrics", ALICE);
    let text = metrics.raw(Method::GET, &metrics.headers(), Default::default()).await.body;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("doorward_suspended_calls "));
    line.expect("the metric").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_a_modern_client_becomes_a_task_of_a_legacy_server() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    for (path, prefix) in [("/mcp", "every__"), ("/mcp/every", "")] {
        let alice = world.modern(path, ALICE).able(able());
        let declared =
            alice.request("server/discover", json!({})).await.json()["result"]["capabilities"].clone();
        assert_eq!(declared["extensions"], json!({ EXTENSION: {} }), "{path}");
        assert!(declared.get("tasks").is_none(), "{declared}");
        let task = begin(&alice, &format!("{prefix}slow_compute"), json!({"seconds": 0})).await;
        assert_eq!(task["ttlMs"], 3_600_000, "what the gateway asked the server for");
        assert_eq!(task["pollIntervalMs"], 100);
        let done = ended(&alice, &task).await;
        assert_eq!((done["status"].as_str(), text(&done)), (Some("completed"), "Computed for 0 s"));
        assert_eq!(done["result"]["resultType"], "complete");
        assert!(done["result"].get("_meta").is_none(), "which task it is of, the task says: {done}");
        let task = begin(&alice, &format!("{prefix}failing_job"), json!({})).await;
        let failed = ended(&alice, &task).await;
        assert_eq!(failed["status"], "completed", "a tool that failed has answered");
        assert_eq!((&failed["result"]["isError"], text(&failed)), (&json!(true), "The job failed"));
        let task = begin(&alice, &format!("{prefix}protocol_error_job"), json!({})).await;
        let broken = ended(&alice, &task).await;
        assert_eq!(broken["status"], "failed");
        assert_eq!(broken["error"], json!({"code": -32603, "message": "The job broke"}));
        assert!(broken.get("result").is_none(), "{broken}");
    }
    let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, vec![json!("pending"); 6], "each call has its record");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_works_as_a_task_needs_a_client_that_has_tasks() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let plain = world.modern("/mcp/every", ALICE).able(json!({"elicitation": {}}));
    let refused = plain.call("failing_job", json!({})).await;
    assert_eq!(refused.summary(), "400 -32021");
    let required = json!({"requiredCapabilities": {"extensions": { EXTENSION: {} }}});
    assert_eq!(refused.json()["error"]["data"], required);
    assert_eq!(plain.call("slow_compute", json!({"seconds": 0})).await.text(), "Computed for 0 s");
    let able = plain.clone().able(able());
    let task = begin(&able, "slow_compute", json!({"seconds": 60})).await;
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        assert_eq!(ask(&plain, method, &task).await["error"]["code"], -32021, "{method}");
    }
    let stray = json!({"name": "greet", "arguments": {"name": "Ana"}, "task": {"ttl": 1}});
    assert_eq!(able.request("tools/call", stray).await.text(), "Hello, Ana!");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_its_makers_and_nobody_elses() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let (alice, bob) = (world.modern("/mcp", ALICE).able(able()), world.modern("/mcp", BOB).able(able()));
    let task = begin(&alice, "every__confirm_delete", json!({"filename": "a.txt"})).await;
    let requests = asking(&alice, &task).await;
    let key = requests.as_object().and_then(|all| all.keys().next()).expect("a question").clone();
    let unknown = json!({"code": -32602, "message": "Unknown task"});
    for method in ["tasks/get", "tasks/cancel"] {
        assert_eq!(ask(&bob, method, &task).await["error"], unknown, "{method}");
    }
    let yes = json!({ key: accept(json!({"confirm": true})) });
    assert_eq!(update(&bob, &task, yes.clone()).await["error"], unknown);
    let altered = json!({"taskId": format!("{}A", task["taskId"].as_str().expect("text"))});
    assert_eq!(ask(&alice, "tasks/get", &altered).await["error"], unknown);
    assert_eq!(asking(&alice, &task).await, requests, "what others tried has changed nothing");
    // Other capabilities than those that the server's session was opened with.
    let changed = world.modern("/mcp", ALICE).able(json!({"extensions": { EXTENSION: {} }}));
    let now = ask(&changed, "tasks/get", &task).await["result"].clone();
    assert_eq!(now["status"], "working", "a client is shown nothing that it did not offer to answer");
    assert_eq!(update(&alice, &task, yes).await["result"], json!({"resultType": "complete"}));
    assert_eq!(text(&ended(&alice, &task).await), "Deleted a.txt");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_asks_its_client_and_goes_on_when_all_is_answered() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let alice = world.modern("/mcp/every", ALICE).able(able());
    let task = begin(&alice, "multi_input", json!({})).await;
    let mut keys = Vec::new();
    eventually("both questions are there", async || {
        let requests = asking(&alice, &task).await;
        keys = requests.as_object().expect("questions").keys().cloned().collect();
        keys.len() == 2
    })
    .await;
    let requests = asking(&alice, &task).await;
    for (_, request) in requests.as_object().expect("questions") {
        assert_eq!(request["method"], "elicitation/create");
        assert!(request["params"].get("_meta").is_none(), "which task asks, the task says: {request}");
    }
    assert_eq!(kept(&world).await, "1");
    let taken_note = json!({"resultType": "complete"});
    assert_eq!(update(&alice, &task, json!({"other": accept(json!({}))})).await["result"], taken_note);
    assert_eq!(asking(&alice, &task).await, requests, "an answer to nothing is none");
    assert_eq!(update(&alice, &task, json!(7)).await["error"]["code"], -32602);
    let first = json!({ &keys[0]: accept(json!({"name": "Ana"})) });
    assert_eq!(update(&alice, &task, first).await["result"], taken_note);
    let left = asking(&alice, &task).await;
    assert_eq!(left, json!({ &keys[1]: requests[&keys[1]] }), "the other one is still open");
    let second = json!({ &keys[1]: accept(json!({"name": "Bea"})) });
    assert_eq!(update(&alice, &task, second).await["result"], taken_note);
    let done = ended(&alice, &task).await;
    assert!(text(&done).starts_with("Both answered: ") && text(&done).contains("Bea"), "{done}");
    assert_eq!(kept(&world).await, "0", "nothing is kept of it");
    let questions: Vec<_> =
        entries(world.folder.path()).into_iter().filter(|entry| entry["event"] == "question").collect();
    let call = world.records()[0]["id"].as_str().expect("an id").to_owned();
    let told: Vec<_> = questions.iter().map(Value::to_string).collect();
    assert_eq!(told.len(), 4, "two were asked and answered: {told:?}");
    assert!(told.iter().all(|told| told.contains(&call)), "{call}: {told:?}");
    assert!(!told.concat().contains("Ana"), "{told:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_asks_for_the_words_of_a_model() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let able = json!({"sampling": {}, "extensions": { EXTENSION: {} }});
    let alice = world.modern("/mcp/every", ALICE).able(able);
    let task = begin(&alice, "summarize", json!({})).await;
    let requests = asking(&alice, &task).await;
    let (key, request) = requests.as_object().and_then(|all| all.iter().next()).expect("a question");
    assert_eq!(request["method"], "sampling/createMessage");
    let words =
        json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "all is well"}});
    update(&alice, &task, json!({ key: words })).await;
    assert_eq!(text(&ended(&alice, &task).await), r#"In short: "all is well""#);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_cancelled_ends_and_its_questions_with_it() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let alice = world.modern("/mcp/every", ALICE).able(able());
    let taken_note = json!({"resultType": "complete"});
    let task = begin(&alice, "slow_compute", json!({"seconds": 60})).await;
    for _ in 0..2 {
        assert_eq!(ask(&alice, "tasks/cancel", &task).await["result"], taken_note, "as often as one likes");
        assert_eq!(ended(&alice, &task).await["status"], "cancelled");
    }
    let task = begin(&alice, "confirm_delete", json!({"filename": "a.txt"})).await;
    asking(&alice, &task).await;
    assert_eq!(ask(&alice, "tasks/cancel", &task).await["result"], taken_note);
    assert_eq!(kept(&world).await, "0");
    let now = ended(&alice, &task).await;
    assert_eq!(now["status"], "cancelled", "what was open is not taken for an answer");
    assert!(now.get("result").is_none() && now.get("error").is_none(), "{now}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_asks_first_becomes_a_task_when_it_is_answered() {
    let host = Host::start(Eras::Legacy).await;
    let world = world(&host).await;
    let alice = world.modern("/mcp/every", ALICE).able(able());
    let asks = alice.call("test_tool_with_task", json!({})).await.json()["result"].clone();
    assert_eq!(asks["resultType"], "input_required", "{asks}");
    let key = asks["inputRequests"].as_object().and_then(|all| all.keys().next()).expect("a question");
    let again = json!({
        "name": "test_tool_with_task", "arguments": {}, "requestState": asks["requestState"],
        "inputResponses": { key: accept(json!({"name": "Ana"})) },
    });
    let task = alice.request("tools/call", again).await.json()["result"].clone();
    assert_eq!(task["resultType"], "task", "{task}");
    assert_eq!(text(&ended(&alice, &task).await), "Hello, Ana!");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_one_process_ask_at_once_and_are_not_taken_for_each_other() {
    let pipes = Pipes::new("legacy");
    let world = World::start(&[], &format!("{RULES}{}", pipes.section())).await;
    let (alice, bob) =
        (world.modern("/mcp/every", ALICE).able(able()), world.modern("/mcp/every", BOB).able(able()));
    let of_alice = begin(&alice, "confirm_delete", json!({"filename": "a.txt"})).await;
    let of_bob = begin(&bob, "confirm_delete", json!({"filename": "b.txt"})).await;
    for (client, task, file) in [(&alice, &of_alice, "a.txt"), (&bob, &of_bob, "b.txt")] {
        let requests = asking(client, task).await;
        let (_, request) = requests.as_object().and_then(|all| all.iter().next()).expect("a question");
        assert_eq!(request["params"]["message"], format!("Delete {file}?"));
    }
    // A call that asks, and one beside it, which is sent to another process.
    let asks = alice.call("test_input_required_result_elicitation", json!({})).await.json();
    assert_eq!(asks["result"]["resultType"], "input_required", "{asks}");
    assert_eq!(alice.call("greet", json!({"name": "Ana"})).await.text(), "Hello, Ana!");
    for (client, task, yes, said) in
        [(&bob, &of_bob, true, "Deleted b.txt"), (&alice, &of_alice, false, "Kept a.txt")]
    {
        let requests = asking(client, task).await;
        let key = requests.as_object().and_then(|all| all.keys().next()).expect("a question").clone();
        update(client, task, json!({ key: accept(json!({ "confirm": yes })) })).await;
        assert_eq!(text(&ended(client, task).await), said);
    }
    let waits = |heard: &[Value]| heard.iter().filter(|it| it["method"] == "tasks/result").count();
    // What a server has read and answered is written down a moment later.
    eventually("all is written down", async || waits(&pipes.heard()) >= 4).await;
    world.stop().await;
    let heard = pipes.heard();
    let calls: Vec<_> = heard.iter().filter(|it| it["params"]["name"] == "confirm_delete").collect();
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert_eq!(call["params"]["task"], json!({"ttl": 3_600_000}), "{call}");
    }
    let ids: Vec<_> = heard.iter().filter_map(|it| it["params"]["taskId"].as_str()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| of_alice["taskId"] != **id && of_bob["taskId"] != **id));
    assert_eq!(waits(&heard), 4, "each is waited for while it asks, and asked for when it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_said_of_a_task_before_its_result_came_does_not_begin_it_anew() {
    let mut host = Host::start(Eras::Legacy).await;
    let (address, tap) = Tap::before(host.address).await;
    host.address = address;
    let world = world(&host).await;
    let alice = world.modern("/mcp/every", ALICE).able(able());
    let task = begin(&alice, "confirm_delete", json!({"filename": "a.txt"})).await;
    let requests = asking(&alice, &task).await;
    let key = requests.as_object().and_then(|all| all.keys().next()).expect("a question").clone();
    let mut held = tap.hold("tasks/get");
    let looks = {
        tokio::spawn({
            let (alice, task) = (alice.clone(), task.clone());
            async move { ask(&alice, "tasks/get", &task).await }
        })
    };
    held.answered().await;
    update(&alice, &task, json!({ key: accept(json!({"confirm": true})) })).await;
    assert_eq!(text(&ended(&alice, &task).await), "Deleted a.txt");
    drop(held);
    let late = looks.await.expect("an answer");
    assert_eq!(late["result"]["status"], "working", "{late}");
    assert_eq!(tap.count(RESULT), 2, "it was waited for, and asked for when it was there");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_reference_server_asks_a_modern_client() {
    let server = ecosystem::node_server("server-everything");
    let servers =
        format!("servers:\n  - {{id: every, command: node, args: [\"{server}\"], enabled: true}}\n");
    let world = World::start(&[], &format!("{RULES}{servers}")).await;
    let alice = world.modern("/mcp/every", ALICE).able(able());
    let arguments = json!({"topic": "python", "ambiguous": true});
    let task = begin(&alice, "simulate-research-query", arguments).await;
    let requests = asking(&alice, &task).await;
    let (key, request) = requests.as_object().and_then(|all| all.iter().next()).expect("a question");
    let choices = &request["params"]["requestedSchema"]["properties"]["interpretation"]["oneOf"];
    let choice = choices[0]["const"].as_str().expect("a choice");
    update(&alice, &task, json!({ key: accept(json!({ "interpretation": choice })) })).await;
    let done = ended(&alice, &task).await;
    assert!(text(&done).starts_with(&format!("# Research Report: python ({choice})")), "{done}");
    assert!(done["result"].get("_meta").is_none(), "{done}");
    assert_eq!(kept(&world).await, "0");
    world.stop().await;
}
