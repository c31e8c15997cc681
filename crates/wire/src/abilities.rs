//! What a client can be asked while it waits for an answer: those of its capabilities
//! that travel on to the server, in the spelling of either era.
//!
//! They are mirrored exactly: one too many and a server asks what nobody can answer,
//! one too few and its tools refuse to work.

use std::sync::Arc;

use doorward_model::json::{Value, push_string, quoted};

/// The methods by which a server asks.
pub const ELICIT: &str = "elicitation/create";
/// See [`ELICIT`].
pub const SAMPLE: &str = "sampling/createMessage";
/// See [`ELICIT`].
pub const ROOTS: &str = "roots/list";

/// The capability without which nobody gets a task: `data.requiredCapabilities`.
pub const TASKS: &str = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;

const TASKS_ID: &str = "io.modelcontextprotocol/tasks";

/// Extensions whose messages the gateway passes on as they are.
const RELAYED: [&str; 2] = [PAGES, "io.modelcontextprotocol/skills"];
const PAGES: &str = "io.modelcontextprotocol/ui";

/// The kinds of pages that a client may say it can show.
const PAGE_TYPES: [&str; 1] = ["text/html;profile=mcp-app"];

/// The capabilities of one client, as far as a server may know of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Abilities {
    roots: Option<Roots>,
    sampling: Option<Sampling>,
    elicitation: Option<Elicitation>,
    /// Members of `extensions` but for tasks, JSON text; empty for none. Of their settings, those
    /// that mean something, in one spelling: clients with other abilities may need another
    /// process of a server, so that there are no more of these than there are meanings.
    extensions: String,
    has_tasks: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Roots {
    /// Whether it says when they change.
    announces: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Sampling {
    context: bool,
    tools: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Elicitation {
    form: bool,
    url: bool,
}

impl Abilities {
    /// Reads `capabilities` of `initialize`, or `clientCapabilities` of a modern request.
    pub fn read(capabilities: Value<'_>) -> Self {
        let mut abilities = Self::default();
        for (key, value) in capabilities.members().filter(|(_, value)| value.is_object()) {
            let has = |member: &str| value.get(member).is_some_and(Value::is_object);
            match key.as_ref() {
                "roots" => {
                    let announces = value.get("listChanged").and_then(Value::as_bool) == Some(true);
                    abilities.roots = Some(Roots { announces });
                }
                "sampling" => {
                    abilities.sampling = Some(Sampling { context: has("context"), tools: has("tools") })
                }
                "elicitation" => {
                    // `{}` is how the first revision with elicitation said "forms".
                    let url = has("url");
                    abilities.elicitation = Some(Elicitation { form: has("form") || !url, url });
                }
                "extensions" => {
                    abilities.extensions = relayed(value);
                    abilities.has_tasks = value.get(TASKS_ID).is_some();
                }
                _ => {}
            }
        }
        abilities
    }

    /// Whether a server could ask this client anything.
    pub fn can_be_asked(&self) -> bool {
        self.roots.is_some() || self.sampling.is_some() || self.elicitation.is_some()
    }

    /// Whether there is nothing to tell a server.
    pub fn is_empty(&self) -> bool {
        !self.can_be_asked() && self.extensions.is_empty() && !self.has_tasks
    }

    /// The same of a client without sessions, which has no way to say that its roots changed.
    #[must_use]
    pub fn without_announcements(self) -> Self {
        Self { roots: self.roots.map(|_| Roots::default()), ..self }
    }

    /// Whether this client says when its roots change.
    pub fn announces_roots(&self) -> bool {
        self.roots.is_some_and(|roots| roots.announces)
    }

    /// Whether a call of this client may be answered with a task.
    pub fn has_tasks(&self) -> bool {
        self.has_tasks
    }

    /// The same of a client whose calls may, or may not, be answered with a task.
    #[must_use]
    pub fn with_tasks(&self, has_tasks: bool) -> Self {
        Self { has_tasks, ..self.clone() }
    }

    /// Whether this client can be asked `method` with `params`.
    pub fn allow(&self, method: &str, params: Option<Value<'_>>) -> bool {
        let member = |key: &str| params.and_then(|params| params.get(key));
        match method {
            ROOTS => self.roots.is_some(),
            SAMPLE => self.sampling.is_some_and(|sampling| {
                sampling.tools || (member("tools").is_none() && member("toolChoice").is_none())
            }),
            ELICIT => self.elicitation.is_some_and(|elicitation| {
                let is_url = member("mode").and_then(Value::as_str).as_deref() == Some("url");
                if is_url { elicitation.url } else { elicitation.form }
            }),
            _ => false,
        }
    }

    /// What a server is told: as [`to_json`](Self::to_json), and nothing where there is nothing
    /// to tell.
    pub fn declared(&self) -> Arc<str> {
        if self.is_empty() { Arc::default() } else { self.to_json().into() }
    }

    /// As JSON text, which both eras read alike. Equal abilities make equal texts.
    pub fn to_json(&self) -> String {
        let mut members = Vec::with_capacity(4);
        match self.roots {
            None => {}
            Some(Roots { announces: false }) => members.push(r#""roots":{}"#.to_owned()),
            Some(Roots { announces: true }) => members.push(r#""roots":{"listChanged":true}"#.to_owned()),
        }
        if let Some(Sampling { context, tools }) = self.sampling {
            members.push(format!(r#""sampling":{}"#, flags([("context", context), ("tools", tools)])));
        }
        if let Some(Elicitation { form, url }) = self.elicitation {
            // Forms alone are told in the way that every revision understands.
            let flags = if url { flags([("form", form), ("url", url)]) } else { "{}".to_owned() };
            members.push(format!(r#""elicitation":{flags}"#));
        }
        let tasks = if self.has_tasks { format!(r#""{TASKS_ID}":{{}}"#) } else { String::new() };
        let extensions: Vec<_> =
            [&self.extensions, &tasks].into_iter().filter(|it| !it.is_empty()).map(String::as_str).collect();
        if !extensions.is_empty() {
            members.push(format!(r#""extensions":{{{}}}"#, extensions.join(",")));
        }
        format!("{{{}}}", members.join(","))
    }
}

/// The capability without which `method` cannot be asked: `data.requiredCapabilities`.
pub fn required(method: &str, params: Option<Value<'_>>) -> &'static str {
    let is_url =
        params.and_then(|params| params.get("mode")).and_then(Value::as_str).as_deref() == Some("url");
    match method {
        ROOTS => r#"{"roots":{}}"#,
        SAMPLE if params.is_some_and(|params| params.get("tools").is_some()) => {
            r#"{"sampling":{"tools":{}}}"#
        }
        SAMPLE => r#"{"sampling":{}}"#,
        _ if is_url => r#"{"elicitation":{"url":{}}}"#,
        _ => r#"{"elicitation":{"form":{}}}"#,
    }
}

fn flags(flags: [(&str, bool); 2]) -> String {
    let set: Vec<_> =
        flags.iter().filter(|(_, set)| *set).map(|(key, _)| format!(r#""{key}":{{}}"#)).collect();
    format!("{{{}}}", set.join(","))
}

/// Of `extensions`, those that are passed on, as members; empty for none.
fn relayed(extensions: Value<'_>) -> String {
    let mut out = String::new();
    for id in RELAYED {
        let Some(settings) = extensions.get(id) else { continue };
        if !out.is_empty() {
            out.push(',');
        }
        push_string(&mut out, id);
        out.push_str(":{");
        if id == PAGES {
            out.push_str(&page_types(settings));
        }
        out.push('}');
    }
    out
}

/// The kinds of pages in the settings of [`PAGES`], as a member; empty for none that is known.
fn page_types(settings: Value<'_>) -> String {
    let Some(types) = settings.get("mimeTypes") else { return String::new() };
    let says = |known: &str| types.items().any(|it| it.as_str().as_deref() == Some(known));
    let known: Vec<_> = PAGE_TYPES.into_iter().filter(|known| says(known)).map(quoted).collect();
    if known.is_empty() { String::new() } else { format!(r#""mimeTypes":[{}]"#, known.join(",")) }
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
    fn capabilities_are_mirrored_and_what_is_not_relayed_is_left_out() {
        let cases = [
            ("{}", "{}"),
            (
                r#"{"roots":{"listChanged":true},"tasks":{},"experimental":{"x":{}}}"#,
                r#"{"roots":{"listChanged":true}}"#,
            ),
            (r#"{"roots":{"listChanged":false}}"#, r#"{"roots":{}}"#),
            (r#"{"elicitation":{}}"#, r#"{"elicitation":{}}"#),
            (r#"{"elicitation":{"form":{}}}"#, r#"{"elicitation":{}}"#),
            (r#"{"elicitation":{"url":{}}}"#, r#"{"elicitation":{"url":{}}}"#),
            (
                r#"{"elicitation":{"url":{},"form":{}},"sampling":{"tools":{}}}"#,
                r#"{"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}}"#,
            ),
            (r#"{"sampling":true}"#, "{}"),
            (
                r#"{"extensions":{"io.modelcontextprotocol/skills":{"x":1},"io.modelcontextprotocol/ui":{ "x":1, "mimeTypes":["a/b","text/html;profile=mcp-app","text/html;profile=mcp-app"]},"vendor/x":{}}}"#,
                r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]},"io.modelcontextprotocol/skills":{}}}"#,
            ),
            (
                r#"{"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["a/b"]}}}"#,
                r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#,
            ),
            (
                r#"{"extensions":{"io.modelcontextprotocol/tasks":{"x":1},"io.modelcontextprotocol/ui":{}}}"#,
                r#"{"extensions":{"io.modelcontextprotocol/ui":{},"io.modelcontextprotocol/tasks":{}}}"#,
            ),
        ];
        for (declared, told) in cases {
            let abilities = Abilities::read(document(declared).root());
            assert_eq!(abilities.to_json(), told, "{declared}");
            assert_eq!(abilities, Abilities::read(document(told).root()), "{declared}");
            assert_eq!(abilities.is_empty(), told == "{}", "{declared}");
        }
    }

    #[test]
    fn only_what_was_declared_may_be_asked() {
        let form = r#"{"mode":"form"}"#;
        let cases = [
            ("{}", ROOTS, "{}", false),
            (r#"{"roots":{}}"#, ROOTS, "{}", true),
            (r#"{"elicitation":{}}"#, ELICIT, "{}", true),
            (r#"{"elicitation":{}}"#, ELICIT, form, true),
            (r#"{"elicitation":{}}"#, ELICIT, r#"{"mode":"url"}"#, false),
            (r#"{"elicitation":{"url":{}}}"#, ELICIT, r#"{"mode":"url"}"#, true),
            (r#"{"elicitation":{"url":{}}}"#, ELICIT, form, false),
            (r#"{"sampling":{}}"#, SAMPLE, "{}", true),
            (r#"{"sampling":{}}"#, SAMPLE, r#"{"tools":[]}"#, false),
            (r#"{"sampling":{"tools":{}}}"#, SAMPLE, r#"{"tools":[]}"#, true),
            (r#"{"sampling":{}}"#, "sampling/other", "{}", false),
        ];
        for (declared, method, params, allowed) in cases {
            let (declared, params) = (document(declared), document(params));
            let abilities = Abilities::read(declared.root());
            assert_eq!(abilities.allow(method, Some(params.root())), allowed, "{method} {abilities:?}");
        }
    }
}
