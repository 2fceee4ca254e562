//! Why records are refused, said once.

use super::walk::{Parsed, Stop, brief};

#[cold]
pub(super) fn broken_tape() -> Stop {
    Stop::refuse("bad_json", "an object's key is not a string")
}

#[cold]
pub(super) fn duplicate(key: &str) -> Stop {
    Stop::refuse(
        "duplicate_key",
        format!("key {key:?} is there twice in one object"),
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
        format!(
            "the record's lists take too much room: `{name}` has {len} elements of {width} columns"
        ),
    )
}

#[cold]
pub(super) fn out_of_range(name: &str, at: usize, parsed: &Parsed<'_>) -> Stop {
    let text = parsed
        .text(at)
        .map_or_else(|| "the number".to_owned(), brief);
    Stop::refuse(
        "number_out_of_range",
        format!(
            "{text} in `{name}` fits neither long nor double: declare the column as decimal or string"
        ),
    )
}
