//! Chooses the names of new columns, one after the other in the order in which they were learned.
//!
//! The column that was learned first has the plain name. Fields of a type come together, whenever each was learned, so their
//! order alone would give other names to columns that come in one batch than to those that come in several.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use forebay_core::data_type::{learned_order, list_element};
use iceberg::spec::{NestedField, NestedFieldRef, Type};

use super::names::{index_known, join, source_path, unnamed};

/// The names of the columns of `incoming` that are not in the table, by their paths in the data.
pub(super) fn choose_names(
    current: &[NestedFieldRef],
    incoming: &Fields,
) -> HashMap<String, String> {
    let mut choice = NameChoice::default();
    for field in current {
        choice.take_field(field, "");
    }
    choice.paths.insert(String::new(), String::new());
    let mut new = Vec::new();
    choice.collect(current, incoming, ("", 0), &mut new);
    new.sort_by_key(|column| column.order);
    for column in new {
        choice.choose(&column);
    }
    choice.chosen
}

/// A column without a name.
struct NewColumn {
    order: u32,
    /// The path of the enclosing type in the data.
    parent: String,
    field: FieldRef,
}

#[derive(Default)]
struct NameChoice {
    /// Paths of the table, in lower case.
    taken: HashSet<String>,
    /// Paths in the table by paths in the data.
    paths: HashMap<String, String>,
    chosen: HashMap<String, String>,
}

impl NameChoice {
    fn take_field(&mut self, field: &NestedField, path: &str) {
        let path = join(path, &field.name);
        match field.field_type.as_ref() {
            Type::Struct(members) => members
                .fields()
                .iter()
                .for_each(|field| self.take_field(field, &path)),
            Type::List(list) => self.take_field(&list.element_field, &path),
            Type::Map(map) => {
                self.take_field(&map.key_field, &path);
                self.take_field(&map.value_field, &path);
            }
            Type::Primitive(_) => {}
        }
        self.taken.insert(path.to_lowercase());
    }

    /// Collects the new columns among `incoming`, whose enclosing type has the path `source` and was learned at `order`.
    fn collect(
        &mut self,
        current: &[NestedFieldRef],
        incoming: &Fields,
        (source, order): (&str, u32),
        new: &mut Vec<NewColumn>,
    ) {
        let index = index_known(current);
        for field in incoming {
            let path = source_path(source, field.name());
            let order = order.max(learned_order(field));
            let known = index.get(field.name().as_str()).copied();
            match known {
                Some(known) => {
                    let name = known.name.clone();
                    self.note_paths(source, field, &name);
                }
                None => new.push(NewColumn {
                    order,
                    parent: source.to_owned(),
                    field: FieldRef::clone(field),
                }),
            }
            let known = known.map(|known| known.field_type.as_ref());
            self.collect_below(known, field.data_type(), (&path, order), new);
        }
    }

    fn collect_below(
        &mut self,
        current: Option<&Type>,
        incoming: &DataType,
        (source, order): (&str, u32),
        new: &mut Vec<NewColumn>,
    ) {
        if let Some(element) = list_element(incoming) {
            let known = match current {
                Some(Type::List(list)) => Some(list.element_field.field_type.as_ref()),
                _ => None,
            };
            let path = source_path(source, "element");
            return self.collect_below(known, element.data_type(), (&path, order), new);
        }
        match incoming {
            DataType::Struct(fields) => {
                let current = match current {
                    Some(Type::Struct(members)) => members.fields(),
                    _ => &[],
                };
                self.collect(current, fields, (source, order), new);
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(pair) = entries.data_type() else {
                    return;
                };
                let known = match current {
                    Some(Type::Map(map)) => [&map.key_field, &map.value_field].map(Some),
                    _ => [None, None],
                };
                for ((field, known), name) in pair.iter().zip(known).zip(["key", "value"]) {
                    let known = known.map(|known| known.field_type.as_ref());
                    let path = source_path(source, name);
                    self.collect_below(known, field.data_type(), (&path, order), new);
                }
            }
            _ => {}
        }
    }

    fn choose(&mut self, column: &NewColumn) {
        let NewColumn { parent, field, .. } = column;
        let enclosing = self.paths.get(parent).cloned().unwrap_or_default();
        let name = self.find_free(field, &enclosing);
        self.note_paths(parent, field, &name);
        let source = source_path(parent, field.name());
        self.chosen.insert(source, name);
    }

    /// Notes the paths of a column, and those below it that the format names.
    fn note_paths(&mut self, parent: &str, field: &Field, name: &str) {
        let enclosing = self.paths.get(parent).cloned().unwrap_or_default();
        let path = join(&enclosing, name);
        let source = source_path(parent, field.name());
        for below in unnamed(field.data_type()) {
            let source = format!("{source}{}", below.replace('.', "\n"));
            self.take_path(source, format!("{path}{below}"));
        }
        self.take_path(source, path);
    }

    fn take_path(&mut self, source: String, path: String) {
        self.taken.insert(path.to_lowercase());
        self.paths.insert(source, path);
    }

    /// The first of `name`, `name_2`, `name_3` … that is free together with the paths below it that have no name of their own.
    fn find_free(&self, field: &Field, path: &str) -> String {
        let base = field.name();
        let below = unnamed(field.data_type());
        let is_free = |name: &String| {
            let path = join(path, name).to_lowercase();
            !self.taken.contains(&path)
                && below
                    .iter()
                    .all(|below| !self.taken.contains(&format!("{path}{below}")))
        };
        let numbered = (2_u64..).map(|n| format!("{base}_{n}"));
        let mut names = std::iter::once(base.clone()).chain(numbered);
        names.find(is_free).unwrap_or_else(|| base.clone())
    }
}
