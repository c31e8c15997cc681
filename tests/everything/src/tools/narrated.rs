//! Tools that say something while they run.

use std::time::Duration;

use super::Tool;
use crate::log_level::LogLevel;
use crate::play::{Beat, Performance, Step, content, text_block};

const PAUSE: Duration = Duration::from_millis(50);

pub fn tools() -> Vec<Tool> {
    vec![
        Tool::new("test_tool_with_logging", "Logs three times", |_| logs()),
        Tool::new("test_logging_tool", "Logs three times, for whoever named a level", |_| logs()),
        Tool::new("test_tool_with_progress", "Reports progress three times", |_| {
            let report = |done| Beat::Progress { done, of: 100 };
            let beats = vec![report(0), Beat::Pause(PAUSE), report(50), Beat::Pause(PAUSE), report(100)];
            narrated(beats, "Progress was reported")
        }),
        Tool::new(
            "test_reconnection",
            "Closes the stream before the result, which has to be fetched",
            |_| narrated(vec![Beat::HangUp, Beat::Pause(PAUSE)], "Resumed"),
        ),
    ]
}

fn logs() -> Step {
    let log = |text| Beat::Log(LogLevel::INFO, text);
    let beats = vec![
        log("Tool execution started"),
        Beat::Pause(PAUSE),
        log("Tool processing data"),
        Beat::Pause(PAUSE),
        log("Tool execution completed"),
    ];
    narrated(beats, "Logs were sent")
}

fn narrated(beats: Vec<Beat>, text: &str) -> Step {
    Step::Done(Performance { beats, result: content(vec![text_block(text)]) })
}
