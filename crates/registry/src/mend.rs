//! Definitions that do not have the form that MCP gives them. Clients check all of a list at once,
//! so that one of these makes them refuse every tool of every server.
//!
//! What can only have been meant in one way is written that way, such as an optional member that
//! is `null`. What describes a capability and cannot be understood is taken out of it. A definition
//! that nobody could call as it stands is left out. A hint about what a tool does is never
//! guessed: without it, clients assume the worst.

mod schema;

use std::fmt::Write as _;

use doorward_model::CapabilityKind;
use doorward_model::json::{Kind, Value, push_string};

/// A definition in the form of MCP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mended {
    /// What it is now, JSON text.
    pub(crate) text: String,
    /// What was changed, for people.
    pub(crate) changes: String,
}

/// Why a definition cannot be mended, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hopeless(pub(crate) String);

/// What becomes of a member.
enum Fate {
    Keep,
    Drop,
    Become(String),
}

/// The definition as MCP has it; `None` if it is as it should be.
pub(crate) fn mended(kind: CapabilityKind, definition: Value<'_>) -> Result<Option<Mended>, Hopeless> {
    let mut mending = Mending::default();
    let text = match kind {
        CapabilityKind::Tool => mending.tool(definition)?,
        CapabilityKind::Prompt => mending.prompt(definition)?,
        CapabilityKind::Resource => mending.resource(definition, "uri")?,
        CapabilityKind::ResourceTemplate => mending.resource(definition, "uriTemplate")?,
    };
    Ok(text.map(|text| Mended { text, changes: mending.changes.join(", ") }))
}

/// What was changed so far, and where one is.
#[derive(Default)]
struct Mending {
    changes: Vec<String>,
    place: Vec<String>,
}

type Result<T, E = Hopeless> = std::result::Result<T, E>;

impl Mending {
    fn tool(&mut self, definition: Value<'_>) -> Result<Option<String>> {
        let has_schema = definition.get("inputSchema").is_some();
        let added = (!has_schema).then(|| ("inputSchema", schema::ANY.to_owned()));
        self.object(definition, added, |mending, key, value| match key {
            "inputSchema" => mending.input_schema(value),
            "outputSchema" => mending.output_schema(value),
            "annotations" => mending.optional(value, Kind::Object, Self::hints),
            "execution" => mending.optional(value, Kind::Object, Self::execution),
            _ => mending.described(key, value),
        })
    }

    fn prompt(&mut self, definition: Value<'_>) -> Result<Option<String>> {
        self.object(definition, None, |mending, key, value| match key {
            "arguments" => mending.arguments(value),
            _ => mending.described(key, value),
        })
    }

    fn resource(&mut self, definition: Value<'_>, naming: &str) -> Result<Option<String>> {
        // People are shown a name; the address is the only one it has.
        let named = || definition.get(naming).map_or("\"\"", Value::raw).to_owned();
        let added = definition.get("name").is_none().then(|| ("name", named()));
        self.object(definition, added, |mending, key, value| match key {
            "name" if value.kind() != Kind::String => Ok(mending.changed(Fate::Become(named()), value)),
            "mimeType" => mending.optional(value, Kind::String, Self::keep),
            "size" if naming == "uri" => mending.optional(value, Kind::Number, Self::keep),
            "annotations" => mending.optional(value, Kind::Object, Self::audience),
            _ => mending.described(key, value),
        })
    }

    /// What all kinds of definitions have.
    fn described(&mut self, key: &str, value: Value<'_>) -> Result<Fate> {
        match key {
            "title" | "description" => self.optional(value, Kind::String, Self::keep),
            "_meta" => self.optional(value, Kind::Object, Self::keep),
            "icons" => self.optional(value, Kind::Array, Self::icons),
            _ => Ok(Fate::Keep),
        }
    }

    fn hints(&mut self, annotations: Value<'_>) -> Result<Fate> {
        self.members(annotations, |mending, key, value| match key {
            "title" => mending.optional(value, Kind::String, Self::keep),
            _ if key.ends_with("Hint") => mending.optional(value, Kind::Bool, Self::keep),
            _ => Ok(Fate::Keep),
        })
    }

    fn execution(&mut self, execution: Value<'_>) -> Result<Fate> {
        self.members(execution, |mending, key, value| match key {
            "taskSupport" => mending.one_of(value, &["required", "optional", "forbidden"]),
            _ => Ok(Fate::Keep),
        })
    }

    fn audience(&mut self, annotations: Value<'_>) -> Result<Fate> {
        self.members(annotations, |mending, key, value| {
            let fits = match key {
                "audience" => {
                    let is_role = |role: Value<'_>| {
                        role.as_str().is_some_and(|role| matches!(&*role, "user" | "assistant"))
                    };
                    value.kind() == Kind::Array && value.items().all(is_role)
                }
                "priority" => value.as_f64().is_some_and(|priority| (0.0..=1.0).contains(&priority)),
                "lastModified" => value.as_str().is_some_and(|text| is_date_time(&text)),
                _ => true,
            };
            Ok(if fits { Fate::Keep } else { mending.changed(Fate::Drop, value) })
        })
    }

    fn icons(&mut self, icons: Value<'_>) -> Result<Fate> {
        self.items(icons, |mending, icon| {
            if icon.get("src").and_then(Value::as_str).is_none() {
                return Ok(mending.changed(Fate::Drop, icon));
            }
            mending.members(icon, |mending, key, value| match key {
                "mimeType" => mending.optional(value, Kind::String, Self::keep),
                "theme" => mending.one_of(value, &["light", "dark"]),
                // As an earlier draft had it.
                "sizes" if value.kind() == Kind::String => {
                    Ok(mending.changed(Fate::Become(format!("[{}]", value.raw())), value))
                }
                "sizes" if value.items().any(|size| size.kind() != Kind::String) => {
                    Ok(mending.changed(Fate::Drop, value))
                }
                "sizes" => mending.optional(value, Kind::Array, Self::keep),
                _ => Ok(Fate::Keep),
            })
        })
    }

    fn arguments(&mut self, arguments: Value<'_>) -> Result<Fate> {
        match arguments.kind() {
            Kind::Null => Ok(self.changed(Fate::Drop, arguments)),
            // As languages write it that do not tell an empty list from an empty object.
            Kind::Object if arguments.members().next().is_none() => Ok(self.changed(Fate::Drop, arguments)),
            Kind::Array => self.items(arguments, |mending, argument| {
                if argument.get("name").and_then(Value::as_str).is_none() {
                    return Err(mending.hopeless("has no name"));
                }
                mending.members(argument, |mending, key, value| match key {
                    "title" | "description" => mending.optional(value, Kind::String, Self::keep),
                    "required" => mending.optional(value, Kind::Bool, Self::keep),
                    _ => Ok(Fate::Keep),
                })
            }),
            _ => Err(self.hopeless("is no list")),
        }
    }

    /// A member that may be left away: it goes if it is of another kind.
    fn optional(
        &mut self,
        value: Value<'_>,
        kind: Kind,
        within: fn(&mut Self, Value<'_>) -> Result<Fate>,
    ) -> Result<Fate> {
        if value.kind() == kind { within(self, value) } else { Ok(self.changed(Fate::Drop, value)) }
    }

    fn keep(&mut self, _: Value<'_>) -> Result<Fate> {
        Ok(Fate::Keep)
    }

    fn one_of(&mut self, value: Value<'_>, words: &[&str]) -> Result<Fate> {
        let is_known = value.as_str().is_some_and(|word| words.contains(&&*word));
        Ok(if is_known { Fate::Keep } else { self.changed(Fate::Drop, value) })
    }

    fn members(
        &mut self,
        object: Value<'_>,
        fate: impl FnMut(&mut Self, &str, Value<'_>) -> Result<Fate>,
    ) -> Result<Fate> {
        Ok(self.object(object, None, fate)?.map_or(Fate::Keep, Fate::Become))
    }

    /// Goes through an object; its text if that is another now.
    fn object(
        &mut self,
        object: Value<'_>,
        added: Option<(&str, String)>,
        mut fate: impl FnMut(&mut Self, &str, Value<'_>) -> Result<Fate>,
    ) -> Result<Option<String>> {
        let mut out = String::from("{");
        let mut is_other = false;
        for (key, value) in object.members() {
            self.place.push(key.to_string());
            let fate = fate(self, &key, value)?;
            self.place.pop();
            is_other |= !matches!(fate, Fate::Keep);
            let text = match &fate {
                Fate::Keep => value.raw(),
                Fate::Drop => continue,
                Fate::Become(text) => text,
            };
            push_member(&mut out, &key, text);
        }
        if let Some((key, text)) = added {
            is_other = true;
            self.changes.push(format!("`{}` was missing", self.path(Some(key))));
            push_member(&mut out, key, &text);
        }
        out.push('}');
        Ok(is_other.then_some(out))
    }

    /// Goes through a list.
    fn items(
        &mut self,
        list: Value<'_>,
        mut fate: impl FnMut(&mut Self, Value<'_>) -> Result<Fate>,
    ) -> Result<Fate> {
        let mut kept = Vec::new();
        let mut is_other = false;
        for (at, item) in list.items().enumerate() {
            self.place.push(at.to_string());
            let fate = fate(self, item)?;
            self.place.pop();
            is_other |= !matches!(fate, Fate::Keep);
            match fate {
                Fate::Keep => kept.push(item.raw().to_owned()),
                Fate::Drop => {}
                Fate::Become(text) => kept.push(text),
            }
        }
        Ok(if is_other { Fate::Become(format!("[{}]", kept.join(","))) } else { Fate::Keep })
    }

    /// Takes note of a change.
    fn changed(&mut self, fate: Fate, value: Value<'_>) -> Fate {
        let was: String = value.raw().chars().take(40).collect();
        self.changes.push(format!("`{}` was {was}", self.path(None)));
        fate
    }

    fn hopeless(&self, why: &str) -> Hopeless {
        Hopeless(format!("`{}` {why}", self.path(None)))
    }

    fn path(&self, last: Option<&str>) -> String {
        let mut path = self.place.join(".");
        if let Some(last) = last {
            let dot = if path.is_empty() { "" } else { "." };
            write!(path, "{dot}{last}").expect("writing to a string");
        }
        path
    }
}

fn push_member(out: &mut String, key: &str, text: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    push_string(out, key);
    out.push(':');
    out.push_str(text);
}

/// RFC 3339, as far as its form goes.
fn is_date_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_once('T') else { return false };
    let zone = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let has_form = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                _ => byte == form,
            })
    };
    has_form(date, "0000-00-00")
        && has_form(time, "00:00:00")
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && (zone == "Z" || has_form(zone, "+00:00") || has_form(zone, "-00:00"))
}

#[cfg(test)]
mod tests;
