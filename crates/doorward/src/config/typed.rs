//! From the tree to the structs of the sections, by serde.
//!
//! Says where a value of the wrong kind stands, and notes every key that no struct
//! asked for together with those it would have understood.

mod wrong;

pub(crate) use wrong::WrongKind;

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};

use super::tree::{Node, Scalar, Value, join};

/// A key that nothing asked for.
#[derive(Debug)]
pub(crate) struct Unknown {
    pub(crate) path: String,
    pub(crate) key: String,
    /// The keys that would have been understood at this place.
    pub(crate) known: &'static [&'static str],
}

/// Reads a `T` from the tree, adding to `unknown`.
pub(crate) fn read<'de, T: de::Deserialize<'de>>(
    node: &'de Node,
    path: &str,
    unknown: &RefCell<Vec<Unknown>>,
) -> Result<T, WrongKind> {
    T::deserialize(At { node, path: path.to_owned(), key: "", known: &[], unknown })
}

struct At<'de, 'u> {
    node: &'de Node,
    path: String,
    /// The key this value stands under, and the keys its map's struct knows.
    key: &'de str,
    known: &'static [&'static str],
    unknown: &'u RefCell<Vec<Unknown>>,
}

impl<'de> At<'de, '_> {
    /// Adds the place to an error that has none yet.
    fn locate(&self, error: WrongKind) -> WrongKind {
        match error.mark {
            Some(_) => error,
            None => {
                let found = self.scalar().map(|scalar| scalar.text.as_str());
                let error = error.of_key(self.key, found);
                WrongKind { path: self.path.clone(), mark: Some(self.node.mark), ..error }
            }
        }
    }

    fn finish<T>(&self, result: Result<T, WrongKind>) -> Result<T, WrongKind> {
        result.map_err(|error| self.locate(error))
    }

    fn scalar(&self) -> Option<&'de Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    fn unexpected(&self) -> Unexpected<'static> {
        match &self.node.value {
            Value::List(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
            Value::Scalar(scalar) if scalar.is_null() => Unexpected::Unit,
            Value::Scalar(scalar) if scalar.as_bool().is_some() => {
                Unexpected::Bool(scalar.as_bool() == Some(true))
            }
            Value::Scalar(scalar) => scalar.as_float().map_or(Unexpected::Str(""), Unexpected::Float),
        }
    }

    fn wrong<T>(&self, expected: &dyn Expected) -> Result<T, WrongKind> {
        self.finish(Err(de::Error::invalid_type(self.unexpected(), expected)))
    }

    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        let whole = self.scalar().and_then(|scalar| {
            let fraction =
                || scalar.as_float().filter(|it| it.fract() == 0.0 && it.abs() < 9e15).map(|it| it as i64);
            scalar.as_integer().or_else(fraction)
        });
        match whole {
            Some(number) => {
                let result = visitor.visit_i64(number);
                self.finish(result)
            }
            None => self.wrong(&visitor),
        }
    }
}

impl<'de> Deserializer<'de> for At<'de, '_> {
    type Error = WrongKind;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        let Some(scalar) = self.scalar() else {
            return match &self.node.value {
                Value::List(_) => self.deserialize_seq(visitor),
                _ => self.deserialize_map(visitor),
            };
        };
        let result = if scalar.is_null() {
            visitor.visit_unit()
        } else if let Some(truth) = scalar.as_bool() {
            visitor.visit_bool(truth)
        } else if let Some(number) = scalar.as_integer() {
            visitor.visit_i64(number)
        } else if let Some(number) = scalar.as_float() {
            visitor.visit_f64(number)
        } else {
            visitor.visit_borrowed_str(&scalar.text)
        };
        self.finish(result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        match self.scalar().and_then(Scalar::as_bool) {
            Some(truth) => visitor.visit_bool(truth),
            None => self.wrong(&"true or false"),
        }
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.integer(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        match self.scalar().and_then(Scalar::as_float) {
            Some(number) => visitor.visit_f64(number),
            None => self.wrong(&"a number"),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_str(visitor)
    }

    /// Any scalar but null is a text where one is needed: an id may consist of digits.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        match self.scalar() {
            Some(scalar) if !scalar.is_null() => {
                let result = visitor.visit_borrowed_str(&scalar.text);
                self.finish(result)
            }
            _ => self.wrong(&"a text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, WrongKind> {
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, WrongKind> {
        visitor.visit_newtype_struct(self)
    }

    /// A key without a value is an empty list: people comment out the last element.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        match &self.node.value {
            Value::List(items) => {
                let list = Items { items: items.iter().enumerate(), path: &self.path, unknown: self.unknown };
                let result = visitor.visit_seq(list);
                self.finish(result)
            }
            _ if self.node.is_null() => {
                visitor.visit_seq(Items { items: [].iter().enumerate(), path: "", unknown: self.unknown })
            }
            _ => self.wrong(&"a list"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, WrongKind> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.entries(&[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongKind> {
        self.entries(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongKind> {
        match self.scalar() {
            Some(scalar) if !scalar.is_null() => {
                let word: StrDeserializer<'_, WrongKind> = scalar.text.as_str().into_deserializer();
                let result = visitor.visit_enum(word);
                self.finish(result)
            }
            _ => self.wrong(&"one of a few words"),
        }
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongKind> {
        let unknown = Unknown { path: self.path, key: self.key.to_owned(), known: self.known };
        self.unknown.borrow_mut().push(unknown);
        visitor.visit_unit()
    }
}

impl<'de> At<'de, '_> {
    fn entries<V: Visitor<'de>>(
        self,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongKind> {
        let entries: &'de [_] = match &self.node.value {
            Value::Map(entries) => entries,
            _ if self.node.is_null() => &[],
            _ => return self.wrong(&"keys and values"),
        };
        let map =
            Entries { entries: entries.iter(), value: None, path: &self.path, known, unknown: self.unknown };
        let result = visitor.visit_map(map);
        self.finish(result)
    }
}

struct Items<'de, 'u> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
    path: &'u str,
    unknown: &'u RefCell<Vec<Unknown>>,
}

impl<'de> SeqAccess<'de> for Items<'de, '_> {
    type Error = WrongKind;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, WrongKind> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = format!("{}[{index}]", self.path);
        seed.deserialize(At { node, path, key: "", known: &[], unknown: self.unknown }).map(Some)
    }
}

struct Entries<'de, 'u> {
    entries: std::slice::Iter<'de, (super::tree::Key, Node)>,
    value: Option<(&'de str, &'de Node)>,
    path: &'u str,
    known: &'static [&'static str],
    unknown: &'u RefCell<Vec<Unknown>>,
}

impl<'de> MapAccess<'de> for Entries<'de, '_> {
    type Error = WrongKind;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, WrongKind> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.value = Some((&key.text, node));
        let key: StrDeserializer<'de, WrongKind> = key.text.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, WrongKind> {
        let (key, node) = self.value.take().expect("serde asks for a key before its value");
        let path = join(self.path, key);
        seed.deserialize(At { node, path, key, known: self.known, unknown: self.unknown })
    }
}
