//! The model behind OpenAI's `/v1/chat/completions`.

use serde_json::{Value, json};

use super::{DONE, Saying, Told, Turn, events, text_of};

pub fn read(body: &Value) -> Turn {
    let tools = body["tools"].as_array().into_iter().flatten();
    let messages = body["messages"].as_array().into_iter().flatten();
    let told = |message: &Value| Told { text: text_of(&message["content"]), is_error: None };
    Turn {
        offered: tools.filter_map(|tool| tool["function"]["name"].as_str().map(str::to_owned)).collect(),
        told: messages.filter(|message| message["role"] == "tool").map(told).collect(),
    }
}

pub fn speak(saying: &Saying<'_>, streams: bool) -> String {
    let (said, reason) = match saying {
        Saying::Call(number, step) => {
            let function = json!({"name": step.tool, "arguments": step.arguments.to_string()});
            let call =
                json!({"index": 0, "id": format!("call_{number}"), "type": "function", "function": function});
            (json!({"role": "assistant", "content": null, "tool_calls": [call]}), "tool_calls")
        }
        Saying::Done => (json!({"role": "assistant", "content": DONE}), "stop"),
    };
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
    let completion = |object: &str, choice: Value| json!({"id": "chatcmpl_1", "object": object, "created": 1, "model": "scripted", "choices": [choice], "usage": usage});
    if !streams {
        let choice = json!({"index": 0, "message": said, "finish_reason": reason});
        return completion("chat.completion", choice).to_string();
    }
    let chunk = |choice: Value| completion("chat.completion.chunk", choice);
    let said = chunk(json!({"index": 0, "delta": said, "finish_reason": null}));
    let end = chunk(json!({"index": 0, "delta": {}, "finish_reason": reason}));
    events(&[said, end]) + "data: [DONE]\n\n"
}
