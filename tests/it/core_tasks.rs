//! Tasks of clients with sessions, at servers of either era.

use doorward_everything::Eras;
use hyper::Method;
use serde_json::{Value, json};

use crate::world::everything::{Host, Pipes};
use crate::world::http::Events;
use crate::world::{ALICE, BOB, Client, World, entries};

const RULES: &str = "policies:\n  - {id: all, name: All, roles: [staff, guest], rules: [{action: allow}]}\n";
const RELATED: &str = "io.modelcontextprotocol/related-task";
const BOTH: [Eras; 2] = [Eras::Legacy, Eras::Modern];

async fn world(host: &Host) -> World {
    World::start(&[], &format!("{RULES}{}", host.section())).await
}

async fn client(world: &World, key: &str) -> Client {
    let able = json!({"elicitation": {}});
    Client::legacy_able(world.address(), "/mcp/every", key, "2025-11-25", able).await
}

async fn call(client: &Client, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments, "task": {"ttl": 60_000}});
    client.request("tools/call", params).await.json()
}

/// Makes a call that becomes a task, and returns the task.
async fn begin(client: &Client, tool: &str, arguments: Value) -> Value {
    let answer = call(client, tool, arguments).await;
    let task = answer["result"]["task"].clone();
    assert!(task["taskId"].is_string() && answer["result"]["resultType"].is_null(), "{answer}");
    for absent in ["ttlMs", "pollIntervalMs", "resultType", "result", "inputRequests"] {
        assert!(task.get(absent).is_none(), "{absent}: {answer}");
    }
    task
}

async fn ask(client: &Client, method: &str, task: &Value) -> Value {
    client.request(method, json!({"taskId": task["taskId"]})).await.json()
}

/// Waits for the result of a task on a stream of its own.
async fn wait(client: &Client, task: &Value) -> Events {
    let params = json!({"taskId": task["taskId"]});
    let message = json!({"jsonrpc": "2.0", "id": 9, "method": "tasks/result", "params": params});
    client.events(Method::POST, &message).await
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_session_gets_tasks_of_a_server_of_either_era() {
    for eras in BOTH {
        let host = Host::start(eras).await;
        let world = world(&host).await;
        let (alice, bob) = (client(&world, ALICE).await, client(&world, BOB).await);
        let cases = [
            ("slow_compute", "completed", "Computed for 0 s", Value::Null),
            ("failing_job", "failed", "The job failed", json!(true)),
        ];
        for (tool, status, said, is_error) in cases {
            let task = begin(&alice, tool, json!({"seconds": 0})).await;
            let result = ask(&alice, "tasks/result", &task).await;
            assert_eq!(
                (text(&result), &result["result"]["isError"]),
                (said, &is_error),
                "{eras:?}: {result}"
            );
            assert_eq!(result["result"]["_meta"][RELATED]["taskId"], task["taskId"]);
            assert!(result["result"].get("resultType").is_none(), "{result}");
            let now = ask(&alice, "tasks/get", &task).await["result"].clone();
            assert_eq!((&now["status"], &now["taskId"]), (&json!(status), &task["taskId"]), "{eras:?}");
            assert_eq!(now["pollInterval"], 100);
            assert!(now["ttl"].is_u64() && now["createdAt"].is_string(), "{now}");
            assert_eq!(ask(&alice, "tasks/cancel", &task).await["error"]["code"], -32602, "it has ended");
            for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
                let unknown = json!({"code": -32602, "message": "Unknown task"});
                assert_eq!(ask(&bob, method, &task).await["error"], unknown, "{method}");
            }
        }
        let task = begin(&alice, "protocol_error_job", json!({})).await;
        let error = ask(&alice, "tasks/result", &task).await["error"].clone();
        assert_eq!((&error["code"], &error["message"]), (&json!(-32603), &json!("The job broke")));
        assert_eq!(ask(&alice, "tasks/list", &task).await["error"]["code"], -32601);
        let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
        assert_eq!(outcomes, vec![json!("pending"); 3], "{eras:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_learns_which_tools_can_become_tasks() {
    for eras in BOTH {
        let host = Host::start(eras).await;
        let world = world(&host).await;
        let alice = client(&world, ALICE).await;
        let mut headers = alice.headers();
        headers.remove("mcp-session-id");
        let info = json!({"name": "test", "version": "1"});
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
        let open = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let opened = alice.raw(Method::POST, &headers, open.to_string().into()).await.json();
        let declared = opened["result"]["capabilities"]["tasks"].clone();
        assert_eq!(declared, json!({"cancel": {}, "requests": {"tools": {"call": {}}}}), "{eras:?}");
        let tools = alice.request("tools/list", json!({})).await.json()["result"]["tools"].clone();
        let tools = tools.as_array().expect("tools");
        let execution =
            |name: &str| tools.iter().find(|tool| tool["name"] == name).expect(name)["execution"].clone();
        assert_eq!(execution("slow_compute"), json!({"taskSupport": "optional"}), "{eras:?}");
        let greet = if eras == Eras::Modern { json!({"taskSupport": "optional"}) } else { Value::Null };
        assert_eq!(execution("greet"), greet, "a modern server does not say which");
        let older = Client::legacy(world.address(), "/mcp/every", ALICE, "2025-06-18").await;
        let tools = older.request("tools/list", json!({})).await.json()["result"]["tools"].clone();
        assert!(tools.as_array().expect("tools").iter().all(|tool| tool.get("execution").is_none()));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_the_result_of_a_task_is_asked() {
    for eras in BOTH {
        let host = Host::start(eras).await;
        let world = world(&host).await;
        let alice = client(&world, ALICE).await;
        let task = begin(&alice, "confirm_delete", json!({"filename": "a.txt"})).await;
        let mut stream = wait(&alice, &task).await;
        let question = stream.next().await;
        assert_eq!(question["method"], "elicitation/create", "{eras:?}: {question}");
        assert_eq!(question["params"]["message"], "Delete a.txt?");
        assert_eq!(question["params"]["_meta"][RELATED], json!({"taskId": task["taskId"]}), "{eras:?}");
        let answer = json!({"action": "accept", "content": {"confirm": true}});
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": answer});
        assert_eq!(alice.post(&answer).await.status, 202);
        let result = stream.next().await;
        assert_eq!((&result["id"], text(&result)), (&json!(9), "Deleted a.txt"), "{eras:?}: {result}");
        let events = entries(world.folder.path());
        let questions: Vec<_> = events.iter().filter(|entry| entry["event"] == "question").collect();
        let call = world.records()[0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(questions.len(), 1);
        assert!(questions[0].to_string().contains(&call) && questions[0].to_string().contains("accept"));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_session_is_cancelled_once() {
    for eras in BOTH {
        let host = Host::start(eras).await;
        let world = world(&host).await;
        let alice = client(&world, ALICE).await;
        let task = begin(&alice, "slow_compute", json!({"seconds": 60})).await;
        let cancelled = ask(&alice, "tasks/cancel", &task).await["result"].clone();
        assert_eq!((&cancelled["status"], &cancelled["taskId"]), (&json!("cancelled"), &task["taskId"]));
        assert_eq!(ask(&alice, "tasks/cancel", &task).await["error"]["code"], -32602, "{eras:?}");
        assert_eq!(ask(&alice, "tasks/result", &task).await["error"]["code"], -32602, "{eras:?}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_modern_server_answers_at_once_is_kept_for_a_client_that_wanted_a_task() {
    let pipes = Pipes::new("modern");
    let world = World::start(&[], &format!("{RULES}{}", pipes.section())).await;
    let (alice, bob) = (client(&world, ALICE).await, client(&world, BOB).await);
    let task = begin(&alice, "greet", json!({"name": "Ana"})).await;
    assert_eq!((&task["status"], &task["ttl"]), (&json!("completed"), &json!(3_600_000)));
    for _ in 0..2 {
        let result = ask(&alice, "tasks/result", &task).await;
        assert_eq!(text(&result), "Hello, Ana!");
        assert_eq!(result["result"]["structuredContent"]["greeting"], "Hello, Ana!");
        assert_eq!(result["result"]["_meta"][RELATED]["taskId"], task["taskId"]);
    }
    assert_eq!(ask(&alice, "tasks/get", &task).await["result"], task);
    assert_eq!(ask(&alice, "tasks/cancel", &task).await["error"]["code"], -32602);
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(ask(&bob, method, &task).await["error"]["message"], "Unknown task", "{method}");
    }
    let plain = json!({"name": "slow_compute", "arguments": {"seconds": 0}});
    assert_eq!(alice.request("tools/call", plain).await.text(), "Computed for 0 s");
    let heard = pipes.heard();
    let of = |name: &str| {
        heard.iter().find(|it| it["params"]["name"] == name).expect("it was called")["params"].clone()
    };
    let told = |params: &Value| params["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone();
    let (wanted, plain) = (of("greet"), of("slow_compute"));
    assert!(wanted.get("task").is_none(), "that means nothing there: {wanted}");
    assert!(told(&wanted)["extensions"]["io.modelcontextprotocol/tasks"].is_object(), "{wanted}");
    assert_eq!(told(&plain), json!({"elicitation": {}}), "who wants no task, has none");
    let outcomes: Vec<_> = world.records().iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["success", "success"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_modern_server_ends_when_its_model_does_not_answer() {
    let host = Host::start(Eras::Modern).await;
    let world = world(&host).await;
    let alice = client(&world, ALICE).await;
    let task = begin(&alice, "summarize", json!({})).await;
    let refused = ask(&alice, "tasks/result", &task).await["error"].clone();
    assert_eq!(refused["code"], -32603, "it was never said that there is one: {refused}");
    assert_eq!(ask(&alice, "tasks/get", &task).await["result"]["status"], "cancelled");
    let able = json!({"sampling": {}});
    let alice = Client::legacy_able(world.address(), "/mcp/every", ALICE, "2025-11-25", able).await;
    let task = begin(&alice, "summarize", json!({})).await;
    let mut stream = wait(&alice, &task).await;
    let question = stream.next().await;
    assert_eq!(question["method"], "sampling/createMessage");
    let error = json!({"code": -1, "message": "the user said no"});
    assert_eq!(
        alice.post(&json!({"jsonrpc": "2.0", "id": question["id"], "error": error})).await.status,
        202
    );
    assert_eq!(stream.next().await["error"], error);
    assert_eq!(ask(&alice, "tasks/get", &task).await["result"]["status"], "cancelled");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_modern_server_that_asks_and_asks_is_ended() {
    let host = Host::start(Eras::Modern).await;
    let world = world(&host).await;
    // Whoever cannot be asked is answered for, so that nobody is slow.
    let alice = Client::legacy(world.address(), "/mcp/every", ALICE, "2025-11-25").await;
    let task = begin(&alice, "nosy_job", json!({})).await;
    let ended = ask(&alice, "tasks/result", &task).await["error"].clone();
    assert!(ended["message"].as_str().is_some_and(|text| text.contains("asks and asks")), "{ended}");
    assert_eq!(ask(&alice, "tasks/get", &task).await["result"]["status"], "cancelled");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_taken_back_when_nobody_waits_for_the_result_any_more() {
    for eras in BOTH {
        let host = Host::start(eras).await;
        let world = world(&host).await;
        let alice = client(&world, ALICE).await;
        let task = begin(&alice, "confirm_delete", json!({"filename": "a.txt"})).await;
        let mut stream = wait(&alice, &task).await;
        let question = stream.next().await;
        let cancel =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}});
        assert_eq!(alice.post(&cancel).await.status, 202);
        let taken_back = stream.next().await;
        assert_eq!(taken_back["method"], "notifications/cancelled", "{eras:?}");
        assert_eq!(taken_back["params"]["requestId"], question["id"]);
        world.stop().await;
    }
}
