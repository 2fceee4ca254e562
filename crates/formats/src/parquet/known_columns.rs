//! The columns of a table while the reading of a file is planned. Holds no types of its own, and decides nothing.

use std::collections::HashMap;

use arrow::datatypes::Field;

/// The columns of a table in order, found by name: a file may have thousands.
pub(super) struct KnownColumns {
    pub(super) list: Vec<Field>,
    places: HashMap<String, usize>,
}

impl KnownColumns {
    pub(super) fn new(list: Vec<Field>) -> Self {
        let places = list.iter().enumerate();
        let places = places.map(|(at, field)| (field.name().clone(), at));
        Self {
            places: places.collect(),
            list,
        }
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// Adds a column whose name is free.
    pub(super) fn push(&mut self, field: Field) {
        self.places.insert(field.name().clone(), self.list.len());
        self.list.push(field);
    }
}
