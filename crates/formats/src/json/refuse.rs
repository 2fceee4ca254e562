//! The reasons for rejecting records.

use std::fmt;

use super::walk::{Parsed, Stop, brief};

/// Where a number is, for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct NumberName<'a> {
    /// The name under which its type can be declared.
    pub(super) declared: &'a str,
    /// The column: that name, but for elements of a list, which are in the list's column.
    pub(super) column: &'a str,
}

impl fmt::Display for NumberName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.column)
    }
}

impl NumberName<'_> {
    pub(super) fn remedy(&self) -> String {
        match self.column == self.declared {
            true => "declare the column as decimal or string".to_owned(),
            false => format!(
                "declare its elements, `{}`, as decimal or string under `schema.columns`",
                self.declared
            ),
        }
    }
}

#[cold]
pub(super) fn broken_tape() -> Stop {
    Stop::refuse("bad_json", "an object's key is not a string")
}

#[cold]
pub(super) fn duplicate(key: &str) -> Stop {
    Stop::refuse(
        "duplicate_key",
        format!("duplicate key {key:?} in an object"),
    )
}

#[cold]
pub(super) fn missing(name: &str) -> Stop {
    Stop::refuse(
        "missing_column",
        format!("required column `{name}` is missing or null"),
    )
}

#[cold]
pub(super) fn too_many_elements(name: &str, max: usize) -> Stop {
    Stop::refuse(
        "too_many_elements",
        format!(
            "the record has more than {max} list elements (reached in `{name}`): raise `limits.children`"
        ),
    )
}

#[cold]
pub(super) fn too_many_cells(name: &str, len: usize, width: usize) -> Stop {
    Stop::refuse(
        "too_many_elements",
        format!("the record's lists are too large: `{name}` has {len} elements of {width} columns"),
    )
}

#[cold]
pub(super) fn out_of_range(name: NumberName<'_>, at: usize, parsed: &Parsed<'_>) -> Stop {
    let text = parsed
        .text(at)
        .map_or_else(|| "the number".to_owned(), brief);
    Stop::refuse(
        "number_out_of_range",
        format!(
            "{text} in {name} fits neither long nor double: {}",
            name.remedy()
        ),
    )
}
