//! Learns from a record: adds to a shape what the record has and the shape has not.
//!
//! Off the hot path: called for the first records and for those that the builders refused. It decides nothing; the
//! caller weighs what was added against the policy, and throws the shape away when it may not grow.

use std::collections::HashSet;

use simd_json::{Node, StaticNode};

use super::number;
use super::refuse::duplicate;
use super::shape::{self, ELEMENT, Key, Kind, NAME_BYTES_MAX, Object, TYPE_DEPTH_MAX};
use super::walk::{Parsed, Refusal, Stop};
use crate::extract::case::NameCase;
use crate::extract::contract::ContractPolicy;

/// A column that a record adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) column: String,
    pub(super) kind: &'static str,
    /// Whether the pipeline file gives its type: then it may come at any time.
    pub(super) declared: bool,
}

/// Grows `shape` by the record; returns what was added.
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
    /// Objects and lists around what is learned now.
    depth: usize,
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
        match self.parsed.nodes[at] {
            Node::String(_) => self.ensure(key, Kind::String, name)?,
            Node::Static(StaticNode::Bool(_)) => self.ensure(key, Kind::Boolean, name)?,
            Node::Static(StaticNode::F64(_)) => self.ensure(key, Kind::Double, name)?,
            Node::Static(StaticNode::I64(value)) => {
                self.integer(key, i128::from(value), name, at)?;
            }
            Node::Static(StaticNode::U64(value)) => {
                self.integer(key, i128::from(value), name, at)?;
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

    fn integer(&mut self, key: &mut Key, value: i128, name: &str, at: usize) -> Result<(), Stop> {
        let is_double = key.kinds.contains(&Kind::Double) && number::is_exact_double(value);
        if self.parsed.replaced.contains(&at) || (i64::try_from(value).is_err() && !is_double) {
            return Err(super::refuse::out_of_range(name, at, self.parsed));
        }
        if !is_double {
            self.ensure(key, Kind::Long, name)?;
        }
        Ok(())
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
        &self,
        shape: &mut Object,
        key: &str,
        guess: usize,
        prefix: &str,
    ) -> Result<usize, Stop> {
        if let Some(i) = find_key(&shape.keys, key, guess, self.case) {
            return Ok(i);
        }
        check_key(key, &shape::join(prefix, key))?;
        shape.keys.push(Key::new(&self.case.apply(key)));
        Ok(shape.keys.len() - 1)
    }
}

/// Where a key is; `guess` is where it probably is.
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

/// Whether a column can be learned from the value at `at` of `name`, where `inner` is the prefix of the keys of an object. Lists and
/// objects without a value say nothing of their type, but they are values where the type is declared.
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

/// Makes one double of each long and double that were learned together, where every integer is exact in a double.
/// `longs_are_exact` says so of the long column at the given indexes (key, kind, key, kind, …).
pub(super) fn settle(shape: &mut Object, longs_are_exact: &mut dyn FnMut(&[usize]) -> bool) {
    settle_keys(&mut shape.keys, &mut Vec::new(), longs_are_exact);
}

fn settle_keys(keys: &mut [Key], path: &mut Vec<usize>, exact: &mut dyn FnMut(&[usize]) -> bool) {
    for (k, key) in keys.iter_mut().enumerate() {
        path.push(k);
        for (i, kind) in key.kinds.iter_mut().enumerate() {
            path.push(i);
            match kind {
                Kind::Object(object) => settle_keys(&mut object.keys, path, exact),
                Kind::List(element) => settle_keys(std::slice::from_mut(element), path, exact),
                _ => {}
            }
            path.pop();
        }
        let long = key.kinds.iter().position(|kind| *kind == Kind::Long);
        let double = key.kinds.iter().position(|kind| *kind == Kind::Double);
        if let (Some(long), Some(double)) = (long, double) {
            path.push(long);
            if exact(path) {
                key.kinds[long.min(double)] = Kind::Double;
                key.kinds.remove(long.max(double));
            }
            path.pop();
        }
        path.pop();
    }
}
