//! Tools that show forms, with every kind of field.

use serde_json::{Value, json};

use super::Tool;
use crate::play::{Question, Scene, Step};
use crate::rpc::Fault;

const KEY: &str = "form";
const PAGE: &str = "https://sign.in.example/please";

pub fn tools() -> Vec<Tool> {
    vec![
        Tool::new("test_elicitation", "Asks for a user name and an address", |scene| {
            let Some(answer) = scene.answer(KEY) else {
                let fields = json!({
                    "username": {"type": "string", "description": "User's response"},
                    "email": {"type": "string", "description": "User's email address"},
                });
                return Step::ask(KEY, Question::form(scene.text("message"), fields));
            };
            Step::text(format!("User response: {}", said(answer)))
        })
        .taking(json!({"message": {"type": "string", "description": "What to show the user"}})),
        Tool::new("test_elicitation_sep1034_defaults", "Shows a form that is filled in", |scene| {
            show(scene, "Check these values", &defaults())
        }),
        Tool::new("test_elicitation_sep1330_enums", "Shows a form with every kind of choice", |scene| {
            show(scene, "Choose", &enums())
        }),
        Tool::new("sign_in", "Asks the user to open a page", |scene| match scene.answer(KEY) {
            None => Step::ask(KEY, Question::page("Please sign in", PAGE)),
            Some(answer) => Step::text(format!("Page: {}", said(answer))),
        }),
        Tool::new("needs_sign_in", "Fails until the user has opened a page, which nobody ever did", |_| {
            let page =
                json!({"mode": "url", "message": "Please sign in", "url": PAGE, "elicitationId": "page-1"});
            Step::Fail(Fault::new(-32042, "Sign in first").with(json!({"elicitations": [page]})))
        }),
    ]
}

fn show(scene: &Scene<'_>, message: &str, fields: &Value) -> Step {
    match scene.answer(KEY) {
        None => Step::ask(KEY, Question::optional_form(message, fields)),
        Some(answer) => Step::text(format!("Elicitation completed: {}", said(answer))),
    }
}

fn said(answer: &Value) -> String {
    let action = answer["action"].as_str().unwrap_or("none");
    format!("action={action}, content={}", answer["content"])
}

fn defaults() -> Value {
    json!({
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "description": "User status", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": true},
    })
}

fn enums() -> Value {
    json!({
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": [
            {"const": "value1", "title": "First Option"},
            {"const": "value2", "title": "Second Option"},
            {"const": "value3", "title": "Third Option"},
        ]},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": [
            {"const": "value1", "title": "First Choice"},
            {"const": "value2", "title": "Second Choice"},
            {"const": "value3", "title": "Third Choice"},
        ]}},
    })
}
