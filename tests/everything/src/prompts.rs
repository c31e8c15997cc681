//! The prompts, and how each is filled in.

use serde_json::{Value, json};

use crate::play::{Play, Question, Scene, Step};
use crate::server::Everything;
use crate::tools::PNG;

/// A prompt.
pub struct Prompt {
    pub name: &'static str,
    pub play: Play,
    description: &'static str,
    arguments: &'static [&'static str],
}

impl Prompt {
    pub fn describe(&self) -> Value {
        let mut entry = json!({"name": self.name, "description": self.description});
        if !self.arguments.is_empty() {
            let argument =
                |name: &&str| json!({"name": name, "description": format!("The {name}"), "required": true});
            entry["arguments"] = self.arguments.iter().map(argument).collect();
        }
        entry
    }

    /// The first argument it needs and does not have.
    pub fn missing_argument(&self, arguments: &Value) -> Option<&'static str> {
        self.arguments.iter().copied().find(|name| !arguments[*name].is_string())
    }
}

/// All prompts there are now.
pub fn all(server: &Everything) -> Vec<Prompt> {
    let prompt = |name, description, arguments, play| Prompt { name, play, description, arguments };
    let mut prompts = vec![
        prompt("test_simple_prompt", "A text", &[], |_| says("This is a simple prompt for testing.")),
        prompt("test_prompt_with_arguments", "A text with two arguments", &["arg1", "arg2"], |scene| {
            let (first, second) = (scene.text("arg1"), scene.text("arg2"));
            says(&format!("Prompt with arguments: arg1='{first}', arg2='{second}'"))
        }),
        prompt("test_prompt_with_embedded_resource", "A resource", &["resourceUri"], embedded),
        prompt("test_prompt_with_image", "An image", &[], |_| {
            let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
            messages(&[image, text("Please analyze the image above.")])
        }),
        prompt("test_input_required_result_prompt", "Asks for a context", &[], |scene| {
            let Some(answer) = scene.answer("user_context") else {
                let fields = json!({"context": {"type": "string"}});
                return Step::ask(
                    "user_context",
                    Question::form("What context should the prompt use?", fields),
                );
            };
            says(&format!("Context: {}", answer["content"]["context"].as_str().unwrap_or("none")))
        }),
    ];
    if server.prompt_shown() {
        prompts.push(prompt("test_dynamic_prompt", "Comes and goes", &[], |_| says("Here for now")));
    }
    prompts
}

fn embedded(scene: &Scene<'_>) -> Step {
    let resource = json!({
        "uri": scene.text("resourceUri"), "mimeType": "text/plain",
        "text": "Embedded resource content for testing.",
    });
    let resource = json!({"type": "resource", "resource": resource});
    messages(&[resource, text("Please process the embedded resource above.")])
}

fn says(words: &str) -> Step {
    messages(&[text(words)])
}

fn text(words: &str) -> Value {
    json!({"type": "text", "text": words})
}

fn messages(contents: &[Value]) -> Step {
    let message = |content: &Value| json!({"role": "user", "content": content});
    Step::done(json!({ "messages": contents.iter().map(message).collect::<Value>() }))
}
