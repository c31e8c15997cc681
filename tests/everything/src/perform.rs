//! Doing what a tool does before its result, as far as the client wants to hear of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::log_level::LogLevel;
use crate::out::{Item, Out};
use crate::play::{Beat, Performance};
use crate::revision::Revision;
use crate::rpc::{Fault, notification};
use crate::server::Everything;

/// What a client hears while its call runs.
pub struct Voice {
    pub out: Out,
    pub revision: Revision,
    pub progress_token: Option<Value>,
    /// The least grave log message it wants; `None`: none at all.
    pub log_level: Option<LogLevel>,
}

/// How long a call may take that is no task.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Does what a call wants time for while the client waits.
pub async fn await_work(time: Duration) -> Result<(), Fault> {
    if time > LONGEST_WAIT {
        return Err(Fault::new(-32603, "This takes too long to wait for: call it as a task"));
    }
    tokio::time::sleep(time).await;
    Ok(())
}

/// Runs a performance and returns its result.
pub async fn perform(server: &Everything, voice: &Voice, performance: Performance) -> Value {
    for beat in performance.beats {
        match beat {
            Beat::Progress { done, of } => voice.progress(done, of),
            Beat::Log(level, text) => voice.log(level, text),
            Beat::Pause(time) => tokio::time::sleep(time).await,
            Beat::HangUp => voice.out.send(Item::HangUp),
            Beat::Change(change) => server.change(change),
        }
    }
    performance.result
}

impl Voice {
    fn progress(&self, done: u32, of: u32) {
        let Some(token) = &self.progress_token else { return };
        let mut params = json!({"progressToken": token, "progress": done, "total": of});
        if self.revision >= Revision::V2025_03_26 {
            params["message"] = format!("{done} of {of}").into();
        }
        self.out.say(notification("notifications/progress", params));
    }

    fn log(&self, level: LogLevel, text: &str) {
        if self.log_level.is_some_and(|least| level >= least) {
            let params = json!({"level": level.as_str(), "logger": "everything", "data": text});
            self.out.say(notification("notifications/message", params));
        }
    }
}
