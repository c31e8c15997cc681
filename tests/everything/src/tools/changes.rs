//! Tools that change the server, so that those who listen hear of it.

use super::Tool;
use crate::change::Change;
use crate::play::{Beat, Performance, Step, content, text_block};
use crate::resources::WATCHED;

/// With the tool that comes and goes, if it is `shown`.
pub fn tools(shown: bool) -> Vec<Tool> {
    let mut tools = vec![
        Tool::new("test_trigger_tool_change", "Adds a tool, or takes it away again", |_| {
            changing(Change::Tools)
        }),
        Tool::new("test_trigger_prompt_change", "Adds a prompt, or takes it away again", |_| {
            changing(Change::Prompts)
        }),
        Tool::new("test_touch_resource", "Changes the content of test://watched-resource", |_| {
            changing(Change::Resource(WATCHED))
        }),
    ];
    if shown {
        tools.push(Tool::new("test_dynamic_tool", "Comes and goes", |_| Step::text("Here for now")));
    }
    tools
}

fn changing(change: Change) -> Step {
    let result = content(vec![text_block("Changed")]);
    Step::Done(Performance { beats: vec![Beat::Change(change)], result })
}
