//! The hot path: walks the tape of a record into the builders.
//!
//! The builders mirror the shape. They allocate per batch, never per record. A value that has no builder stops the
//! walk (`Stop::Grow`); the caller grows the shape by policy, or takes the row back with `truncate`.

use arrow::array::NullBufferBuilder;
use hashbrown::HashMap;
use simd_json::{Node, StaticNode};

use super::column::{Column, Fixed};
use super::declared;
use super::key_bytes::is_same;
use super::learn;
use super::list::ListBuilder;
use super::refuse::{
    NumberName, broken_tape, duplicate, missing, out_of_range, too_many_cells, too_many_elements,
};
use super::required::Required;
use super::shape::{self, Key, Kind, Object};
use super::untyped_keys::UntypedKeys;
use super::walk::{Parsed, Stop};
use crate::case::NameCase;
use crate::contract::{ColumnType, ContractPolicy};

/// The context of a walk besides the builders.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    pub(super) parsed: &'a Parsed<'a>,
    pub(super) policy: &'a ContractPolicy,
    pub(super) case: NameCase,
    /// List elements so far, and how many there may be.
    pub(super) elements: usize,
    pub(super) elements_max: usize,
    /// Elements times the columns that each makes longer, used or not.
    pub(super) cells: usize,
    /// A double was met whose literal was not checked.
    pub(super) doubles: bool,
    /// One of them is zero or next to it.
    pub(super) tiny: bool,
}

impl Walk<'_> {
    /// Notes a double whose literal has to be checked when the record has been read.
    #[inline]
    fn met(&mut self, value: f64) {
        self.doubles = true;
        self.tiny |= value.abs() < f64::MIN_POSITIVE;
    }
}

/// Most cells that the lists of one record may take, whether they hold values or not.
const CELLS_RECORD_MAX: usize = 16 << 20;
const NONE: u32 = u32::MAX;
/// Other spellings of the keys of an object that are remembered.
const SPELLINGS_MAX: usize = 4_096;
/// From this many keys on, a key out of order is looked up by hash.
const INDEX_KEYS_MIN: usize = 9;

/// Builders of the keys of an object.
#[derive(Debug)]
pub(super) struct ObjectBuilder {
    pub(super) keys: Vec<KeyBuilder>,
    index: HashMap<Box<str>, u32, ahash::RandomState>,
    /// Other spellings of keys, where case does not count.
    spellings: HashMap<Box<str>, u32, ahash::RandomState>,
    /// The key that was first in the last object.
    first: u32,
    /// Counts objects, to see which keys the present one has had.
    epoch: u64,
    pub(super) nulls: NullBufferBuilder,
    /// Whether any key must be there.
    requires: bool,
    /// Required columns of this table that no key of the shape has.
    missing: Vec<String>,
    /// Keys that have come without a value, and are not in the shape.
    pub(super) untyped: UntypedKeys,
    /// Its flattened name.
    pub(super) prefix: Box<str>,
}

/// Builders of the values of a key, one for each kind.
#[derive(Debug)]
pub(super) struct KeyBuilder {
    pub(super) key: Box<str>,
    /// See [`Key::order`].
    pub(super) order: u32,
    /// Flattened.
    name: Box<str>,
    /// Prefix of the keys of objects here.
    inner: Box<str>,
    seen: u64,
    /// The key that followed this one last time.
    next: u32,
    required: bool,
    required_below: bool,
    /// Index in `kinds` by kind of value, `NONE` without one.
    boolean: u32,
    long: u32,
    double: u32,
    string: u32,
    object: u32,
    list: u32,
    declared: Option<(ColumnType, u32)>,
    pub(super) kinds: Vec<KindBuilder>,
}

#[derive(Debug)]
pub(super) struct KindBuilder {
    pub(super) title: &'static str,
    pub(super) column: Column,
}

impl ObjectBuilder {
    pub(super) fn new() -> Self {
        Self {
            keys: Vec::new(),
            index: HashMap::default(),
            spellings: HashMap::default(),
            first: 0,
            epoch: 0,
            nulls: NullBufferBuilder::new(0),
            requires: false,
            missing: Vec::new(),
            untyped: UntypedKeys::default(),
            prefix: Box::default(),
        }
    }

    /// Adds builders for new parts of the shape. `prefix` is the flattened name of the object.
    pub(super) fn grow(&mut self, shape: &Object, prefix: &str, required: &Required) {
        self.prefix = prefix.into();
        for (i, key) in shape.keys.iter().enumerate() {
            if i == self.keys.len() {
                self.keys
                    .push(KeyBuilder::new(&key.key, shape::join(prefix, &key.key)));
                self.index.insert(key.key.as_str().into(), i as u32);
            }
            let name = self.keys[i].name.to_string();
            self.keys[i].grow(key, &name, required);
        }
        self.requires = self
            .keys
            .iter()
            .any(|key| key.required || key.required_below);
    }

    /// Removes builders beyond the shape. Rows with values there must have been removed before.
    pub(super) fn shrink(&mut self, shape: &Object) {
        self.spellings.clear();
        for key in self.keys.drain(shape.keys.len().min(self.keys.len())..) {
            self.index.remove(&key.key);
        }
        for (builder, key) in self.keys.iter_mut().zip(&shape.keys) {
            builder.shrink(key);
        }
    }

    /// Forgets when keys were learned, where it does not matter: then the fields of a batch do not have it.
    pub(super) fn clear_orders(&mut self) {
        self.keys.iter_mut().for_each(KeyBuilder::clear_orders);
    }

    /// Makes `names` columns that no record of this table has had.
    pub(super) fn set_missing(&mut self, names: Vec<String>) {
        self.missing = names;
    }

    /// Reads the members of the object at `at` as row `row`; returns the node after it.
    #[inline]
    pub(super) fn read(
        &mut self,
        row: usize,
        at: usize,
        len: usize,
        walk: &mut Walk<'_>,
    ) -> Result<usize, Stop> {
        self.epoch += 1;
        let mut next = at + 1;
        let mut before = NONE;
        for _ in 0..len {
            let Node::String(name) = walk.parsed.nodes[next] else {
                return Err(broken_tape());
            };
            let found = match (self.find(name, before), walk.case) {
                (None, NameCase::Fold) => self.find_folded(name),
                (found, _) => found,
            };
            let Some(i) = found else {
                if walk.parsed.has_value(next + 1) || self.brings_value(name, next + 1, walk) {
                    return Err(Stop::Grow);
                }
                self.untyped.note(name, walk.case);
                next = walk.parsed.after(next + 1);
                continue;
            };
            before = i;
            let key = &mut self.keys[i as usize];
            if key.seen == self.epoch {
                return Err(duplicate(name));
            }
            key.seen = self.epoch;
            next = key.read(row, next + 1, walk)?;
        }
        if self.requires || !self.missing.is_empty() {
            self.check_required()?;
        }
        Ok(next)
    }

    #[inline]
    fn find(&mut self, name: &str, before: u32) -> Option<u32> {
        let guess = if before == NONE {
            self.first
        } else {
            self.keys[before as usize].next
        };
        if self
            .keys
            .get(guess as usize)
            .is_some_and(|key| is_same(key.key.as_bytes(), name.as_bytes()))
        {
            return Some(guess);
        }
        let found = if self.keys.len() < INDEX_KEYS_MIN {
            self.keys
                .iter()
                .position(|key| *key.key == *name)
                .map(|i| i as u32)?
        } else {
            *self.index.get(name)?
        };
        if before == NONE {
            self.first = found;
        } else {
            self.keys[before as usize].next = found;
        }
        Some(found)
    }

    /// Whether a column can be learned from the list or object at `at`, which has no value in it.
    fn brings_value(&self, key: &str, at: usize, walk: &Walk<'_>) -> bool {
        if walk.policy.columns.is_empty() || walk.parsed.is_null(at) {
            return false;
        }
        let name = shape::join(&self.prefix, &walk.case.apply(key));
        learn::brings_value(walk.parsed, walk.policy, at, &name, &name)
    }

    /// The key with this as another spelling.
    fn find_folded(&mut self, name: &str) -> Option<u32> {
        if let Some(i) = self.spellings.get(name) {
            return Some(*i);
        }
        let is_same = |key: &KeyBuilder| NameCase::Fold.is_same(&key.key, name);
        let found = self.keys.iter().position(is_same)? as u32;
        if self.spellings.len() < SPELLINGS_MAX {
            self.spellings.insert(name.into(), found);
        }
        Some(found)
    }

    #[cold]
    fn check_required(&self) -> Result<(), Stop> {
        let absent = self
            .keys
            .iter()
            .find(|key| (key.required || key.required_below) && key.seen != self.epoch);
        let name = absent
            .map(|key| &*key.name)
            .or(self.missing.first().map(String::as_str));
        name.map_or(Ok(()), |name| Err(missing(name)))
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        if self.nulls.len() > rows {
            self.nulls.truncate(rows);
        }
        for kind in self.keys.iter_mut().flat_map(|key| &mut key.kinds) {
            kind.column.truncate(rows);
        }
    }
}

impl KeyBuilder {
    pub(super) fn new(key: &str, name: String) -> Self {
        Self {
            key: key.into(),
            order: 0,
            inner: name.as_str().into(),
            name: name.into(),
            seen: 0,
            next: NONE,
            required: false,
            required_below: false,
            boolean: NONE,
            long: NONE,
            double: NONE,
            string: NONE,
            object: NONE,
            list: NONE,
            declared: None,
            kinds: Vec::new(),
        }
    }

    /// `inner` is the prefix of the keys of objects here.
    pub(super) fn grow(&mut self, shape: &Key, inner: &str, required: &Required) {
        self.inner = inner.into();
        self.order = shape.order;
        self.required = required.names.iter().any(|name| **name == *self.name);
        self.required_below = false;
        for (i, kind) in shape.kinds.iter().enumerate() {
            if i == self.kinds.len() {
                self.add(kind);
            }
            let title = kind.name();
            match (kind, &mut self.kinds[i].column) {
                (Kind::Object(shape), Column::Object(object)) => {
                    let prefix = shape::kind_name(inner, i, title);
                    self.required_below |= required.is_below(&prefix);
                    object.grow(shape, &prefix, required);
                }
                (Kind::List(shape), Column::List(list)) => {
                    list.grow(shape, &shape::kind_name(&self.name, i, title), required);
                }
                _ => {}
            }
        }
    }

    fn clear_orders(&mut self) {
        self.order = 0;
        for kind in &mut self.kinds {
            match &mut kind.column {
                Column::Object(object) => object.clear_orders(),
                Column::List(list) => list.element.clear_orders(),
                _ => {}
            }
        }
    }

    /// Removes builders beyond the shape.
    pub(super) fn shrink(&mut self, shape: &Key) {
        self.kinds.truncate(shape.kinds.len());
        let left = self.kinds.len() as u32;
        for index in [
            &mut self.boolean,
            &mut self.long,
            &mut self.double,
            &mut self.string,
            &mut self.object,
            &mut self.list,
        ] {
            if *index >= left {
                *index = NONE;
            }
        }
        self.declared = self.declared.filter(|(_, i)| *i < left);
        for (builder, kind) in self.kinds.iter_mut().zip(&shape.kinds) {
            match (&mut builder.column, kind) {
                (Column::Object(object), Kind::Object(shape)) => object.shrink(shape),
                (Column::List(list), Kind::List(element)) => list.shrink(element),
                _ => {}
            }
        }
    }

    fn add(&mut self, kind: &Kind) {
        let i = self.kinds.len() as u32;
        let column = match kind {
            Kind::Boolean => Column::boolean(),
            Kind::Long => Column::Long(Fixed::new()),
            Kind::Double => Column::Double(Fixed::new()),
            Kind::String => Column::text(),
            Kind::Object(_) => Column::Object(ObjectBuilder::new()),
            Kind::List(_) => Column::List(ListBuilder::new(&shape::kind_name(
                &self.name,
                i as usize,
                kind.name(),
            ))),
            Kind::Declared(declared) => declared::column(*declared),
        };
        match kind {
            Kind::Boolean => self.boolean = i,
            Kind::Long => self.long = i,
            Kind::Double => self.double = i,
            Kind::String => self.string = i,
            Kind::Object(_) => self.object = i,
            Kind::List(_) => self.list = i,
            Kind::Declared(declared) => self.declared = Some((*declared, i)),
        }
        self.kinds.push(KindBuilder {
            title: kind.name(),
            column,
        });
    }

    /// Reads the value at `at` as row `row`; returns the node after it.
    #[inline]
    pub(super) fn read(
        &mut self,
        row: usize,
        at: usize,
        walk: &mut Walk<'_>,
    ) -> Result<usize, Stop> {
        if (self.declared.is_some() || self.required_below)
            && let Some(next) = self.read_ruled(row, at, walk)?
        {
            return Ok(next);
        }
        match walk.parsed.nodes[at] {
            Node::Static(StaticNode::U64(value)) if self.push_long(row, value, walk) => {}
            Node::String(text) => match self.column(self.string) {
                Some(Column::Text(column)) => column.push(row, text.as_bytes()),
                _ => return Err(Stop::Grow),
            },
            Node::Static(StaticNode::U64(value)) => {
                self.integer(row, i128::from(value), at, walk)?;
            }
            Node::Static(StaticNode::I64(value)) => {
                self.integer(row, i128::from(value), at, walk)?;
            }
            Node::Static(StaticNode::F64(value)) => {
                self.check_double(value, at, walk)?;
                match self.column(self.double) {
                    Some(Column::Double(column)) => column.push(row, value),
                    _ => return Err(Stop::Grow),
                }
            }
            Node::Static(StaticNode::Bool(value)) => match self.column(self.boolean) {
                Some(Column::Boolean(column)) => column.push(row, value),
                _ => return Err(Stop::Grow),
            },
            Node::Static(_) if self.required => return Err(missing(&self.name)),
            Node::Static(_) => {}
            Node::Object { len, .. } => return self.object(row, at, len, walk),
            Node::Array { len, .. } => return self.list(row, at, len, walk),
        }
        Ok(at + 1)
    }

    #[inline]
    fn check_double(&self, value: f64, at: usize, walk: &mut Walk<'_>) -> Result<(), Stop> {
        if walk.parsed.spans.is_none() {
            walk.met(value);
            return Ok(());
        }
        walk.parsed.check_double(at, self.number_name())
    }

    fn number_name(&self) -> NumberName<'_> {
        NumberName {
            declared: &self.name,
            column: &self.inner,
        }
    }

    #[inline]
    fn column(&mut self, i: u32) -> Option<&mut Column> {
        self.kinds.get_mut(i as usize).map(|kind| &mut kind.column)
    }

    /// The common case of [`Self::integer`].
    #[inline]
    fn push_long(&mut self, row: usize, value: u64, walk: &Walk<'_>) -> bool {
        let (Ok(value), true) = (i64::try_from(value), walk.parsed.replaced.is_empty()) else {
            return false;
        };
        if self.double < self.long {
            return false;
        }
        let Some(Column::Long(column)) = self.column(self.long) else {
            return false;
        };
        column.push(row, value);
        true
    }

    fn integer(&mut self, row: usize, value: i128, at: usize, walk: &Walk<'_>) -> Result<(), Stop> {
        let (long, double) = walk.parsed.whole_number(at, value);
        // The first kind takes values that both could hold, whatever kinds were added since.
        let prefers_double = self.double < self.long || long.is_none();
        if prefers_double
            && let Some(value) = double
            && let Some(Column::Double(column)) = self.column(self.double)
        {
            column.push(row, value);
            return Ok(());
        }
        match (long, self.column(self.long)) {
            (Some(value), Some(Column::Long(column))) => {
                column.push(row, value);
                Ok(())
            }
            (None, _) if double.is_none() => Err(out_of_range(self.number_name(), at, walk.parsed)),
            _ => Err(Stop::Grow),
        }
    }

    #[inline]
    fn object(
        &mut self,
        row: usize,
        at: usize,
        len: usize,
        walk: &mut Walk<'_>,
    ) -> Result<usize, Stop> {
        match self
            .kinds
            .get_mut(self.object as usize)
            .map(|kind| &mut kind.column)
        {
            Some(Column::Object(object)) => {
                let missing = row.saturating_sub(object.nulls.len());
                if missing > 0 {
                    object.nulls.append_n_nulls(missing);
                }
                object.nulls.append_non_null();
                object.read(row, at, len, walk)
            }
            _ => self.without_builder(at, walk),
        }
    }

    #[inline]
    fn list(
        &mut self,
        row: usize,
        at: usize,
        len: usize,
        walk: &mut Walk<'_>,
    ) -> Result<usize, Stop> {
        walk.elements += len;
        if walk.elements > walk.elements_max {
            return Err(too_many_elements(&self.name, walk.elements_max));
        }
        match self
            .kinds
            .get_mut(self.list as usize)
            .map(|kind| &mut kind.column)
        {
            Some(Column::List(list)) => {
                walk.cells += len * list.width;
                if walk.cells > CELLS_RECORD_MAX {
                    return Err(too_many_cells(&self.name, len, list.width));
                }
                list.read(row, at, len, walk)
            }
            _ => self.without_builder(at, walk),
        }
    }

    fn without_builder(&self, at: usize, walk: &Walk<'_>) -> Result<usize, Stop> {
        let brings_value = match self.kinds.is_empty() {
            true => learn::brings_value(walk.parsed, walk.policy, at, &self.name, &self.inner),
            false => walk.parsed.has_value(at),
        };
        if brings_value {
            return Err(Stop::Grow);
        }
        if self.required {
            return Err(missing(&self.name));
        }
        Ok(walk.parsed.after(at))
    }

    /// A key with a declared type, or with required columns below it.
    #[cold]
    fn read_ruled(
        &mut self,
        row: usize,
        at: usize,
        walk: &mut Walk<'_>,
    ) -> Result<Option<usize>, Stop> {
        let node = walk.parsed.nodes[at];
        let is_null = matches!(node, Node::Static(StaticNode::Null));
        if is_null && self.required || self.required_below && !matches!(node, Node::Object { .. }) {
            return Err(missing(&self.name));
        }
        let Some((declared, i)) = self.declared else {
            return Ok(None);
        };
        if is_null {
            return Ok(Some(at + 1));
        }
        let Some(column) = self.kinds.get_mut(i as usize).map(|kind| &mut kind.column) else {
            return Ok(None);
        };
        if let (Node::Static(StaticNode::F64(value)), ColumnType::Double, None) =
            (node, declared, walk.parsed.spans)
        {
            walk.met(value);
        }
        declared::push(column, declared, row, at, walk.parsed, &self.name)?;
        Ok(Some(walk.parsed.after(at)))
    }
}
