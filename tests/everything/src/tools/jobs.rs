//! Tools whose calls may become tasks, and one beside them whose calls never do.

use std::time::Duration;

use serde_json::json;

use super::questions::name;
use super::{TaskSupport, Tool};
use crate::play::{Ask, Question, Scene, Step, content, failure, text_block};
use crate::rpc::Fault;

pub fn tools() -> Vec<Tool> {
    vec![
        Tool::new("greet", "Greets at once, never as a task", |scene| {
            let text = format!("Hello, {}!", scene.text("name"));
            let mut result = content(vec![text_block(text.clone())]);
            result["structuredContent"] = json!({ "greeting": text });
            Step::done(result)
        })
        .taking(json!({"name": {"type": "string"}}))
        .with(json!({"outputSchema": {"type": "object", "properties": {"greeting": {"type": "string"}}, "required": ["greeting"]}})),
        Tool::new("slow_compute", "Takes as many seconds as it is told", |scene| {
            let seconds = scene.arguments["seconds"].as_f64().unwrap_or_default();
            after(scene, Duration::try_from_secs_f64(seconds).unwrap_or_default(), |_| {
                Step::text(format!("Computed for {seconds} s"))
            })
        })
        .taking_schema(json!({
            "type": "object",
            "properties": {"seconds": {"type": "number"}, "label": {"type": "string"}},
            "required": ["seconds"],
        }))
        .supporting(TaskSupport::Optional),
        Tool::new("failing_job", "A job whose tool fails", |scene| {
            after(scene, Duration::ZERO, |_| {
                Step::done(failure("The job failed"))
            })
        })
        .supporting(TaskSupport::Required),
        Tool::new("protocol_error_job", "A job that ends with a JSON-RPC error", |scene| {
            after(scene, Duration::ZERO, |_| Step::Fail(Fault::new(-32603, "The job broke")))
        })
        .supporting(TaskSupport::Optional),
        Tool::new("confirm_delete", "A job that asks once", |scene| after(scene, Duration::ZERO, confirm_delete))
            .taking(json!({"filename": {"type": "string"}}))
            .supporting(TaskSupport::Optional),
        Tool::new("multi_input", "A job that asks two things at once", |scene| {
            after(scene, Duration::ZERO, multi_input)
        })
        .supporting(TaskSupport::Optional),
        Tool::new("nosy_job", "A job that asks one thing after the other", |scene| {
            after(scene, Duration::ZERO, nosy)
        })
        .supporting(TaskSupport::Optional),
        Tool::new("summarize", "A job that asks a model", |scene| after(scene, Duration::ZERO, summarize))
            .supporting(TaskSupport::Optional),
        Tool::new("test_tool_with_task", "Asks first, and then is a job", |scene| {
            let Some(answer) = scene.answer("user_name") else {
                return Step::Ask(Ask::sealed(vec![("user_name", name("What is your name?"))]));
            };
            let name = answer["content"]["name"].as_str().unwrap_or("nobody");
            after(scene, Duration::ZERO, |_| Step::text(format!("Hello, {name}!")))
        })
        .supporting(TaskSupport::Optional),
    ]
}

/// `then`, once the work is done.
fn after(scene: &Scene<'_>, time: Duration, then: impl FnOnce(&Scene<'_>) -> Step) -> Step {
    if scene.worked { then(scene) } else { Step::Work(time) }
}

fn confirm_delete(scene: &Scene<'_>) -> Step {
    let file = scene.text("filename");
    let Some(answer) = scene.answer("confirm") else {
        let fields = json!({"confirm": {"type": "boolean"}});
        return Step::ask("confirm", Question::form(&format!("Delete {file}?"), fields));
    };
    let yes = answer["action"] == "accept" && answer["content"]["confirm"] == true;
    Step::text(if yes { format!("Deleted {file}") } else { format!("Kept {file}") })
}

fn nosy(scene: &Scene<'_>) -> Step {
    const KEYS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    match KEYS.into_iter().find(|key| scene.answer(key).is_none()) {
        Some(key) => Step::ask(key, name("And what is that called?")),
        None => Step::text("Thank you"),
    }
}

fn summarize(scene: &Scene<'_>) -> Step {
    match scene.answer("summary") {
        Some(answer) => Step::text(format!("In short: {}", answer["content"]["text"])),
        None => Step::ask("summary", Question::sampling("Summarize it", 100)),
    }
}

fn multi_input(scene: &Scene<'_>) -> Step {
    let keys = ["first_name", "second_name"];
    let open: Vec<_> = keys.into_iter().filter(|key| scene.answer(key).is_none()).collect();
    if !open.is_empty() {
        let questions = open.into_iter().map(|key| (key, name(&format!("Which {key}?")))).collect();
        return Step::Ask(Ask { questions, sealed: true, streamed: false });
    }
    let names = keys.map(|key| scene.answers[key]["content"]["name"].to_string());
    Step::text(format!("Both answered: {}", names.join(" and ")))
}
