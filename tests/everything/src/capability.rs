//! Which capability of the client a question needs.

use serde_json::{Value, json};

use crate::play::Question;

/// The extension of 2026-07-28 that makes calls into tasks.
pub const TASKS: &str = "io.modelcontextprotocol/tasks";

/// What the client lacks for these questions, as it would have declared it.
pub fn missing<'a>(capabilities: &Value, questions: impl Iterator<Item = &'a Question>) -> Option<Value> {
    let mut required = json!({});
    for question in questions {
        match question.method {
            "elicitation/create" if is_page(question) && !capabilities["elicitation"]["url"].is_object() => {
                required["elicitation"] = json!({"url": {}});
            }
            "elicitation/create" if !is_page(question) && !has_forms(&capabilities["elicitation"]) => {
                required["elicitation"] = json!({"form": {}});
            }
            "sampling/createMessage" if !capabilities["sampling"].is_object() => {
                required["sampling"] = json!({});
            }
            "roots/list" if !capabilities["roots"].is_object() => required["roots"] = json!({}),
            _ => {}
        }
    }
    required.as_object().is_some_and(|required| !required.is_empty()).then_some(required)
}

fn is_page(question: &Question) -> bool {
    question.params["mode"] == "url"
}

/// `{}` is what clients wrote when there was only one mode.
fn has_forms(elicitation: &Value) -> bool {
    elicitation.as_object().is_some_and(|modes| modes.is_empty() || modes.contains_key("form"))
}

pub fn has_tasks(capabilities: &Value) -> bool {
    capabilities["extensions"][TASKS].is_object()
}
