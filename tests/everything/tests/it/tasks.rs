//! Tasks, in their two forms that have nothing in common but the name.

use serde_json::{Value, json};

use crate::client::{Client, call, text};

const RELATED: &str = "io.modelcontextprotocol/related-task";

async fn legacy() -> Client {
    Client::legacy("2025-11-25", json!({"elicitation": {}})).await
}

fn as_task(name: &str, arguments: Value) -> Value {
    json!({"name": name, "arguments": arguments, "task": {"ttl": 60_000}})
}

/// The next message that is no notice about a task.
async fn next(client: &mut Client) -> Value {
    loop {
        let message = client.read().await;
        if message["method"] != "notifications/tasks/status" {
            return message;
        }
    }
}

async fn ask(client: &mut Client, method: &str, params: Value) -> Value {
    client.send(method, params).await;
    next(client).await
}

#[tokio::test]
async fn a_session_waits_for_the_result_of_a_task_and_is_asked_meanwhile() {
    let mut client = legacy().await;
    let begun = ask(&mut client, "tools/call", as_task("confirm_delete", json!({"filename": "a.txt"}))).await;
    let task = begun["result"]["task"].clone();
    assert_eq!(task["ttl"], 60_000, "{begun}");
    let id = json!({"taskId": task["taskId"]});
    let question = ask(&mut client, "tasks/result", id.clone()).await;
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["_meta"][RELATED], id);
    let shown = ask(&mut client, "tasks/get", id.clone()).await;
    assert_eq!(shown["result"]["status"], "input_required");
    let accept = json!({"action": "accept", "content": {"confirm": true}});
    client.write(&json!({"jsonrpc": "2.0", "id": question["id"], "result": accept})).await;
    let ended = next(&mut client).await;
    assert_eq!(text(&ended["result"]), "Deleted a.txt");
    assert_eq!(ended["result"]["_meta"][RELATED], id);
    assert_eq!(ask(&mut client, "tasks/get", id.clone()).await["result"]["status"], "completed");
    let listed = ask(&mut client, "tasks/list", json!({})).await;
    assert_eq!(listed["result"]["tasks"][0]["taskId"], id["taskId"]);
    assert_eq!(ask(&mut client, "tasks/cancel", id).await["error"]["code"], -32602, "it has ended");
}

#[tokio::test]
async fn a_task_of_a_session_ends_in_many_ways() {
    let mut client = legacy().await;
    let cases = [
        (as_task("failing_job", json!({})), "failed", "result"),
        (as_task("protocol_error_job", json!({})), "failed", "error"),
        (as_task("slow_compute", json!({"seconds": 0})), "completed", "result"),
    ];
    for (params, status, outcome) in cases {
        let begun = ask(&mut client, "tools/call", params.clone()).await;
        let id = json!({"taskId": begun["result"]["task"]["taskId"]});
        let ended = ask(&mut client, "tasks/result", id.clone()).await;
        assert!(!ended[outcome].is_null(), "{params}: {ended}");
        assert_eq!(ask(&mut client, "tasks/get", id).await["result"]["status"], status, "{params}");
    }
    let begun = ask(&mut client, "tools/call", as_task("slow_compute", json!({"seconds": 3600}))).await;
    let id = json!({"taskId": begun["result"]["task"]["taskId"]});
    assert_eq!(ask(&mut client, "tasks/cancel", id.clone()).await["result"]["status"], "cancelled");
    assert_eq!(ask(&mut client, "tasks/result", id).await["error"]["code"], -32602);
    for (params, why) in [(call("failing_job"), "required"), (as_task("greet", json!({})), "forbidden")] {
        assert_eq!(ask(&mut client, "tools/call", params).await["error"]["code"], -32601, "{why}");
    }
}

#[tokio::test]
async fn a_modern_client_polls_and_answers_one_at_a_time() {
    let mut client =
        Client::modern(json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}));
    let begun = client.result("tools/call", call("multi_input")).await;
    assert_eq!(begun["resultType"], "task", "{begun}");
    let id = begun["taskId"].clone();
    let wanted = json!({"notifications": {"taskIds": [id, "no-such"]}});
    client.send("subscriptions/listen", wanted).await;
    let mut asked = client.read().await;
    assert_eq!(asked["params"]["notifications"], json!({"taskIds": [id]}), "{asked}");
    client.send("tasks/get", json!({"taskId": id})).await;
    // The answer and a notice about the same may come in either order.
    while asked["status"] != "input_required" {
        let message = client.read().await;
        asked = if message["method"].is_null() { &message["result"] } else { &message["params"] }.clone();
    }
    assert_eq!(asked["inputRequests"].as_object().expect("questions").len(), 2);
    for key in ["first_name", "second_name"] {
        let responses = json!({key: {"action": "accept", "content": {"name": key}}});
        client.send("tasks/update", json!({"taskId": id, "inputResponses": responses})).await;
    }
    let mut last = client.read().await;
    while last["params"]["status"] != "completed" {
        last = client.read().await;
    }
    let result = &last["params"]["result"];
    assert_eq!(text(result), r#"Both answered: "first_name" and "second_name""#);
}

#[tokio::test]
async fn without_the_extension_a_call_is_answered_or_refused_at_once() {
    let mut client = Client::modern(json!({}));
    let done =
        client.result("tools/call", json!({"name": "slow_compute", "arguments": {"seconds": 0}})).await;
    assert_eq!(done["resultType"], "complete");
    let refused = client.request("tools/call", call("failing_job")).await;
    let required = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    assert_eq!(refused["error"]["data"]["requiredCapabilities"], required);
    assert_eq!(client.request("tasks/get", json!({"taskId": "x"})).await["error"]["code"], -32021);
}
