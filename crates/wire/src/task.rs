//! Tasks in their two forms: the core tasks of 2025-11-25, and the extension
//! `io.modelcontextprotocol/tasks` of 2026-07-28.

use std::borrow::Cow;

use doorward_model::json::{Value, push_string};

use crate::adapt;

/// The member of `_meta` by which a message of the older form names its task.
pub const RELATED: &str = "io.modelcontextprotocol/related-task";

/// The extension of the newer form.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Whether a server that declares `tasks` so, in the older form, lets tools be called as tasks.
pub fn of_tools(tasks: Value<'_>) -> bool {
    let tools = tasks.get("requests").and_then(|requests| requests.get("tools"));
    tools.is_some_and(|tools| tools.get("call").is_some())
}

/// How a task is, in either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It goes on.
    Working,
    /// It waits for answers.
    InputRequired,
    /// It has ended with a result.
    Completed,
    /// It has ended with an error, or in the older form with a result that is one.
    Failed,
    /// It was ended.
    Cancelled,
}

impl Status {
    /// The status of a task.
    pub fn read(task: Value<'_>) -> Option<Self> {
        Some(match task.get("status")?.as_str()?.as_ref() {
            "working" => Self::Working,
            "input_required" => Self::InputRequired,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" => Self::Cancelled,
            _ => return None,
        })
    }

    /// As both forms spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What either form says of a task in words of its own, or the other has no words for.
const NOT_KEPT: [&str; 10] = [
    "resultType",
    "taskId",
    "status",
    "ttl",
    "ttlMs",
    "_meta",
    "result",
    "error",
    "inputRequests",
    "requestState",
];

/// A task of the older form in the newer one, JSON text: `kind` is its `resultType`, `handle`
/// its id, and `more` further members, such as `"result":{}`.
pub fn for_modern(task: Value<'_>, kind: &str, handle: &str, status: Status, more: &str) -> String {
    let mut out = String::from(r#"{"resultType":"#);
    push_string(&mut out, kind);
    out.push_str(r#","taskId":"#);
    push_string(&mut out, handle);
    out.push_str(r#","status":"#);
    push_string(&mut out, status.as_str());
    out.push_str(r#","ttlMs":"#);
    out.push_str(task.get("ttl").map_or("null", Value::raw));
    for (key, value) in task.members().filter(|(key, _)| !NOT_KEPT.contains(&key.as_ref())) {
        out.push(',');
        push_string(&mut out, if key == "pollInterval" { "pollIntervalMs" } else { &key });
        out.push(':');
        out.push_str(value.raw());
    }
    if !more.is_empty() {
        out.push(',');
        out.push_str(more);
    }
    out.push('}');
    out
}

/// A task of the newer form in the older one, JSON text: `handle` is its id.
pub fn for_legacy(task: Value<'_>, handle: &str, status: Status) -> String {
    let mut out = String::from(r#"{"taskId":"#);
    push_string(&mut out, handle);
    out.push_str(r#","status":"#);
    push_string(&mut out, status.as_str());
    out.push_str(r#","ttl":"#);
    out.push_str(task.get("ttlMs").map_or("null", Value::raw));
    for (key, value) in task.members().filter(|(key, _)| !NOT_KEPT.contains(&key.as_ref())) {
        out.push(',');
        push_string(&mut out, if key == "pollIntervalMs" { "pollInterval" } else { &key });
        out.push(':');
        out.push_str(value.raw());
    }
    out.push('}');
    out
}

/// A message of the older form, a result or the `params` of a question, that says which task
/// it belongs to.
pub fn related(message: Value<'_>, handle: &str) -> String {
    let mut of_task = String::from("\"");
    of_task.push_str(RELATED);
    of_task.push_str(r#"":{"taskId":"#);
    push_string(&mut of_task, handle);
    of_task.push('}');
    let meta = match message.get("_meta").filter(|meta| meta.is_object()) {
        Some(meta) => adapt::splice(meta, &[RELATED], &of_task).into_owned(),
        None => format!("{{{of_task}}}"),
    };
    adapt::splice(message, &["_meta"], &format!(r#""_meta":{meta}"#)).into_owned()
}

/// The result of a task of the older form as the newer one has it inside of the task: it need
/// not say which task it is of.
pub fn inlined<'a>(result: Value<'a>) -> Cow<'a, str> {
    let kind = if result.get("resultType").is_none() { r#""resultType":"complete""# } else { "" };
    let Some(meta) = result.get("_meta").filter(|meta| meta.get(RELATED).is_some()) else {
        return adapt::splice(result, &[], kind);
    };
    let meta = adapt::splice(meta, &[RELATED], "");
    let mut add = kind.to_owned();
    if meta != "{}" {
        if !add.is_empty() {
            add.push(',');
        }
        add.push_str(r#""_meta":"#);
        add.push_str(&meta);
    }
    adapt::splice(result, &["_meta"], &add)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorward_model::json::{Document, Limits};

    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("valid")
    }

    #[test]
    fn a_core_task_is_told_in_the_words_of_the_extension() {
        let task = document(
            r#"{"taskId":"t","status":"failed","statusMessage":"m","createdAt":"c","ttl":5,"pollInterval":7,"result":1,"_meta":{}}"#,
        );
        assert_eq!(
            for_modern(task.root(), "complete", "h", Status::Completed, r#""result":{}"#),
            r#"{"resultType":"complete","taskId":"h","status":"completed","ttlMs":5,"statusMessage":"m","createdAt":"c","pollIntervalMs":7,"result":{}}"#
        );
        assert_eq!(
            for_modern(document("{}").root(), "task", "h", Status::Working, ""),
            r#"{"resultType":"task","taskId":"h","status":"working","ttlMs":null}"#
        );
    }

    #[test]
    fn a_task_of_the_extension_is_told_in_the_words_of_core_tasks() {
        let task = document(
            r#"{"resultType":"complete","taskId":"t","status":"working","createdAt":"c","ttlMs":null,"pollIntervalMs":7,"inputRequests":{}}"#,
        );
        assert_eq!(
            for_legacy(task.root(), "h", Status::InputRequired),
            r#"{"taskId":"h","status":"input_required","ttl":null,"createdAt":"c","pollInterval":7}"#
        );
    }

    #[test]
    fn what_belongs_to_a_task_says_so() {
        let cases = [
            ("{}", r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"h"}}}"#),
            (
                r#"{"a":1,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"},"b":2}}"#,
                r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"h"},"b":2},"a":1}"#,
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(related(document(message).root(), "h"), expected);
        }
    }

    #[test]
    fn an_inlined_result_does_not_say_which_task_it_is_of() {
        let cases = [
            (r#"{"content":[]}"#, r#"{"resultType":"complete","content":[]}"#),
            (
                r#"{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#,
                r#"{"resultType":"complete","content":[]}"#,
            ),
            (
                r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"},"a":1}}"#,
                r#"{"resultType":"complete","_meta":{"a":1}}"#,
            ),
            (r#"{"resultType":"complete","_meta":{"a":1}}"#, r#"{"resultType":"complete","_meta":{"a":1}}"#),
        ];
        for (result, expected) in cases {
            assert_eq!(inlined(document(result).root()), expected, "{result}");
        }
    }
}
