//! Makes doubles of whole numbers in a shape. Walks it as `shape::Object::columns` does.

use super::Nested;
use super::shape::{ELEMENT, Key, Kind, Object, element_name, join, kind_name};
use crate::learned::HeldLongs;

/// Whether a column (its table and its name, as in `shape::Column`) has become one of doubles.
pub(super) type Widened<'a> = &'a dyn Fn(&str, &str) -> Option<HeldLongs>;

pub(super) fn widen(root: &mut Object, nested: Nested, widened: Widened<'_>) {
    Widening { nested, widened }.object(root, "", "");
}

struct Widening<'a> {
    nested: Nested,
    widened: Widened<'a>,
}

impl Widening<'_> {
    /// An object that is a row of its table, or flattened into one.
    fn object(&self, object: &mut Object, table: &str, prefix: &str) {
        for key in &mut object.keys {
            let name = join(prefix, &key.key);
            self.settle(&mut key.kinds, table, &name);
            for (i, kind) in key.kinds.iter_mut().enumerate() {
                let name = kind_name(&name, i, kind.name());
                self.kind(kind, table, &name);
            }
        }
    }

    fn kind(&self, kind: &mut Kind, table: &str, name: &str) {
        match kind {
            Kind::Object(object) if self.nested != Nested::Keep => self.object(object, table, name),
            Kind::List(element) if self.nested == Nested::Tables => {
                self.child(element, &join(table, name));
            }
            kind => self.kept(kind, table, name, 1),
        }
    }

    /// The elements of a list that is a table of its own.
    fn child(&self, element: &mut Key, table: &str) {
        let kinds = std::mem::take(&mut element.kinds);
        let (mut objects, mut others): (Vec<Kind>, Vec<Kind>) = kinds
            .into_iter()
            .partition(|kind| matches!(kind, Kind::Object(_)));
        for kind in &mut objects {
            if let Kind::Object(object) = kind {
                self.object(object, table, "");
            }
        }
        self.settle(&mut others, table, ELEMENT);
        for (i, kind) in others.iter_mut().enumerate() {
            let name = kind_name(ELEMENT, i, kind.name());
            self.kind(kind, table, &name);
        }
        element.kinds = objects;
        element.kinds.append(&mut others);
    }

    /// A column that keeps its structure; `depth` lists are around its elements.
    fn kept(&self, kind: &mut Kind, table: &str, name: &str, depth: usize) {
        match kind {
            Kind::Object(object) => {
                for key in &mut object.keys {
                    self.settle(&mut key.kinds, table, &format!("{name}\n{}", key.key));
                    for (i, kind) in key.kinds.iter_mut().enumerate() {
                        let name = format!("{name}\n{}", kind_name(&key.key, i, kind.name()));
                        self.kept(kind, table, &name, 1);
                    }
                }
            }
            Kind::List(element) => {
                self.settle(&mut element.kinds, table, name);
                for (i, kind) in element.kinds.iter_mut().enumerate() {
                    let name = element_name(name, i, kind.name(), depth);
                    self.kept(kind, table, &name, depth + 1);
                }
            }
            _ => {}
        }
    }

    /// `name` is that of the first kind.
    fn settle(&self, kinds: &mut Vec<Kind>, table: &str, name: &str) {
        if kinds.first() != Some(&Kind::Long) {
            return;
        }
        let Some(longs) = (self.widened)(table, name) else {
            return;
        };
        kinds.retain(|kind| *kind != Kind::Double);
        kinds[0] = Kind::Double;
        if longs == HeldLongs::Beside {
            kinds.push(Kind::Long);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, kinds: Vec<Kind>) -> Key {
        Key {
            key: name.to_owned(),
            kinds,
            order: 0,
        }
    }

    fn numbers() -> Vec<Kind> {
        vec![Kind::Long, Kind::String, Kind::Double]
    }

    #[test]
    fn the_columns_that_are_widened_are_those_that_the_shape_names() {
        for nested in [Nested::Keep, Nested::Flatten, Nested::Tables] {
            let inner = Object {
                keys: vec![key("x", numbers())],
            };
            let elements = [vec![Kind::Object(inner.clone())], numbers()].concat();
            let list = Kind::List(Box::new(key(ELEMENT, numbers())));
            let lists = Kind::List(Box::new(key(ELEMENT, vec![list])));
            let mut shape = Object {
                keys: vec![
                    key("a", numbers()),
                    key("o", vec![Kind::Object(inner)]),
                    key("l", vec![Kind::List(Box::new(key(ELEMENT, numbers())))]),
                    key("ll", vec![lists]),
                ],
            };
            if nested == Nested::Tables {
                shape
                    .keys
                    .push(key("t", vec![Kind::List(Box::new(key(ELEMENT, elements)))]));
            }
            let columns = shape.columns(nested);
            let named = |table: &str, name: &str| {
                columns
                    .iter()
                    .any(|column| column.table == table && column.name == name)
            };
            widen(&mut shape, nested, &|table, name| {
                assert!(named(table, name), "{nested:?}: {table:?} {name:?}");
                Some(HeldLongs::None)
            });
            let left: Vec<String> = shape
                .columns(nested)
                .into_iter()
                .filter(|column| column.is_leaf)
                .map(|column| column.name)
                .collect();
            assert!(
                left.iter()
                    .all(|name| !name.ends_with("double") && !name.ends_with("long")),
                "{nested:?}: {left:?}"
            );
        }
    }
}
