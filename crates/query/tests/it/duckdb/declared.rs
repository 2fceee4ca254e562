//! Differences that are meant, each by its construct. `docs/guides/sql.md` lists the same, under the same names.

use serde_json::Value;

use super::generate::Pair;

/// One difference.
struct DeclaredDifference {
    /// The first cell of its row in the guide.
    name: &'static str,
    is_seen: fn(&Pair, &Value, &Value) -> bool,
}

const DECLARED: [DeclaredDifference; 3] = [
    DeclaredDifference {
        name: "`sum` of whole numbers beyond `bigint` fails",
        is_seen: |pair, ours, _| {
            pair.ours.contains("sum(") && fails_with(ours, "does not fit bigint")
        },
    },
    DeclaredDifference {
        name: "a constant that cannot be computed fails, even in a branch that no row takes",
        is_seen: |_, ours, _| fails_with(ours, "1:1: "),
    },
    DeclaredDifference {
        name: "`rollup`, `cube` and `grouping sets` of no rows give no total",
        is_seen: |pair, ours, theirs| {
            let has_sets = ["rollup(", "cube(", "grouping sets"]
                .iter()
                .any(|sets| pair.ours.contains(sets));
            has_sets && rows(ours) == Some(0) && rows(theirs) == Some(1)
        },
    },
];

fn rows(value: &Value) -> Option<usize> {
    value.as_array().map(Vec::len)
}

/// Whether the guide declares the difference.
pub(super) fn is_meant(pair: &Pair, ours: &Value, theirs: &Value) -> bool {
    let mut declared = DECLARED.iter();
    declared.any(|difference| (difference.is_seen)(pair, ours, theirs))
}

fn fails_with(value: &Value, text: &str) -> bool {
    let error = value.get("error").and_then(Value::as_str);
    error.is_some_and(|error| error.contains(text))
}

#[test]
fn the_guide_lists_every_declared_difference() {
    let guide = include_str!("../../../../../docs/guides/sql.md");
    for difference in &DECLARED {
        let row = format!("| {} |", difference.name);
        assert!(guide.contains(&row), "{row}");
    }
}
