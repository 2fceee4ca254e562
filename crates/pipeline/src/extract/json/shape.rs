//! The shape of the records: which keys they have, at every depth, and which kinds of value each key holds.
//!
//! This is what the contract stores. It only ever grows, at the end of its lists, so that the builders made from it
//! can grow beside it. It holds no values.

use forebay_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::Nested;
pub(super) use crate::extract::column_name::NAME_BYTES_MAX;
use crate::extract::contract::{
    ColumnType, Contract, ContractPolicy, contract_broken, type_changed,
};

/// What version 1 of the contract of this extractor means: this module, `emit` and `id`.
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
    /// As the pipeline file says; holds every kind of value that can be made into it.
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

    /// Its type in the table; `None` for what has columns or rows of its own.
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
        }
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
        format!("{name}__v_{kind}")
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

/// What the contract stores.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) nested: Nested,
    #[serde(default)]
    pub(super) row_keys: RowKeys,
    pub(super) root: Object,
}

/// What the key of a row follows from, besides its payload and its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RowKeys {
    /// How many records of the payload came before it. It depends on what was refused; contracts that do not say are of
    /// a version that had no other.
    #[default]
    Number,
    /// Where it begins in the payload.
    Offset,
}

impl Stored {
    /// The contract that says this.
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

/// What a contract says, with the types that `policy` declares now.
pub(super) fn from_contract(
    contract: Contract,
    nested: Nested,
    policy: &ContractPolicy,
) -> Result<Stored> {
    let mut stored = Stored::read(contract)?;
    // One without columns says nothing of them.
    if stored.nested != nested && !stored.root.keys.is_empty() {
        return Err(Error::config(
            "nested_changed",
            format!(
                "the table was made with `nested: {}`, the file says `nested: {}`",
                stored.nested.name(),
                nested.name()
            ),
        )
        .with_hint("set `nested` back, load into another table, or rebuild this one"));
    }
    declare(&mut stored.root, "", policy)?;
    Ok(stored)
}

/// Gives learned columns the types that the file declares now, where the table's columns can become that.
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

/// Stands for the table that names tables.
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

/// A column that keeps its structure; with how many lists it is in.
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
