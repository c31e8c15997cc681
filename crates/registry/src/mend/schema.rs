//! `inputSchema` and `outputSchema`. What a tool takes is always an object, whatever its schema
//! forgot to say; a schema of anything else describes nothing that could be sent.

use doorward_model::json::{Kind, Value, quoted};

use super::{Fate, Hopeless, Mending, Result};

/// What takes any object.
pub(super) const ANY: &str = r#"{"type":"object"}"#;

impl Mending {
    pub(super) fn input_schema(&mut self, schema: Value<'_>) -> Result<Fate> {
        let says_nothing = match schema.kind() {
            Kind::Object => false,
            Kind::Null => true,
            // As languages write it that do not tell an empty list from an empty object.
            Kind::Array => schema.items().next().is_none(),
            _ => schema.as_bool() == Some(true),
        };
        if says_nothing {
            return Ok(self.changed(Fate::Become(ANY.to_owned()), schema));
        }
        if schema.kind() != Kind::Object {
            return Err(self.hopeless("is no schema of an object"));
        }
        let added = schema.get("type").is_none().then(|| ("type", quoted("object")));
        let text = self.object(schema, added, |mending, key, value| match key {
            "type" => mending.type_of_input(value),
            _ => mending.of_any_schema(key, value),
        })?;
        Ok(text.map_or(Fate::Keep, Fate::Become))
    }

    fn type_of_input(&mut self, value: Value<'_>) -> Result<Fate> {
        let is_object = |name: Value<'_>| name.as_str().as_deref() == Some("object");
        if is_object(value) {
            return Ok(Fate::Keep);
        }
        if value.is_null() || value.items().any(is_object) {
            return Ok(self.changed(Fate::Become(quoted("object")), value));
        }
        Err(self.hopeless("is not `object`"))
    }

    /// Nobody needs to know what a tool answers in order to call it.
    pub(super) fn output_schema(&mut self, schema: Value<'_>) -> Result<Fate> {
        if schema.kind() != Kind::Object {
            return Ok(self.changed(Fate::Drop, schema));
        }
        let (depth, changes) = (self.place.len(), self.changes.len());
        let mended = self.members(schema, |mending, key, value| match key {
            "type" if value.is_null() => Ok(mending.changed(Fate::Drop, value)),
            _ => mending.of_any_schema(key, value),
        });
        match mended {
            Ok(fate) => Ok(fate),
            Err(Hopeless(why)) => {
                self.place.truncate(depth);
                self.changes.truncate(changes);
                self.changes.push(format!("{why}, so `outputSchema` is left out"));
                Ok(Fate::Drop)
            }
        }
    }

    fn of_any_schema(&mut self, key: &str, value: Value<'_>) -> Result<Fate> {
        match key {
            "$schema" => self.optional(value, Kind::String, Self::keep),
            "properties" => self.properties(value),
            "required" => self.required(value),
            _ => Ok(Fate::Keep),
        }
    }

    fn properties(&mut self, properties: Value<'_>) -> Result<Fate> {
        match properties.kind() {
            Kind::Null => Ok(self.changed(Fate::Drop, properties)),
            Kind::Array if properties.items().next().is_none() => {
                Ok(self.changed(Fate::Become("{}".to_owned()), properties))
            }
            Kind::Object => self.members(properties, |mending, _, property| match property.kind() {
                Kind::Object | Kind::Bool => Ok(Fate::Keep),
                Kind::Null => Ok(mending.changed(Fate::Become("{}".to_owned()), property)),
                Kind::Array if property.items().next().is_none() => {
                    Ok(mending.changed(Fate::Become("{}".to_owned()), property))
                }
                _ => Err(mending.hopeless("is no schema")),
            }),
            _ => Err(self.hopeless("is no object of schemas")),
        }
    }

    fn required(&mut self, required: Value<'_>) -> Result<Fate> {
        match required.kind() {
            Kind::Null => Ok(self.changed(Fate::Drop, required)),
            Kind::Object if required.members().next().is_none() => Ok(self.changed(Fate::Drop, required)),
            Kind::Array if required.items().all(|name| name.kind() == Kind::String) => Ok(Fate::Keep),
            _ => Err(self.hopeless("is no list of names")),
        }
    }
}
