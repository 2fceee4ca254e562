//! A document to a typed value: `serde` over the node tree. The error names the innermost value that does not fit.

use std::fmt;

use forebay_core::Result;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};

use crate::document::{Key, Node, Reference, Value, join};
use crate::{Document, Span};

pub(super) fn read<T: DeserializeOwned>(document: &Document) -> Result<T> {
    let node = Typed {
        node: &document.node,
        path: document.path.clone(),
    };
    T::deserialize(node).map_err(|error| {
        let place = error.place.unwrap_or_else(|| Where {
            span: document.node.span,
            path: document.path.clone(),
        });
        let subject = if place.path.is_empty() {
            "the file".to_owned()
        } else {
            format!("`{}`", place.path)
        };
        document.error_at(
            place.span,
            "bad_value",
            format!("{subject}: {}", error.message),
        )
    })
}

#[derive(Debug)]
struct Misfit {
    message: String,
    place: Option<Where>,
}

#[derive(Debug)]
struct Where {
    span: Span,
    path: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            place: None,
        }
    }
}

impl Misfit {
    /// The first error with a place is the innermost one.
    fn at(mut self, span: Span, path: &str) -> Self {
        self.place.get_or_insert_with(|| Where {
            span,
            path: path.to_owned(),
        });
        self
    }
}

struct Typed<'a> {
    node: &'a Node,
    path: String,
}

impl Typed<'_> {
    /// A value that came from outside the file may be secret: the message must not repeat it.
    fn place(&self, error: Misfit) -> Misfit {
        let hidden = matches!(
            self.node.reference,
            Some(Reference::Env | Reference::Secret)
        );
        if hidden && error.place.is_none() {
            return Misfit {
                message: "the value of this reference is invalid here".into(),
                place: None,
            }
            .at(self.node.span, &self.path);
        }
        error.at(self.node.span, &self.path)
    }

    fn any<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visit_integer(*value, visitor),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::List(nodes) => visitor.visit_seq(Elements {
                nodes: nodes.iter().enumerate(),
                path: &self.path,
            }),
            Value::Map(entries) => visitor.visit_map(Entries {
                entries: entries.iter(),
                value: None,
                path: &self.path,
            }),
        }
    }

    fn variant<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Misfit> {
        match &self.node.value {
            Value::String(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Value::Map(entries) => match entries.as_slice() {
                [(key, node)] => visitor.visit_enum(Variant {
                    key,
                    node,
                    path: &self.path,
                }),
                _ => Err(de::Error::custom(format!(
                    "write one key here, not {}",
                    entries.len()
                ))),
            },
            other => Err(de::Error::custom(format!(
                "write a name or a mapping of one key, not {}",
                other.kind()
            ))),
        }
    }
}

fn visit_integer<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, Misfit> {
    if let Ok(value) = u64::try_from(value) {
        return visitor.visit_u64(value);
    }
    match i64::try_from(value) {
        Ok(value) => visitor.visit_i64(value),
        Err(_) => visitor.visit_i128(value),
    }
}

macro_rules! integers {
    ($($name:ident)*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            let read = match self.node.as_integer() {
                Some(value) => visit_integer(value, visitor),
                None => self.any(visitor),
            };
            read.map_err(|error| self.place(error))
        })*
    };
}

macro_rules! plainly {
    ($($name:ident)*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            self.any(visitor).map_err(|error| self.place(error))
        })*
    };
}

macro_rules! floats {
    ($($name:ident)*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
            let read = match self.node.as_float() {
                Some(value) => visitor.visit_f64(value),
                None => self.any(visitor),
            };
            read.map_err(|error| self.place(error))
        })*
    };
}

impl<'de> Deserializer<'de> for Typed<'_> {
    type Error = Misfit;

    integers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    floats!(deserialize_f32 deserialize_f64);
    plainly!(deserialize_any deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_seq deserialize_identifier);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let read = match self.node.as_bool() {
            Some(value) => visitor.visit_bool(value),
            None => self.any(visitor),
        };
        read.map_err(|error| self.place(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let node = self.node;
        let path = self.path.clone();
        visitor
            .visit_newtype_struct(self)
            .map_err(|error| Typed { node, path }.place(error))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    /// A key without a value is an empty mapping: `json:`.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let read = match self.node.value {
            Value::Null => visitor.visit_map(Entries {
                entries: [].iter(),
                value: None,
                path: &self.path,
            }),
            _ => self.any(visitor),
        };
        read.map_err(|error| self.place(error))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.variant(visitor).map_err(|error| self.place(error))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }
}

struct Elements<'a> {
    nodes: std::iter::Enumerate<std::slice::Iter<'a, std::sync::Arc<Node>>>,
    path: &'a str,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Misfit> {
        let Some((i, node)) = self.nodes.next() else {
            return Ok(None);
        };
        let typed = Typed {
            node,
            path: format!("{}[{i}]", self.path),
        };
        typed.deserialize_seed(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len())
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (Key, std::sync::Arc<Node>)>,
    value: Option<(&'a Key, &'a Node)>,
    path: &'a str,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Misfit> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        let name: StrDeserializer<'_, Misfit> = key.name.as_str().into_deserializer();
        seed.deserialize(name)
            .map(Some)
            .map_err(|error| error.at(key.span, &join(self.path, &key.name)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let (key, node) = self
            .value
            .take()
            .ok_or_else(|| de::Error::custom("a value was requested before its key"))?;
        Typed {
            node,
            path: join(self.path, &key.name),
        }
        .deserialize_seed(seed)
    }
}

impl Typed<'_> {
    /// A seed may fail after the value was read (`try_from`): the place is this value all the same.
    fn deserialize_seed<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Misfit> {
        let outer = Typed {
            node: self.node,
            path: self.path.clone(),
        };
        seed.deserialize(self).map_err(|error| outer.place(error))
    }
}

struct Variant<'a> {
    key: &'a Key,
    node: &'a Node,
    path: &'a str,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Misfit;
    type Variant = Typed<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Typed<'a>), Misfit> {
        let path = join(self.path, &self.key.name);
        let name: StrDeserializer<'_, Misfit> = self.key.name.as_str().into_deserializer();
        let variant = seed
            .deserialize(name)
            .map_err(|error| error.at(self.key.span, &path))?;
        Ok((
            variant,
            Typed {
                node: self.node,
                path,
            },
        ))
    }
}

impl<'de> VariantAccess<'de> for Typed<'_> {
    type Error = Misfit;

    fn unit_variant(self) -> Result<(), Misfit> {
        match self.node.value {
            Value::Null => Ok(()),
            _ => Err(self.place(de::Error::custom("this choice takes no value"))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Misfit> {
        self.deserialize_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Misfit> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use forebay_core::unit::{Size, Span};
    use serde::Deserialize;

    use crate::{Diagnostic, Document};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Config {
        rows: u64,
        ratio: f64,
        on: bool,
        size: Option<Size>,
        time: Option<Span>,
        kind: Kind,
        tags: Vec<String>,
        by_name: BTreeMap<String, Inner>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        #[default]
        Plain,
        Limited(u32),
        Paged {
            size: u16,
        },
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Inner {
        #[serde(default)]
        n: i8,
    }

    fn read(text: &str) -> Result<Config, String> {
        Document::from_yaml(text)
            .and_then(|document| document.parse())
            .map_err(|error| {
                let at = Diagnostic::of(&error).expect("an error of parse has a place");
                format!("{}:{} {}", at.place.line, at.place.column, error.message())
            })
    }

    #[test]
    fn values_are_read_as_their_types() {
        let text = "rows: 100_000\nratio: 1\non: true\nsize: 64MiB\ntime: 10s\nkind: {paged: {size: 5}}\n\
                    tags: [a, '5']\nby_name: {x: {n: -3}, y: }\n";
        let config = read(text).expect("it fits");
        assert_eq!((config.rows, config.ratio, config.on), (100_000, 1.0, true));
        assert_eq!(config.size, Some(Size(64 << 20)));
        assert_eq!(config.kind, Kind::Paged { size: 5 });
        assert_eq!(config.by_name["y"], Inner::default());
        assert_eq!(read("kind: plain").map(|c| c.kind), Ok(Kind::Plain));
        assert_eq!(
            read("kind: {limited: 1_0}").map(|c| c.kind),
            Ok(Kind::Limited(10))
        );
        assert_eq!(
            read("rows: 18446744073709551615").map(|c| c.rows),
            Ok(u64::MAX)
        );
    }

    #[test]
    fn an_error_points_at_the_innermost_value() {
        for (text, expected) in [
            (
                "by_name:\n  x: {n: 300}\n",
                "2:10 `by_name.x.n`: invalid value: integer `300`, expected i8",
            ),
            (
                "tags: [a, 5]\n",
                "1:11 `tags[1]`: invalid type: integer `5`, expected a string",
            ),
            (
                "rows: '5'\n",
                "1:7 `rows`: invalid type: string \"5\", expected u64",
            ),
            (
                "kind: {paged: {size: -1}}\n",
                "1:22 `kind.paged.size`: invalid value: integer `-1`, expected u16",
            ),
            (
                "kind: [plain]\n",
                "1:7 `kind`: write a name or a mapping of one key, not a list",
            ),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()));
        }
        let unit = read("rows: 1\ntime: 10 parsecs\n").expect_err("no unit");
        assert!(
            unit.starts_with("2:7 `time`: \"10 parsecs\" is not a duration"),
            "{unit}"
        );
        let unknown = read("rows: 1\nrow: 1\n").expect_err("no such key");
        assert!(
            unknown.starts_with("2:1 `row`: unknown field `row`"),
            "{unknown}"
        );
    }
}
