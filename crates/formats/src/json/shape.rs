//! The shape of the records: their keys, at every depth, and the kinds of value of each key.
//!
//! This is stored in the contract. It only ever grows, at the end of its lists, so that the builders made from it can grow
//! along. It holds no values.

use forebay_core::{Error, Result, VARIANT_SEPARATOR};
use serde::{Deserialize, Serialize};

use super::Nested;
pub(super) use crate::column_name::NAME_BYTES_MAX;
use crate::contract::{ColumnType, Contract, ContractPolicy, contract_broken, type_changed};

/// Version 1 of the contract of this extractor: this module, `emit` and `id`.
const VERSION: u32 = 1;
const EXTRACTOR: &str = "json";

/// Deepest type that is learned, objects and lists within each other. A level takes at most five levels of JSON in the contract,
/// and readers stop at 128.
pub(super) const TYPE_DEPTH_MAX: usize = 20;
/// Most child tables of a pipeline.
pub(super) const TABLES_MAX: usize = 1_000;

/// The keys of an object, in the order in which they were first seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Object {
    pub(super) keys: Vec<Key>,
}

/// A key of an object, or the elements of a list (whose key is `value`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) key: String,
    /// One for each kind of value seen; the first has the plain name.
    pub(super) kinds: Vec<Kind>,
    /// Its place in the order in which the keys of all objects were learned, from 1; 0 for those of an earlier run. Names of columns
    /// that are in the table stay, so it is not stored.
    #[serde(skip)]
    pub(super) order: u32,
}

/// A kind of value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Boolean,
    Long,
    Double,
    String,
    Object(Object),
    List(Box<Key>),
    /// Declared in the pipeline file; holds every kind of value that converts to it.
    Declared(ColumnType),
}

impl Kind {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Long => "long",
            Self::Double => "double",
            Self::String => "string",
            Self::Object(_) => "object",
            Self::List(_) => "list",
            Self::Declared(_) => "declared",
        }
    }

    /// Its type in the table; `None` for kinds with columns or rows of their own.
    fn column_type(&self) -> Option<ColumnType> {
        match self {
            Self::Boolean => Some(ColumnType::Boolean),
            Self::Long => Some(ColumnType::Long),
            Self::Double => Some(ColumnType::Double),
            Self::String => Some(ColumnType::String),
            Self::Declared(kind) => Some(*kind),
            Self::Object(_) | Self::List(_) => None,
        }
    }

    pub(super) fn list() -> Self {
        Self::List(Box::new(Key::new(ELEMENT)))
    }
}

/// Key of the elements of a list.
pub(super) const ELEMENT: &str = "value";

impl Key {
    pub(super) fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            kinds: Vec::new(),
            order: 0,
        }
    }

    /// The newest place in the order of learning, of this key and those below it.
    fn newest_order(&self) -> u32 {
        let below = self.kinds.iter().map(|kind| match kind {
            Kind::Object(object) => object.newest_order(),
            Kind::List(element) => element.newest_order(),
            _ => 0,
        });
        below.max().unwrap_or(0).max(self.order)
    }

    fn any(&self, is_so: &dyn Fn(&Self) -> bool) -> bool {
        let below = |kind: &Kind| match kind {
            Kind::Object(object) => object.keys.iter().any(|key| key.any(is_so)),
            Kind::List(element) => element.any(is_so),
            _ => false,
        };
        is_so(self) || self.kinds.iter().any(below)
    }

    /// Columns that hold its values, at all depths.
    pub(super) fn width(&self) -> usize {
        let width = |kind: &Kind| match kind {
            Kind::Object(object) => object.keys.iter().map(Self::width).sum(),
            Kind::List(element) => 1 + element.width(),
            _ => 1,
        };
        self.kinds.iter().map(width).sum()
    }
}

/// Between the keys of a flattened column.
pub(super) const SEPARATOR: &str = "__";

/// `a` and `b` as the flattened column `a__b`.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}__{key}")
    }
}

/// The name of the `i`th kind of the key that is flattened to `name`.
pub(super) fn kind_name(name: &str, i: usize, kind: &'static str) -> String {
    if i == 0 {
        name.to_owned()
    } else {
        format!("{name}{VARIANT_SEPARATOR}{kind}")
    }
}

/// The list column of the `i`th kind of the elements of the list column `name`; `depth` counts lists within lists
/// from 1.
pub(super) fn element_name(name: &str, i: usize, kind: &'static str, depth: usize) -> String {
    match (i, depth) {
        (0, _) => name.to_owned(),
        (_, 1) => format!("{name}__e_{kind}"),
        _ => format!("{name}__e{depth}_{kind}"),
    }
}

/// A column that the shape gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// Child table; empty for the main table.
    pub(super) table: String,
    /// Its name; inside kept objects with the names of those before it, joined with a line feed.
    pub(super) name: String,
    /// Where its values are in the record: `a.b[]`.
    pub(super) path: String,
    /// Whether it holds values itself (a kept object does not).
    pub(super) is_leaf: bool,
}

/// The stored form of the contract.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) nested: Nested,
    #[serde(default)]
    pub(super) row_keys: RowKeys,
    pub(super) root: Object,
}

/// The part of the key of a row besides its payload and its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RowKeys {
    /// The number of records of the payload before it. It depends on the rejected records; contracts without this field are
    /// of a version that had no other.
    #[default]
    Number,
    /// Where it begins in the payload.
    Offset,
}

impl Stored {
    /// The contract of this shape.
    pub(super) fn to_contract(&self) -> Contract {
        Contract {
            extractor: EXTRACTOR.to_owned(),
            version: VERSION,
            shape: serde_json::to_value(self).expect("a shape is plain data"),
        }
    }

    pub(super) fn read(contract: Contract) -> Result<Self> {
        let shape = contract.shape_by(EXTRACTOR, VERSION)?;
        serde_json::from_value(shape).map_err(|error| contract_broken().with_source(error))
    }
}

/// The shape of a contract, with the currently declared types.
pub(super) fn from_contract(
    contract: Contract,
    nested: Nested,
    policy: &ContractPolicy,
) -> Result<Stored> {
    let mut stored = Stored::read(contract)?;
    // A contract without columns has none of these.
    if stored.nested != nested && !stored.root.keys.is_empty() {
        return Err(Error::config(
            "nested_changed",
            format!(
                "the table was made with `nested: {}`, but the file sets `nested: {}`",
                stored.nested.name(),
                nested.name()
            ),
        )
        .with_hint("set `nested` back, load into another table, or rebuild this one"));
    }
    declare(&mut stored.root, "", policy)?;
    Ok(stored)
}

/// Gives learned columns the declared types, where the table's columns can be widened to them.
fn declare(object: &mut Object, prefix: &str, policy: &ContractPolicy) -> Result<()> {
    for key in &mut object.keys {
        let name = join(prefix, &key.key);
        declare_key(key, &name, &name, policy)?;
    }
    Ok(())
}

fn declare_key(
    key: &mut Key,
    name: &str,
    object_prefix: &str,
    policy: &ContractPolicy,
) -> Result<()> {
    if let (Some(declared), Some(first)) = (policy.declared(name), key.kinds.first_mut()) {
        match first.column_type() {
            Some(held) => held.may_become(declared, name)?,
            None => return Err(type_changed(name, first.name(), declared)),
        }
        *first = Kind::Declared(declared);
    }
    for (i, kind) in key.kinds.iter_mut().enumerate() {
        let title = kind.name();
        match kind {
            Kind::Object(object) => declare(object, &kind_name(object_prefix, i, title), policy)?,
            Kind::List(element) => {
                let list = kind_name(name, i, title);
                declare_key(element, &join(&list, ELEMENT), &list, policy)?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Object {
    /// The newest place in the order of learning.
    pub(super) fn newest_order(&self) -> u32 {
        let orders = self.keys.iter().map(Key::newest_order);
        orders.max().unwrap_or(0)
    }

    /// Whether a key and the path of a nested column may have one name: `n.x` beside `n: {x}`.
    pub(super) fn may_clash(&self, nested: Nested) -> bool {
        let has_dot = |key: &Key| key.key.contains('.');
        let is_kept = |kind: &Kind| match kind {
            Kind::Object(_) => nested == Nested::Keep,
            Kind::List(_) => nested != Nested::Tables,
            _ => false,
        };
        let is_nested = |key: &Key| key.kinds.iter().any(is_kept);
        let any = |is_so: &dyn Fn(&Key) -> bool| self.keys.iter().any(|key| key.any(is_so));
        any(&has_dot) && any(&is_nested)
    }

    /// Every column, table by table as they are emitted.
    pub(super) fn columns(&self, nested: Nested) -> Vec<Column> {
        let mut columns = Vec::new();
        let scope = Scope {
            table: "",
            prefix: "",
            path: "",
        };
        walk_object(self, &scope, nested, &mut columns);
        columns
    }
}

/// The name of the table of table names.
pub(super) const TABLES: &str = "\n";

struct Scope<'a> {
    table: &'a str,
    prefix: &'a str,
    path: &'a str,
}

fn push(scope: &Scope<'_>, name: &str, path: &str, is_leaf: bool, out: &mut Vec<Column>) {
    out.push(Column {
        table: scope.table.to_owned(),
        name: name.to_owned(),
        path: path.to_owned(),
        is_leaf,
    });
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The columns of an object that is a row of its table (or flattened into one).
fn walk_object(object: &Object, scope: &Scope<'_>, nested: Nested, out: &mut Vec<Column>) {
    for key in &object.keys {
        let path = dotted(scope.path, &key.key);
        walk_kinds(
            &key.kinds,
            &join(scope.prefix, &key.key),
            &path,
            scope,
            nested,
            out,
        );
    }
}

fn walk_kinds(
    kinds: &[Kind],
    name: &str,
    path: &str,
    scope: &Scope<'_>,
    nested: Nested,
    out: &mut Vec<Column>,
) {
    for (i, kind) in kinds.iter().enumerate() {
        let name = kind_name(name, i, kind.name());
        match kind {
            Kind::Object(object) if nested != Nested::Keep => {
                walk_object(
                    object,
                    &Scope {
                        prefix: &name,
                        path,
                        ..*scope
                    },
                    nested,
                    out,
                );
            }
            Kind::List(element) if nested == Nested::Tables => {
                walk_table(element, &join(scope.table, &name), path, scope, out);
            }
            kind => walk_kept(kind, &name, path, (scope, 1), out),
        }
    }
}

/// A list that is a table of its own.
fn walk_table(element: &Key, table: &str, path: &str, parent: &Scope<'_>, out: &mut Vec<Column>) {
    // Child tables have one namespace: the name of each is held like a column of a table without a name.
    push(
        &Scope {
            table: TABLES,
            ..*parent
        },
        table,
        path,
        false,
        out,
    );
    let path = format!("{path}[]");
    let scope = Scope {
        table,
        prefix: "",
        path: &path,
    };
    let (objects, others): (Vec<&Kind>, Vec<&Kind>) = element
        .kinds
        .iter()
        .partition(|kind| matches!(kind, Kind::Object(_)));
    for kind in objects {
        if let Kind::Object(object) = kind {
            walk_object(object, &scope, Nested::Tables, out);
        }
    }
    let others: Vec<Kind> = others.into_iter().cloned().collect();
    walk_kinds(&others, ELEMENT, &path, &scope, Nested::Tables, out);
}

/// A column that keeps its structure; returns the number of lists around it.
fn walk_kept(
    kind: &Kind,
    name: &str,
    path: &str,
    place: (&Scope<'_>, usize),
    out: &mut Vec<Column>,
) {
    let (scope, depth) = place;
    match kind {
        Kind::Object(object) => {
            push(scope, name, path, false, out);
            for key in &object.keys {
                let path = dotted(path, &key.key);
                for (i, kind) in key.kinds.iter().enumerate() {
                    let name = format!("{name}\n{}", kind_name(&key.key, i, kind.name()));
                    walk_kept(kind, &name, &path, (scope, 1), out);
                }
            }
        }
        Kind::List(element) => {
            let path = format!("{path}[]");
            for (i, kind) in element.kinds.iter().enumerate() {
                let name = element_name(name, i, kind.name(), depth);
                walk_kept(kind, &name, &path, (scope, depth + 1), out);
            }
        }
        _ => push(scope, name, path, true, out),
    }
}
