//! The model behind OpenAI's `/v1/responses`.

use serde_json::{Value, json};

use super::{DONE, Saying, Told, Turn, events, text_of};

pub fn read(body: &Value) -> Turn {
    let mut offered = Vec::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        let name = tool["name"].as_str().unwrap_or_default();
        match tool["tools"].as_array() {
            Some(group) => offered
                .extend(group.iter().filter_map(|tool| Some(format!("{name}/{}", tool["name"].as_str()?)))),
            None => offered.push(name.to_owned()),
        }
    }
    let items = body["input"].as_array().into_iter().flatten();
    let told = |item: &Value| Told { text: text_of(&item["output"]), is_error: None };
    Turn { offered, told: items.filter(|item| item["type"] == "function_call_output").map(told).collect() }
}

pub fn speak(saying: &Saying<'_>, streams: bool) -> String {
    let item = match saying {
        Saying::Call(number, step) => {
            let mut call = json!({
                "type": "function_call", "id": format!("fc_{number}"), "call_id": format!("call_{number}"),
                "name": step.tool, "arguments": step.arguments.to_string(), "status": "completed",
            });
            if let Some((group, name)) = step.tool.split_once('/') {
                call["namespace"] = json!(group);
                call["name"] = json!(name);
            }
            call
        }
        Saying::Done => {
            let text = json!({"type": "output_text", "text": DONE, "annotations": []});
            json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [text]})
        }
    };
    let usage = json!({"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2});
    let response = |status: &str, output: Value| json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "scripted", "status": status, "output": output, "usage": usage});
    if !streams {
        return response("completed", json!([item])).to_string();
    }
    events(&[
        json!({"type": "response.created", "response": response("in_progress", json!([]))}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": response("completed", json!([item]))}),
    ])
}
