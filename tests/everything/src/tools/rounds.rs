//! Tools that ask several things, or several times, and carry state from one time to the next.

use serde_json::json;

use super::Tool;
use super::questions::{name, roots, sampled};
use crate::play::{Ask, Question, Scene, Step};

pub fn tools() -> Vec<Tool> {
    vec![
        Tool::new("test_input_required_result_request_state", "Asks, and keeps state", confirm),
        Tool::new("test_input_required_result_tampered_state", "Asks, and notices changed state", confirm),
        Tool::new("test_input_required_result_multiple_inputs", "Asks three things at once", |scene| {
            let keys = ["user_name", "greeting", "client_roots"];
            let [Some(user), Some(greeting), Some(folders)] = keys.map(|key| scene.answer(key)) else {
                return Step::Ask(Ask::sealed(vec![
                    ("user_name", name("What is your name?")),
                    ("greeting", Question::sampling("Generate a greeting", 50)),
                    ("client_roots", Question::roots()),
                ]));
            };
            let user = user["content"]["name"].as_str().unwrap_or("nobody");
            Step::text(format!("{user}: {} ({})", sampled(greeting), roots(folders)))
        }),
        Tool::new("test_input_required_result_multi_round", "Asks twice", |scene| {
            let Some(first) = scene.answer("step1") else {
                return Step::Ask(Ask::sealed(vec![("step1", name("Step 1: What is your name?"))]));
            };
            let Some(second) = scene.answer("step2") else {
                let fields = json!({"color": {"type": "string"}});
                let question = Question::form("Step 2: What is your favorite color?", fields);
                return Step::Ask(Ask::sealed(vec![("step2", question)]));
            };
            Step::text(format!("{} likes {}", first["content"]["name"], second["content"]["color"]))
        }),
    ]
}

fn confirm(scene: &Scene<'_>) -> Step {
    let Some(answer) = scene.answer("confirm") else {
        let question = Question::form("Please confirm", json!({"ok": {"type": "boolean"}}));
        return Step::Ask(Ask::sealed(vec![("confirm", question)]));
    };
    Step::text(format!("state-ok, confirmed: {}", answer["content"]["ok"]))
}
