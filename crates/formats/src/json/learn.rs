//! Learns from a record: adds its new columns to a shape.
//!
//! Off the hot path: called for the first records and for those that the builders rejected. It makes no decisions; the
//! caller checks the additions against the policy, and discards the shape when it may not grow.

use std::collections::HashSet;

use simd_json::{Node, StaticNode};

use super::Nested;
use super::refuse::{NumberName, duplicate, out_of_range};
use super::shape::{self, ELEMENT, Key, Kind, NAME_BYTES_MAX, Object, TYPE_DEPTH_MAX};
use super::walk::{Parsed, Refusal, Stop};
use crate::case::NameCase;
use crate::contract::ContractPolicy;

/// A column that a record adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) column: String,
    pub(super) kind: &'static str,
    /// Whether the pipeline file declares its type: then it may be added at any time.
    pub(super) declared: bool,
}

/// Extends `shape` by the record; returns the additions.
pub(super) fn learn(
    shape: &mut Object,
    parsed: &Parsed<'_>,
    policy: &ContractPolicy,
    case: NameCase,
) -> Result<Vec<Added>, Stop> {
    let mut learner = Learner {
        parsed,
        policy,
        case,
        added: Vec::new(),
        depth: 0,
        order: shape.newest_order(),
    };
    if let Node::Object { len, .. } = parsed.nodes[0] {
        learner.object(shape, "", 0, len)?;
    }
    Ok(learner.added)
}

struct Learner<'a> {
    parsed: &'a Parsed<'a>,
    policy: &'a ContractPolicy,
    case: NameCase,
    added: Vec<Added>,
    /// Objects and lists around the current value.
    depth: usize,
    /// The newest place in the order of learning.
    order: u32,
}

impl Learner<'_> {
    fn object(
        &mut self,
        shape: &mut Object,
        prefix: &str,
        at: usize,
        len: usize,
    ) -> Result<(), Stop> {
        let mut next = at + 1;
        let mut seen = HashSet::new();
        let mut guess = 0;
        for _ in 0..len {
            let Node::String(key) = self.parsed.nodes[next] else {
                return Err(Stop::refuse("bad_json", "an object's key is not a string"));
            };
            let spelled = key;
            let key = self.case.apply(spelled);
            if !seen.insert(key.clone()) {
                return Err(duplicate(spelled));
            }
            let value = next + 1;
            next = self.parsed.after(value);
            let name = shape::join(prefix, &key);
            if !brings_value(self.parsed, self.policy, value, &name, &name) {
                continue;
            }
            if self.added.len() > self.policy.columns_max() {
                let refusal = too_many_columns(self.policy.columns_max());
                return Err(Stop::Refuse(Box::new(refusal)));
            }
            let i = self.find_or_add(shape, spelled, guess, prefix)?;
            guess = i + 1;
            let name = shape::join(prefix, &shape.keys[i].key);
            self.value(&mut shape.keys[i], &name, &name, value)?;
        }
        Ok(())
    }

    /// `inner` is the prefix of the keys of an object here.
    fn value(&mut self, key: &mut Key, name: &str, inner: &str, at: usize) -> Result<(), Stop> {
        if key
            .kinds
            .iter()
            .any(|kind| matches!(kind, Kind::Declared(_)))
        {
            return Ok(());
        }
        let declared = self.policy.columns.get(name).and_then(|rule| rule.r#type);
        if let Some(declared) = declared.filter(|_| key.kinds.is_empty()) {
            return self.add(key, Kind::Declared(declared), name);
        }
        let number = NumberName {
            declared: name,
            column: inner,
        };
        match self.parsed.nodes[at] {
            Node::String(_) => self.ensure(key, Kind::String, name)?,
            Node::Static(StaticNode::Bool(_)) => self.ensure(key, Kind::Boolean, name)?,
            Node::Static(StaticNode::F64(_)) => self.ensure(key, Kind::Double, name)?,
            Node::Static(StaticNode::I64(value)) => {
                self.integer(key, i128::from(value), number, at)?;
            }
            Node::Static(StaticNode::U64(value)) => {
                self.integer(key, i128::from(value), number, at)?;
            }
            Node::Static(_) => return Ok(()),
            Node::Object { len, .. } => {
                self.ensure(key, Kind::Object(Object::default()), name)?;
                self.depth += 1;
                for (i, kind) in key.kinds.iter_mut().enumerate() {
                    if let Kind::Object(object) = kind {
                        self.object(object, &shape::kind_name(inner, i, "object"), at, len)?;
                    }
                }
                self.depth -= 1;
            }
            Node::Array { len, .. } => {
                self.ensure(key, Kind::list(), name)?;
                self.depth += 1;
                for (i, kind) in key.kinds.iter_mut().enumerate() {
                    if let Kind::List(element) = kind {
                        self.list(element, &shape::kind_name(name, i, "list"), at, len)?;
                    }
                }
                self.depth -= 1;
            }
        }
        Ok(())
    }

    fn list(&mut self, element: &mut Key, list: &str, at: usize, len: usize) -> Result<(), Stop> {
        let name = shape::join(list, ELEMENT);
        let mut next = at + 1;
        for _ in 0..len {
            if brings_value(self.parsed, self.policy, next, &name, list) {
                self.value(element, &name, list, next)?;
            }
            next = self.parsed.after(next);
        }
        Ok(())
    }

    fn integer(
        &mut self,
        key: &mut Key,
        value: i128,
        name: NumberName<'_>,
        at: usize,
    ) -> Result<(), Stop> {
        match self.parsed.whole_number(at, value) {
            (None, None) => Err(out_of_range(name, at, self.parsed)),
            (_, Some(_)) if key.kinds.contains(&Kind::Double) => Ok(()),
            (Some(_), _) => self.ensure(key, Kind::Long, name.declared),
            (None, Some(_)) => self.ensure(key, Kind::Double, name.declared),
        }
    }

    fn ensure(&mut self, key: &mut Key, kind: Kind, name: &str) -> Result<(), Stop> {
        if key.kinds.iter().any(|known| known.name() == kind.name()) {
            return Ok(());
        }
        self.add(key, kind, name)
    }

    fn add(&mut self, key: &mut Key, kind: Kind, name: &str) -> Result<(), Stop> {
        // The record itself is one level more, the value another.
        if self.depth + 2 > TYPE_DEPTH_MAX {
            return Err(too_deep(name));
        }
        let column = shape::kind_name(name, key.kinds.len(), kind.name());
        let declared = matches!(kind, Kind::Declared(_));
        self.added.push(Added {
            column,
            kind: kind.name(),
            declared,
        });
        key.kinds.push(kind);
        Ok(())
    }

    /// The key of an object; see [`find_key`].
    fn find_or_add(
        &mut self,
        shape: &mut Object,
        key: &str,
        guess: usize,
        prefix: &str,
    ) -> Result<usize, Stop> {
        if let Some(i) = find_key(&shape.keys, key, guess, self.case) {
            return Ok(i);
        }
        check_key(key, &shape::join(prefix, key))?;
        self.order = self.order.saturating_add(1);
        shape.keys.push(Key {
            order: self.order,
            ..Key::new(&self.case.apply(key))
        });
        Ok(shape.keys.len() - 1)
    }
}

/// Position of a key; `guess` is where it probably is.
pub(super) fn find_key(keys: &[Key], key: &str, guess: usize, case: NameCase) -> Option<usize> {
    if keys.get(guess).is_some_and(|known| known.key == key) {
        return Some(guess);
    }
    let exact = keys.iter().position(|known| known.key == key);
    exact.or_else(|| match case {
        NameCase::Keep => None,
        NameCase::Fold => keys.iter().position(|known| case.is_same(&known.key, key)),
    })
}

/// Whether a column can be learned from the value at `at` of `name`, where `inner` is the prefix of the keys of an object.
/// Lists and objects without a value have no type, but they are values where the type is declared.
pub(super) fn brings_value(
    parsed: &Parsed<'_>,
    policy: &ContractPolicy,
    at: usize,
    name: &str,
    inner: &str,
) -> bool {
    if parsed.has_value(at) {
        return true;
    }
    let (len, is_object) = match parsed.nodes[at] {
        Node::Object { len, .. } => (len, true),
        Node::Array { len, .. } => (len, false),
        _ => return false,
    };
    if policy.declared(name).is_some() {
        return true;
    }
    let mut next = at + 1;
    for _ in 0..len {
        let brings = match parsed.nodes[next] {
            Node::String(key) if is_object => {
                next += 1;
                let name = shape::join(inner, key);
                brings_value(parsed, policy, next, &name, &name)
            }
            _ => brings_value(parsed, policy, next, &shape::join(name, ELEMENT), name),
        };
        if brings {
            return true;
        }
        next = parsed.after(next);
    }
    false
}

fn check_key(key: &str, name: &str) -> Result<(), Stop> {
    if key.is_empty() {
        return Err(Stop::refuse(
            "empty_key",
            "an object has an empty key, which cannot name a column",
        ));
    }
    if name.len() > NAME_BYTES_MAX || key.chars().any(char::is_control) {
        let reason = format!(
            "a key cannot name a column (control characters, or a name over {NAME_BYTES_MAX} bytes): {:?}",
            brief(key)
        );
        return Err(Stop::refuse("bad_key", reason));
    }
    Ok(())
}

/// The record has more columns than its table may have.
pub(super) fn too_many_columns(max: usize) -> Refusal {
    let reason = format!("the record would add columns beyond {max}: raise `schema.columns_max`");
    Refusal::new("too_many_columns", reason)
}

fn too_deep(name: &str) -> Stop {
    let reason = format!(
        "the record would add a column nested deeper than {TYPE_DEPTH_MAX} levels: `{}…`; declare the column that holds it as `type: json` under `schema.columns`",
        brief(name)
    );
    Stop::refuse("type_too_deep", reason)
}

fn brief(key: &str) -> String {
    key.chars().take(40).collect()
}

/// Merges each first long and double that were learned together into one double, where every integer is exact in a double.
/// `longs_are_exact` checks the long column at the given indexes (key, kind, key, kind, …).
///
/// Only the plain column: later commits widen that one, and no `__v_long` (see [`super::widen`]), so that the columns are the same
/// wherever a commit ends between the records.
pub(super) fn settle(
    shape: &mut Object,
    nested: Nested,
    longs_are_exact: &mut dyn FnMut(&[usize]) -> bool,
) {
    let mut settling = Settling {
        nested,
        path: Vec::new(),
        exact: longs_are_exact,
    };
    settling.keys(&mut shape.keys, false);
}

struct Settling<'a> {
    nested: Nested,
    /// Indexes of the present key and kind, below those around them.
    path: Vec<usize>,
    exact: &'a mut dyn FnMut(&[usize]) -> bool,
}

impl Settling<'_> {
    /// `in_table`: the keys are the elements of a child table.
    fn keys(&mut self, keys: &mut [Key], in_table: bool) {
        for (k, key) in keys.iter_mut().enumerate() {
            self.path.push(k);
            self.below(key);
            self.key(key, in_table);
            self.path.pop();
        }
    }

    fn below(&mut self, key: &mut Key) {
        for (i, kind) in key.kinds.iter_mut().enumerate() {
            self.path.push(i);
            match kind {
                Kind::Object(object) => self.keys(&mut object.keys, false),
                Kind::List(element) => {
                    let in_table = self.nested == Nested::Tables;
                    self.keys(std::slice::from_mut(element), in_table);
                }
                _ => {}
            }
            self.path.pop();
        }
    }

    fn key(&mut self, key: &mut Key, in_table: bool) {
        let is_plain = |kind: &Kind| !in_table || !matches!(kind, Kind::Object(_));
        let Some(first) = key.kinds.iter().position(is_plain) else {
            return;
        };
        let double = key.kinds.iter().position(|kind| *kind == Kind::Double);
        let Some(double) = double.filter(|_| key.kinds[first] == Kind::Long) else {
            return;
        };
        self.path.push(first);
        if (self.exact)(&self.path) {
            key.kinds[first] = Kind::Double;
            key.kinds.remove(double);
        }
        self.path.pop();
    }
}
