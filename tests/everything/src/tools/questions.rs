//! Tools that ask once: for a form, a completion of a model, or roots.

use std::time::Duration;

use serde_json::{Value, json};

use super::Tool;
use crate::play::{Ask, Beat, Performance, Question, Step};

pub fn tools() -> Vec<Tool> {
    vec![
        Tool::new("test_sampling", "Has the client's model complete a prompt", |scene| {
            let Some(answer) = scene.answer("completion") else {
                return Step::ask("completion", Question::sampling(scene.text("prompt"), 100));
            };
            Step::text(format!("LLM response: {}", sampled(answer)))
        })
        .taking(json!({"prompt": {"type": "string", "description": "What to complete"}})),
        Tool::new("test_missing_capability", "Needs sampling", |scene| {
            let Some(answer) = scene.answer("completion") else {
                return Step::ask("completion", Question::sampling("Say anything", 16));
            };
            Step::text(sampled(answer))
        }),
        Tool::new("test_streaming_elicitation", "Asks on a stream", |scene| {
            let Some(answer) = scene.answer("user_name") else {
                return Step::Ask(Ask {
                    questions: vec![("user_name", name("What is your name?"))],
                    sealed: false,
                    streamed: true,
                });
            };
            greeting(answer)
        }),
        Tool::new(
            "test_elicitation_then_work",
            "Asks, and works for as many seconds as it is told",
            |scene| {
                let Some(answer) = scene.answer("user_name") else {
                    return Step::ask("user_name", name("What is your name?"));
                };
                let seconds = scene.arguments["seconds"].as_f64().unwrap_or_default();
                let work = Beat::Pause(Duration::try_from_secs_f64(seconds).unwrap_or_default());
                let beats = vec![Beat::Progress { done: 1, of: 2 }, work];
                match greeting(answer) {
                    Step::Done(performance) => Step::Done(Performance { beats, ..performance }),
                    other => other,
                }
            },
        )
        .taking(json!({"seconds": {"type": "number"}})),
        Tool::new("test_input_required_result_elicitation", "Asks for a name", |scene| {
            match scene.answer("user_name") {
                None => Step::ask("user_name", name("What is your name?")),
                Some(answer) => greeting(answer),
            }
        }),
        Tool::new("test_input_required_result_sampling", "Has a question answered by the model", |scene| {
            match scene.answer("capital_question") {
                None => {
                    let question = Question::sampling("What is the capital of France?", 100);
                    Step::ask("capital_question", question)
                }
                Some(answer) => Step::text(sampled(answer)),
            }
        }),
        Tool::new("test_input_required_result_list_roots", "Asks for roots", |scene| {
            match scene.answer("client_roots") {
                None => Step::ask("client_roots", Question::roots()),
                Some(answer) => Step::text(format!("Roots: {}", roots(answer))),
            }
        }),
        Tool::new("test_input_required_result_capabilities", "Asks what the client can answer", |scene| {
            let all = [
                ("elicitation", "user_name", name("What is your name?")),
                ("sampling", "greeting", Question::sampling("Generate a greeting", 50)),
                ("roots", "client_roots", Question::roots()),
            ];
            let open = all.into_iter().filter(|(capability, key, _)| {
                scene.capabilities[*capability].is_object() && scene.answer(key).is_none()
            });
            let questions: Vec<_> = open.map(|(_, key, question)| (key, question)).collect();
            if questions.is_empty() {
                return Step::text(format!("Answered: {}", scene.answers.len()));
            }
            Step::Ask(Ask { questions, sealed: false, streamed: false })
        }),
    ]
}

/// A question for one name.
pub fn name(message: &str) -> Question {
    Question::form(message, json!({"name": {"type": "string"}}))
}

fn greeting(answer: &Value) -> Step {
    match answer["content"]["name"].as_str() {
        Some(name) if answer["action"] == "accept" => Step::text(format!("Hello, {name}!")),
        _ => Step::text(format!("No name: {}", answer["action"])),
    }
}

/// The text of a model, whether it came as a block or as a list of blocks.
pub fn sampled(answer: &Value) -> String {
    let content = &answer["content"];
    let text = content["text"].as_str().or(content[0]["text"].as_str());
    text.unwrap_or_default().to_owned()
}

pub fn roots(answer: &Value) -> String {
    let roots = answer["roots"].as_array().into_iter().flatten();
    roots.filter_map(|root| root["uri"].as_str()).collect::<Vec<_>>().join(", ")
}
