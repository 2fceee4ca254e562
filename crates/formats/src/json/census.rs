//! The columns of a shape, counted once, so that the additions of a record can be checked alone.
//!
//! Decides which columns may be added. It never reads a record, and never changes a shape.

use std::collections::{HashMap, HashSet};

use super::Nested;
use super::learn;
use super::rows::Rules;
use super::shape::{self, Column, Object, TABLES, TABLES_MAX};
use super::walk::Refusal;

/// Paths by table and name. Table names are compared ignoring case; only the lake keeps columns that differ in case only,
/// under names that do not.
type Names = HashMap<(String, String), String>;

/// The columns of a shape.
#[derive(Debug, Default)]
pub(super) struct Census {
    names: Names,
    /// Columns of each table, except declared ones: they always fit.
    tables: HashMap<String, usize>,
    widest: usize,
    /// Why the shape itself could not be learned now; it may have been so for long.
    clash: Option<Refusal>,
    taken: Option<Refusal>,
}

/// The columns that a record would add.
#[derive(Debug)]
pub(super) struct AddedColumns(Vec<Column>);

impl AddedColumns {
    /// The columns in `grown` that are not in `before`.
    pub(super) fn between(before: &Object, grown: &Object, nested: Nested) -> Self {
        let before = before.columns(nested);
        let known: HashSet<_> = before.iter().map(place).collect();
        let grown = grown.columns(nested);
        let added = grown
            .iter()
            .filter(|column| !known.contains(&place(column)));
        Self(added.cloned().collect())
    }
}

fn place(column: &Column) -> (&str, &str, &str) {
    (&column.table, &column.name, &column.path)
}

impl Census {
    pub(super) fn of(shape: &Object, rules: &Rules) -> Self {
        let mut census = Self::default();
        for column in shape.columns(rules.nested) {
            census.taken = census.taken.or_else(|| taken_table(&column, rules));
            census.count(&column, rules);
            let clash = add_name(&mut census.names, &column, rules.nested);
            census.clash = census.clash.or(clash);
        }
        census
    }

    /// Adds columns that were not refused.
    pub(super) fn add(&mut self, added: &AddedColumns, rules: &Rules) {
        let AddedColumns(added) = added;
        for column in added {
            self.count(column, rules);
            add_name(&mut self.names, column, rules.nested);
        }
    }

    fn count(&mut self, column: &Column, rules: &Rules) {
        if counts(column, rules) {
            let count = self.tables.entry(column.table.clone()).or_default();
            *count += 1;
            self.widest = self.widest.max(*count);
        }
    }

    /// The reason why columns may not be added to the shape.
    pub(super) fn refuse(&self, added: &AddedColumns, rules: &Rules) -> Option<Refusal> {
        let AddedColumns(added) = added;
        self.clash(added, rules.nested)
            .or_else(|| self.taken.clone())
            .or_else(|| added.iter().find_map(|column| taken_table(column, rules)))
            .or_else(|| self.too_many(added, rules))
    }

    fn clash(&self, added: &[Column], nested: Nested) -> Option<Refusal> {
        if self.clash.is_some() {
            return self.clash.clone();
        }
        let mut names = Names::new();
        added.iter().find_map(|column| {
            let other = self.names.get(&name_of(column));
            let clash = other.map(|other| twice(column, other));
            clash.or_else(|| add_name(&mut names, column, nested))
        })
    }

    fn too_many(&self, added: &[Column], rules: &Rules) -> Option<Refusal> {
        let mut new: HashMap<&str, usize> = HashMap::new();
        for column in added.iter().filter(|column| counts(column, rules)) {
            *new.entry(&column.table).or_default() += 1;
        }
        let held = |table: &str| self.tables.get(table).copied();
        let new_tables = new.keys().filter(|table| held(table).is_none()).count();
        if self.tables.len() + new_tables > TABLES_MAX {
            return Some(Refusal::new(
                "too_many_tables",
                format!("the record would add child tables beyond {TABLES_MAX}"),
            ));
        }
        let grown = new
            .iter()
            .map(|(table, new)| held(table).unwrap_or(0) + new);
        let widest = grown.max().unwrap_or(0).max(self.widest);
        let max = rules.policy.columns_max();
        (widest > max).then(|| learn::too_many_columns(max))
    }
}

/// Whether a column counts against the limit: declared columns always fit.
fn counts(column: &Column, rules: &Rules) -> bool {
    let name = || shape::join(&column.table, &column.name);
    column.is_leaf && (rules.policy.columns.is_empty() || rules.policy.declared(&name()).is_none())
}

fn name_of(column: &Column) -> (String, String) {
    let name = match column.table == TABLES {
        true => column.name.to_lowercase(),
        false => column.name.clone(),
    };
    (column.table.clone(), name)
}

/// Adds a name, or returns why it is invalid: it is a duplicate, or reserved for Forebay.
fn add_name(names: &mut Names, column: &Column, nested: Nested) -> Option<Refusal> {
    let name = column.name.to_lowercase();
    let path = &column.path;
    if nested == Nested::Tables && name.starts_with("_fb_") {
        let clash = format!(
            "`{path}` would be column `{name}`: with `nested: tables` names that begin with `_fb_` are reserved"
        );
        return Some(Refusal::new("column_clash", clash));
    }
    let other = names.insert(name_of(column), path.clone())?;
    Some(twice(column, &other))
}

fn twice(column: &Column, other: &str) -> Refusal {
    let name = column.name.replace('\n', ".");
    let path = &column.path;
    let clash = format!("`{other}` and `{path}` would both be column `{name}`");
    Refusal::new("column_clash", clash)
}

/// A list whose child table belongs to another pipeline. A shape may have had it for long: then only a further one counts.
fn taken_table(column: &Column, rules: &Rules) -> Option<Refusal> {
    let taken = rules.policy.taken.as_ref()?;
    let table = taken
        .find(&column.name)
        .filter(|_| column.table == TABLES)?;
    let reason = format!(
        "the rows of `{}` would go into {table}, which belongs to another pipeline",
        column.path
    );
    Some(Refusal::new("table_taken", reason))
}

#[cfg(test)]
mod tests {
    use super::super::shape::{Key, Kind};
    use super::*;
    use crate::case::NameCase;
    use crate::contract::ContractPolicy;

    fn object(keys: &[(&str, Kind)]) -> Object {
        let key = |(name, kind): &(&str, Kind)| Key {
            kinds: vec![kind.clone()],
            ..Key::new(name)
        };
        Object {
            keys: keys.iter().map(key).collect(),
        }
    }

    #[test]
    fn columns_that_are_added_are_counted_as_those_of_the_shape() {
        let list = Kind::List(Box::new(Key {
            kinds: vec![Kind::Long],
            ..Key::new("value")
        }));
        let inner = Kind::Object(object(&[("x", Kind::Long), ("y", Kind::String)]));
        let before = object(&[("a", Kind::Long)]);
        let grown = object(&[
            ("a", Kind::Long),
            ("b", inner),
            ("c", list),
            ("d", Kind::Double),
        ]);
        for nested in [Nested::Keep, Nested::Tables] {
            let rules = Rules {
                nested,
                case: NameCase::Keep,
                policy: ContractPolicy::default(),
                record_bytes_max: 0,
                elements_max: 0,
                depth_max: 0,
            };
            let mut census = Census::of(&before, &rules);
            census.add(&AddedColumns::between(&before, &grown, nested), &rules);
            let whole = Census::of(&grown, &rules);
            assert_eq!(census.names, whole.names);
            assert_eq!(census.tables, whole.tables);
            assert_eq!(census.widest, whole.widest);
        }
    }
}
