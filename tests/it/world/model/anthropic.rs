//! The model behind Anthropic's `/v1/messages`.

use serde_json::{Value, json};

use super::{DONE, Saying, Told, Turn, events, text_of};

pub fn read(body: &Value) -> Turn {
    let tools = body["tools"].as_array().into_iter().flatten();
    let messages = body["messages"].as_array().into_iter().flatten();
    let blocks = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    let told = |block: &Value| Told {
        text: text_of(&block["content"]),
        is_error: Some(block["is_error"].as_bool().unwrap_or_default()),
    };
    Turn {
        offered: tools.filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect(),
        told: blocks.filter(|block| block["type"] == "tool_result").map(told).collect(),
    }
}

pub fn speak(saying: &Saying<'_>, streams: bool) -> String {
    let (block, delta, reason) = match saying {
        Saying::Call(number, step) => (
            json!({"type": "tool_use", "id": format!("toolu_{number}"), "name": step.tool, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": step.arguments.to_string()}),
            "tool_use",
        ),
        Saying::Done => {
            (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": DONE}), "end_turn")
        }
    };
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let mut message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted", "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
    if !streams {
        message["content"] = json!([{"type": "text", "text": DONE}]);
        message["stop_reason"] = json!("end_turn");
        return message.to_string();
    }
    events(&[
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": usage}),
        json!({"type": "message_stop"}),
    ])
}
