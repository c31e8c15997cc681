//! Completions of the arguments of prompts and templates.

use serde_json::{Value, json};

use crate::resources::TEMPLATE;
use crate::rpc::Fault;
use crate::server::Everything;
use crate::{prompts, resources};

const CITIES: [&str; 4] = ["paris", "park", "party", "rome"];

/// The result of `completion/complete`.
pub fn complete(server: &Everything, params: &Value) -> Result<Value, Fault> {
    let values: &[&str] = match params["ref"]["type"].as_str() {
        Some("ref/prompt") => {
            let name = params["ref"]["name"].as_str().unwrap_or_default();
            if !prompts::all(server).iter().any(|prompt| prompt.name == name) {
                return Err(Fault::invalid(format!("Unknown prompt: {name}")));
            }
            &CITIES
        }
        Some("ref/resource") => match params["ref"]["uri"].as_str() {
            Some(TEMPLATE) => &["1", "12", "123"],
            Some(uri) if resources::read(server, uri).is_some() => &[],
            _ => return Err(Fault::invalid("Unknown resource")),
        },
        _ => return Err(Fault::invalid("ref is neither a prompt nor a resource")),
    };
    let (Some(_), Some(start)) = (params["argument"]["name"].as_str(), params["argument"]["value"].as_str())
    else {
        return Err(Fault::invalid("argument needs a name and a value"));
    };
    let values: Vec<_> = values.iter().filter(|value| value.starts_with(start)).collect();
    Ok(json!({"completion": {"values": values, "total": values.len(), "hasMore": false}}))
}
