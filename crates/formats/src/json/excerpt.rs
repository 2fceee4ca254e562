//! The part of a shape that a record touches.
//!
//! The additions of a record to the shape can be learned in the excerpt alone, so a record that is rejected for them costs
//! no more where the shape is wide. It has all kinds of every key in it, so names come out as in the whole shape. It holds
//! nothing outside the shape, and adds nothing.

use simd_json::Node;

use super::learn;
use super::shape::{Key, Kind, Object};
use super::walk::Parsed;
use crate::case::NameCase;

/// The keys of `shape` that the record has, at every depth.
pub(super) fn excerpt(shape: &Object, parsed: &Parsed<'_>, case: NameCase) -> Object {
    let mut excerpt = Object::default();
    if let Some(Node::Object { len, .. }) = parsed.nodes.first() {
        let walk = Walk { parsed, case };
        walk.object(shape, &mut excerpt, 0, *len);
    }
    excerpt
}

struct Walk<'a> {
    parsed: &'a Parsed<'a>,
    case: NameCase,
}

impl Walk<'_> {
    /// Recursion is as deep as the shape.
    fn object(&self, from: &Object, into: &mut Object, at: usize, len: usize) {
        let mut next = at + 1;
        let mut guess = 0;
        let mut guess_into = 0;
        for _ in 0..len {
            let Node::String(key) = self.parsed.nodes[next] else {
                return;
            };
            let value = next + 1;
            next = self.parsed.after(value);
            let Some(i) = learn::find_key(&from.keys, key, guess, self.case) else {
                continue;
            };
            guess = i + 1;
            let known = &from.keys[i];
            let found = learn::find_key(&into.keys, &known.key, guess_into, NameCase::Keep);
            let i = found.unwrap_or_else(|| {
                into.keys.push(hollow_key(known));
                into.keys.len() - 1
            });
            guess_into = i + 1;
            self.value(known, &mut into.keys[i], value);
        }
    }

    fn value(&self, from: &Key, into: &mut Key, at: usize) {
        let kinds = from.kinds.iter().zip(&mut into.kinds);
        match self.parsed.nodes[at] {
            Node::Object { len, .. } => kinds.for_each(|kinds| {
                if let (Kind::Object(from), Kind::Object(into)) = kinds {
                    self.object(from, into, at, len);
                }
            }),
            Node::Array { len, .. } => kinds.for_each(|kinds| {
                if let (Kind::List(from), Kind::List(into)) = kinds {
                    self.list(from, into, at, len);
                }
            }),
            _ => {}
        }
    }

    fn list(&self, from: &Key, into: &mut Key, at: usize, len: usize) {
        let mut next = at + 1;
        for _ in 0..len {
            self.value(from, into, next);
            next = self.parsed.after(next);
        }
    }
}

/// A key with its kinds, and nothing of the keys of its objects.
fn hollow_key(key: &Key) -> Key {
    let kinds = key.kinds.iter().map(|kind| match kind {
        Kind::Object(_) => Kind::Object(Object::default()),
        Kind::List(element) => Kind::List(Box::new(hollow_key(element))),
        kind => kind.clone(),
    });
    Key {
        key: key.key.clone(),
        kinds: kinds.collect(),
        order: key.order,
    }
}
