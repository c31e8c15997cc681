//! What a session hears without having asked: lists, resources and tasks that changed.

use std::sync::{Arc, Weak};

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::{Session, tasks};
use crate::change::Change;
use crate::rpc::notification;
use crate::server::Everything;
use crate::task::lock;

/// Tells the session of changes for as long as it exists.
pub async fn forward(server: Arc<Everything>, session: Weak<Session>) {
    let mut changes = server.changes.listen();
    loop {
        let change = match changes.recv().await {
            Ok(change) => change,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Some(session) = session.upgrade() else { return };
        if let Some((method, params)) = notice(&server, &session, &change) {
            session.general.say(notification(method, params));
        }
    }
}

fn notice(server: &Everything, session: &Session, change: &Change) -> Option<(&'static str, Value)> {
    match change {
        Change::Tools => Some(("notifications/tools/list_changed", Value::Null)),
        Change::Prompts => Some(("notifications/prompts/list_changed", Value::Null)),
        Change::Resource(uri) => {
            let watched = lock(&session.watched).contains(*uri);
            watched.then(|| ("notifications/resources/updated", json!({ "uri": uri })))
        }
        Change::Task(id) => {
            let task = server.tasks.find(Some(&session.id), id)?;
            Some(("notifications/tasks/status", tasks::describe(&task)))
        }
    }
}
