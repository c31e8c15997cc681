//! `subscriptions/listen`: a request whose answer is what changes.

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::{Meta, needs_tasks, tasks};
use crate::capability;
use crate::change::Change;
use crate::out::Out;
use crate::resources;
use crate::rpc::{Fault, notification};
use crate::server::Everything;

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a subscription asked for, as far as there is such a thing here.
struct Filter {
    tools: bool,
    prompts: bool,
    resources: Vec<String>,
    tasks: Vec<String>,
}

/// Tells of changes until nobody reads any more.
pub async fn listen(
    server: &Everything,
    id: &Value,
    params: &Value,
    meta: &Meta,
    out: &Out,
) -> Result<Value, Fault> {
    let wanted = &params["notifications"];
    if !wanted.is_object() {
        return Err(Fault::invalid("notifications is missing"));
    }
    if !wanted["taskIds"].is_null() && !capability::has_tasks(&meta.capabilities) {
        return Err(needs_tasks());
    }
    let filter = Filter::read(server, wanted);
    // Before the acknowledgement, so that nothing is missed after it.
    let mut changes = server.changes.listen();
    let tagged = |method: &str, mut params: Value| {
        params["_meta"][SUBSCRIPTION] = id.clone();
        notification(method, params)
    };
    let honoured = json!({ "notifications": filter.honoured() });
    out.say(tagged("notifications/subscriptions/acknowledged", honoured));
    loop {
        match changes.recv().await {
            Ok(change) => {
                if let Some((method, params)) = filter.tell(server, &change) {
                    out.say(tagged(method, params));
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Ok(json!({"_meta": { SUBSCRIPTION: id }})),
        }
    }
}

impl Filter {
    fn read(server: &Everything, wanted: &Value) -> Self {
        let texts = |member: &str, known: &dyn Fn(&str) -> bool| -> Vec<String> {
            let texts = wanted[member].as_array().into_iter().flatten().filter_map(Value::as_str);
            texts.filter(|text| known(text)).map(str::to_owned).collect()
        };
        Self {
            tools: wanted["toolsListChanged"] == true,
            prompts: wanted["promptsListChanged"] == true,
            resources: texts("resourceSubscriptions", &|uri| resources::read(server, uri).is_some()),
            tasks: texts("taskIds", &|id| server.tasks.find(None, id).is_some()),
        }
    }

    fn honoured(&self) -> Value {
        let mut honoured = json!({});
        if self.tools {
            honoured["toolsListChanged"] = true.into();
        }
        if self.prompts {
            honoured["promptsListChanged"] = true.into();
        }
        if !self.resources.is_empty() {
            honoured["resourceSubscriptions"] = json!(self.resources);
        }
        if !self.tasks.is_empty() {
            honoured["taskIds"] = json!(self.tasks);
        }
        honoured
    }

    fn tell(&self, server: &Everything, change: &Change) -> Option<(&'static str, Value)> {
        match change {
            Change::Tools if self.tools => Some(("notifications/tools/list_changed", json!({}))),
            Change::Prompts if self.prompts => Some(("notifications/prompts/list_changed", json!({}))),
            Change::Resource(uri) if self.resources.iter().any(|wanted| wanted == uri) => {
                Some(("notifications/resources/updated", json!({ "uri": uri })))
            }
            Change::Task(id) if self.tasks.contains(id) => {
                let task = server.tasks.find(None, id)?;
                Some(("notifications/tasks", tasks::detailed(&task)))
            }
            _ => None,
        }
    }
}
