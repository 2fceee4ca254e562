//! Removes columns from a shape that only rejected records had. Walks it as `shape::Object::columns` does.

use super::Nested;
use super::shape::{ELEMENT, Key, Kind, Object, element_name, join, kind_name};

/// Whether to remove a column (its table and its name, as in `shape::Column`).
pub(super) type Unwanted<'a> = &'a dyn Fn(&str, &str) -> bool;

/// Removes the unwanted columns, and containers with nothing else. The first kind of a key has the plain name, so it stays
/// as long as another kind of the key does.
pub(super) fn prune(root: &mut Object, nested: Nested, unwanted: Unwanted<'_>) {
    Pruning { nested, unwanted }.object(root, "", "");
}

struct Pruning<'a> {
    nested: Nested,
    unwanted: Unwanted<'a>,
}

impl Pruning<'_> {
    /// Whether the object has a key left.
    fn object(&self, object: &mut Object, table: &str, prefix: &str) -> bool {
        object.keys.retain_mut(|key| {
            let name = join(prefix, &key.key);
            self.kinds(&mut key.kinds, table, &name)
        });
        !object.keys.is_empty()
    }

    /// Whether a kind is left.
    fn kinds(&self, kinds: &mut Vec<Kind>, table: &str, name: &str) -> bool {
        let left = kinds.iter_mut().enumerate().map(|(i, kind)| {
            let name = kind_name(name, i, kind.name());
            self.kind(kind, table, &name)
        });
        let left = left.collect();
        retain(kinds, left)
    }

    fn kind(&self, kind: &mut Kind, table: &str, name: &str) -> bool {
        match kind {
            Kind::Object(object) if self.nested != Nested::Keep => self.object(object, table, name),
            Kind::List(element) if self.nested == Nested::Tables => {
                self.child(element, &join(table, name))
            }
            kind => self.kept(kind, table, name, 1),
        }
    }

    /// The elements of a list that is a table of its own.
    fn child(&self, element: &mut Key, table: &str) -> bool {
        let mut others = Vec::new();
        let left = element.kinds.iter_mut().map(|kind| {
            if let Kind::Object(object) = kind {
                return self.object(object, table, "");
            }
            let name = kind_name(ELEMENT, others.len(), kind.name());
            let is_left = self.kind(kind, table, &name);
            others.push(is_left);
            is_left
        });
        let mut left: Vec<bool> = left.collect();
        // The first kind that is not an object has the plain name.
        let is_other = |kind: &Kind| !matches!(kind, Kind::Object(_));
        if let Some(first) = element.kinds.iter().position(is_other) {
            left[first] = others.contains(&true);
        }
        keep_marked(&mut element.kinds, left)
    }

    /// A column that keeps its structure; `depth` lists are around its elements.
    fn kept(&self, kind: &mut Kind, table: &str, name: &str, depth: usize) -> bool {
        match kind {
            Kind::Declared(_) => true,
            Kind::Object(object) => {
                object
                    .keys
                    .retain_mut(|key| self.kept_key(key, table, name));
                !object.keys.is_empty()
            }
            Kind::List(element) => {
                let left = element.kinds.iter_mut().enumerate().map(|(i, kind)| {
                    let name = element_name(name, i, kind.name(), depth);
                    self.kept(kind, table, &name, depth + 1)
                });
                let left = left.collect();
                retain(&mut element.kinds, left)
            }
            _ => !(self.unwanted)(table, name),
        }
    }

    fn kept_key(&self, key: &mut Key, table: &str, object: &str) -> bool {
        let left = key.kinds.iter_mut().enumerate().map(|(i, kind)| {
            let name = format!("{object}\n{}", kind_name(&key.key, i, kind.name()));
            self.kept(kind, table, &name, 1)
        });
        let left = left.collect();
        retain(&mut key.kinds, left)
    }
}

/// Keeps the kinds that are left; returns whether there are any.
fn retain(kinds: &mut Vec<Kind>, mut left: Vec<bool>) -> bool {
    let has_any = left.contains(&true);
    if let Some(first) = left.first_mut() {
        *first = has_any;
    }
    keep_marked(kinds, left)
}

fn keep_marked(kinds: &mut Vec<Kind>, left: Vec<bool>) -> bool {
    let has_any = left.contains(&true);
    let mut left = left.into_iter();
    kinds.retain(|_| left.next().unwrap_or(true));
    has_any
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::shape::Column;

    fn key(name: &str, kinds: Vec<Kind>) -> Key {
        Key {
            key: name.to_owned(),
            kinds,
            order: 0,
        }
    }

    fn sample() -> Object {
        let inner = || Object {
            keys: vec![
                key("x", vec![Kind::Long]),
                key("y", vec![Kind::Long, Kind::String]),
            ],
        };
        let element = key(
            ELEMENT,
            vec![Kind::Object(inner()), Kind::Long, Kind::String],
        );
        Object {
            keys: vec![
                key("id", vec![Kind::Long]),
                key("o", vec![Kind::Object(inner())]),
                key("l", vec![Kind::List(Box::new(element))]),
                key(
                    "v",
                    vec![Kind::String, Kind::Object(inner()), Kind::Boolean],
                ),
            ],
        }
    }

    fn names(shape: &Object, nested: Nested) -> Vec<(String, String)> {
        let columns = shape.columns(nested).into_iter();
        let leaves = columns.filter(|column| column.is_leaf);
        leaves
            .map(|Column { table, name, .. }| (table, name))
            .collect()
    }

    #[test]
    fn each_column_goes_alone_unless_it_gives_another_its_name() {
        for nested in [Nested::Keep, Nested::Flatten, Nested::Tables] {
            let all = names(&sample(), nested);
            for gone in &all {
                let mut shape = sample();
                prune(&mut shape, nested, &|table, name| {
                    gone.0 == table && gone.1 == name
                });
                let left = names(&shape, nested);
                let others: Vec<_> = all
                    .iter()
                    .filter(|column| *column != gone)
                    .cloned()
                    .collect();
                assert!(
                    left == others || left == all,
                    "{nested:?} {gone:?}: {left:?}"
                );
            }
            let mut shape = sample();
            prune(&mut shape, nested, &|_, _| true);
            assert!(shape.keys.is_empty());
            let mut shape = sample();
            prune(&mut shape, nested, &|table, name| {
                table.is_empty() && name == "id"
            });
            assert_eq!(names(&shape, nested).len(), all.len() - 1);
        }
    }
}
