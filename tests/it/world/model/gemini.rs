//! The model behind Gemini's `…:streamGenerateContent`.

use serde_json::{Value, json};

use super::{DONE, Saying, Told, Turn};

pub fn read(body: &Value) -> Turn {
    let tools = body["tools"].as_array().into_iter().flatten();
    let functions = tools.flat_map(|tool| tool["functionDeclarations"].as_array().into_iter().flatten());
    let contents = body["contents"].as_array().into_iter().flatten();
    let parts = contents.flat_map(|content| content["parts"].as_array().into_iter().flatten());
    let told = |part: &Value| {
        let response = part.get("functionResponse")?.get("response")?;
        let error = response["error"].as_str();
        let text = error.or(response["output"].as_str()).map_or_else(|| response.to_string(), str::to_owned);
        Some(Told { text, is_error: Some(error.is_some()) })
    };
    Turn {
        offered: functions.filter_map(|function| function["name"].as_str().map(str::to_owned)).collect(),
        told: parts.filter_map(told).collect(),
    }
}

pub fn speak(saying: &Saying<'_>, streams: bool) -> String {
    let part = match saying {
        Saying::Call(_, step) => json!({"functionCall": {"name": step.tool, "args": step.arguments}}),
        Saying::Done => json!({"text": DONE}),
    };
    let content = json!({"role": "model", "parts": [part]});
    let usage = json!({"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2});
    let response = json!({"candidates": [{"index": 0, "content": content, "finishReason": "STOP"}], "usageMetadata": usage});
    if streams { format!("data: {response}\n\n") } else { response.to_string() }
}
