//! Every interactive tool, in both eras: the same answers lead to the same result.

use serde_json::{Value, json};

use crate::client::{Client, call, text};

/// A tool, the answers to what it asks, and the text it ends with.
type Case<'a> = (&'a str, Vec<(&'a str, Value)>, &'a str);

fn all() -> Value {
    json!({"elicitation": {}, "sampling": {}, "roots": {}})
}

fn accept(content: &Value) -> Value {
    json!({"action": "accept", "content": content})
}

fn says(text: &str) -> Value {
    json!({"role": "assistant", "content": {"type": "text", "text": text}, "model": "m"})
}

fn roots() -> Value {
    json!({"roots": [{"uri": "file:///srv"}]})
}

#[tokio::test]
async fn a_conversation_has_the_same_result_in_both_eras() {
    let alice = || accept(&json!({"name": "Alice"}));
    let blue = || accept(&json!({"color": "blue"}));
    let yes = || accept(&json!({"ok": true}));
    let form = |content: Value| vec![("form", accept(&content))];
    let cases: [Case<'_>; 14] = [
        ("test_sampling", vec![("completion", says("hi"))], "LLM response: hi"),
        ("test_missing_capability", vec![("completion", says("hi"))], "hi"),
        (
            "test_elicitation",
            form(json!({"email": "a@b"})),
            r#"User response: action=accept, content={"email":"a@b"}"#,
        ),
        (
            "test_elicitation_sep1034_defaults",
            form(json!({})),
            "Elicitation completed: action=accept, content={}",
        ),
        (
            "test_elicitation_sep1330_enums",
            form(json!({})),
            "Elicitation completed: action=accept, content={}",
        ),
        ("test_streaming_elicitation", vec![("user_name", alice())], "Hello, Alice!"),
        ("test_input_required_result_elicitation", vec![("user_name", alice())], "Hello, Alice!"),
        ("test_input_required_result_sampling", vec![("capital_question", says("Paris"))], "Paris"),
        ("test_input_required_result_list_roots", vec![("client_roots", roots())], "Roots: file:///srv"),
        ("test_input_required_result_request_state", vec![("confirm", yes())], "state-ok, confirmed: true"),
        ("test_input_required_result_tampered_state", vec![("confirm", yes())], "state-ok, confirmed: true"),
        (
            "test_input_required_result_multiple_inputs",
            vec![("user_name", alice()), ("greeting", says("Hi")), ("client_roots", roots())],
            "Alice: Hi (file:///srv)",
        ),
        (
            "test_input_required_result_multi_round",
            vec![("step1", alice()), ("step2", blue())],
            r#""Alice" likes "blue""#,
        ),
        (
            "test_input_required_result_capabilities",
            vec![("user_name", alice()), ("greeting", says("Hi")), ("client_roots", roots())],
            "Answered: 3",
        ),
    ];
    let mut modern = Client::modern(all());
    let mut legacy = Client::legacy("2025-11-25", all()).await;
    for (tool, say, expected) in cases {
        assert_eq!(text(&modern.converse("tools/call", call(tool), &say).await), expected, "{tool}, modern");
        assert_eq!(text(&legacy.converse("tools/call", call(tool), &say).await), expected, "{tool}, legacy");
    }
}

#[tokio::test]
async fn a_prompt_asks_in_both_eras() {
    let say = [("user_context", accept(&json!({"context": "tests"})))];
    let mut modern = Client::modern(all());
    let mut legacy = Client::legacy("2025-06-18", all()).await;
    for client in [&mut modern, &mut legacy] {
        let prompt = json!({"name": "test_input_required_result_prompt"});
        let result = client.converse("prompts/get", prompt, &say).await;
        assert_eq!(result["messages"][0]["content"]["text"], "Context: tests");
    }
}

#[tokio::test]
async fn nobody_is_asked_what_they_did_not_say_they_can_answer() {
    let mut modern = Client::modern(json!({"elicitation": {"url": {}}}));
    for (tool, lacking) in [
        ("test_missing_capability", json!({"sampling": {}})),
        ("test_elicitation", json!({"elicitation": {"form": {}}})),
        (
            "test_input_required_result_multiple_inputs",
            json!({"elicitation": {"form": {}}, "sampling": {}, "roots": {}}),
        ),
    ] {
        let refused = modern.request("tools/call", call(tool)).await;
        assert_eq!(refused["error"]["code"], -32021, "{tool}");
        assert_eq!(refused["error"]["data"]["requiredCapabilities"], lacking, "{tool}");
    }
    let mut legacy = Client::legacy("2025-11-25", json!({})).await;
    let refused = legacy.result("tools/call", call("test_elicitation")).await;
    assert_eq!(refused["isError"], true, "the model may do something about it");
}

#[tokio::test]
async fn state_that_is_changed_or_used_elsewhere_is_refused() {
    let mut client = Client::modern(all());
    let tool = "test_input_required_result_request_state";
    let asked = client.result("tools/call", call(tool)).await;
    let state = asked["requestState"].as_str().expect("a state");
    let retry = |name: &str, arguments: Value, state: String| {
        let responses = json!({"confirm": accept(&json!({"ok": true}))});
        json!({"name": name, "arguments": arguments, "requestState": state, "inputResponses": responses})
    };
    let cases = [
        (retry(tool, json!({}), format!("{state}-TAMPERED")), "changed"),
        (retry(tool, json!({}), String::new()), "empty"),
        (retry(tool, json!({"a": 1}), state.to_owned()), "other arguments"),
        (retry("test_input_required_result_tampered_state", json!({}), state.to_owned()), "another tool"),
    ];
    for (params, why) in cases {
        assert_eq!(client.request("tools/call", params).await["error"]["code"], -32602, "{why}");
    }
    let done = client.result("tools/call", retry(tool, json!({}), state.to_owned())).await;
    assert_eq!(text(&done), "state-ok, confirmed: true");
}

#[tokio::test]
async fn a_client_that_fails_to_answer_a_form_has_cancelled_it() {
    let mut client = Client::legacy("2025-11-25", all()).await;
    for (tool, expected) in [("test_elicitation", "result"), ("test_sampling", "error")] {
        let id = client.send("tools/call", call(tool)).await;
        let question = client.read().await["id"].clone();
        let refusal = json!({"code": -1, "message": "User rejected"});
        client.write(&json!({"jsonrpc": "2.0", "id": question, "error": refusal})).await;
        let answer = client.read().await;
        assert_eq!(answer["id"], id);
        assert!(!answer[expected].is_null(), "{tool}: {answer}");
    }
}
