//! Differences that are meant, each by its construct. `docs/guides/sql.md` lists the same, under the same names.

use serde_json::Value;

use super::generate::Pair;

/// One difference.
struct DeclaredDifference {
    /// The first cell of its row in the guide.
    name: &'static str,
    is_seen: fn(&Pair, &Value, &Value) -> bool,
}

const DECLARED: [DeclaredDifference; 13] = [
    DeclaredDifference {
        name: "`sum` of whole numbers beyond `bigint` fails",
        is_seen: |pair, ours, _| {
            pair.ours.contains("sum(") && fails_with(ours, "does not fit bigint")
        },
    },
    DeclaredDifference {
        name: "`sum` of decimals beyond 38 digits fails",
        is_seen: |pair, ours, _| {
            pair.ours.contains("sum(") && fails_with(ours, "more than 38 digits")
        },
    },
    DeclaredDifference {
        name: "decimals of 38 digits beside ones with more digits behind the point stay exact or fail",
        is_seen: |pair, ours, theirs| {
            pair.ours.contains("decimal(38,")
                && (fails_with(ours, "more than 38 digits")
                    || pair.ours.contains("nullif(") && only_nulls_differ(ours, theirs)
                    || differing(ours, theirs).is_some_and(|rows| rows.iter().all(is_rounded)))
        },
    },
    DeclaredDifference {
        name: "`nullif(a, b)` has the type that both have in common",
        is_seen: |pair, ours, theirs| {
            pair.ours.contains("nullif(")
                && (mentions(pair, "q")
                    || fails_with(theirs, "Out of Range")
                    || differing(ours, theirs).is_some_and(|rows| rows.iter().all(are_floats)))
        },
    },
    DeclaredDifference {
        name: "`real` with a decimal is a `double`",
        is_seen: |pair, ours, theirs| {
            mentions(pair, "q")
                && differing(ours, theirs).is_some_and(|rows| rows.iter().all(are_floats))
        },
    },
    DeclaredDifference {
        name: "`grouping(v)` beside two aggregates that compute the same is refused",
        is_seen: |pair, ours, _| pair.ours.contains("grouping(") && fails_with(ours, "grouping()"),
    },
    DeclaredDifference {
        name: "`extract(year FROM …)` of the year before 1 is 0",
        is_seen: |pair, ours, theirs| {
            let is_year_0 = |(ours, theirs): &(&str, &str)| (*ours, *theirs) == ("0", "1");
            pair.ours.contains("extract(")
                && mentions(pair, "tz")
                && differing(ours, theirs).is_some_and(|rows| rows.iter().all(is_year_0))
        },
    },
    DeclaredDifference {
        name: "`CAST(date AS text)` after the year 9999 begins with `+`",
        is_seen: |pair, ours, theirs| {
            let is_far = |(ours, _): &(&str, &str)| ours.contains("+10");
            let is_cut = ["substr(", "length("]
                .iter()
                .any(|call| pair.ours.contains(call));
            let is_cut = is_cut && pair.ours.contains("as varchar)");
            differing(ours, theirs).is_some_and(|rows| is_cut || rows.iter().all(is_far))
        },
    },
    DeclaredDifference {
        name: "a value that overflows fails, even where the result is known without it",
        is_seen: |pair, ours, theirs| {
            let overflows = OVERFLOWS.iter().any(|text| fails_with(ours, text));
            let is_unneeded = UNNEEDED.iter().any(|form| pair.ours.contains(form));
            overflows && is_unneeded && rows(theirs).is_some()
        },
    },
    DeclaredDifference {
        name: "`date_trunc('decade', …)` of the years 1 to 9 is in the year before 1",
        is_seen: |pair, _, _| {
            let is_shown = pair.ours.contains("tz") || pair.ours.contains("as varchar)");
            pair.ours.contains("date_trunc('decade'") && is_shown
        },
    },
    DeclaredDifference {
        name: "`date_trunc('year', x) <> y` is null where `x` is",
        is_seen: |pair, ours, theirs| {
            let is_null = |(ours, theirs): (&Value, &Value)| {
                ours == theirs || (ours.is_null() && theirs == "true")
            };
            let arrays = ours.as_array().zip(theirs.as_array());
            let is_filter = pair.ours.contains(" where ") && pair.ours.contains("<> date_trunc(");
            pair.ours.contains("date_trunc(")
                && pair.ours.contains("<>")
                && (pair.ours.contains("case ")
                    || is_filter
                    || arrays.is_some_and(|(ours, theirs)| ours.iter().zip(theirs).all(is_null)))
        },
    },
    DeclaredDifference {
        name: "a constant that cannot be computed fails, even in a branch that no row takes",
        is_seen: |_, ours, _| is_of_constant(ours),
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

/// Whether the expression names the column.
fn mentions(pair: &Pair, column: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    pair.ours.split(|c| !is_name(c)).any(|word| word == column)
}

/// The texts of the rows that differ; `None` when others do.
fn differing<'v>(ours: &'v Value, theirs: &'v Value) -> Option<Vec<(&'v str, &'v str)>> {
    let (ours, theirs) = (ours.as_array()?, theirs.as_array()?);
    let pairs = ours
        .iter()
        .zip(theirs)
        .filter(|(ours, theirs)| ours != theirs);
    let texts = pairs.map(|(ours, theirs)| ours.as_str().zip(theirs.as_str()));
    texts
        .collect::<Option<Vec<_>>>()
        .filter(|_| ours.len() == theirs.len())
}

/// Whether all that differs is null here: `nullif` compares what DuckDB has rounded.
fn only_nulls_differ(ours: &Value, theirs: &Value) -> bool {
    let Some((ours, theirs)) = ours.as_array().zip(theirs.as_array()) else {
        return false;
    };
    let mut pairs = ours.iter().zip(theirs);
    ours.len() == theirs.len() && pairs.all(|(ours, theirs)| ours == theirs || ours.is_null())
}

/// Whether the numbers are as far apart as rounding an operand to a whole number makes them.
fn is_rounded((ours, theirs): &(&str, &str)) -> bool {
    let numbers = ours.parse::<f64>().ok().zip(theirs.parse::<f64>().ok());
    numbers.is_some_and(|(ours, theirs)| (ours - theirs).abs() <= 1.0)
}

/// Beginnings of the messages for values that do not fit.
const OVERFLOWS: [&str; 6] = [
    "Overflow happened on",
    "overflow on",
    "out of range for real",
    "is out of range",
    "Can't cast value",
    "too large to store in a decimal",
];

/// What makes a value matter or not for the result.
const UNNEEDED: [&str; 8] = [
    "case ",
    " is null",
    " is not null",
    "nullif(",
    "count(",
    "cast(null ",
    "lateral (",
    ", (select ",
];

/// Floats come as their bits.
fn are_floats((ours, theirs): &(&str, &str)) -> bool {
    let is_float = |text: &str| text.len() == 16 && u64::from_str_radix(text, 16).is_ok();
    is_float(ours) && is_float(theirs)
}

fn rows(value: &Value) -> Option<usize> {
    value.as_array().map(Vec::len)
}

/// Errors of DuckDB that are its own: it takes `NULL || NULL` for bytes.
const FAULTS_OF_DUCKDB: [&str; 1] = ["BLOB"];

/// Whether the guide declares the difference.
pub(super) fn is_meant(pair: &Pair, ours: &Value, theirs: &Value) -> bool {
    if FAULTS_OF_DUCKDB.iter().any(|text| fails_with(theirs, text)) {
        return true;
    }
    let mut declared = DECLARED.iter();
    declared.any(|difference| (difference.is_seen)(pair, ours, theirs))
}

/// Beginnings of messages about a plan, which no value is to blame for.
const FAULTS_OF_PLAN: [&str; 3] = ["WindowAggExec: wdw=[", "Tuple expressions", "not supported"];

/// Whether the statement has failed before its first row, for a value and not for a name, a type or a form, whose errors have places.
fn is_of_constant(ours: &Value) -> bool {
    let error = ours.get("error").and_then(Value::as_str);
    let has_place = |error: &str| error.split(": ").any(is_place);
    if FAULTS_OF_PLAN.iter().any(|text| fails_with(ours, text)) {
        return false;
    }
    error.is_some_and(|error| {
        !error.contains("a value makes the statement fail")
            && (!has_place(error)
                || error.contains("Cannot cast string")
                || error.contains("division by zero"))
    })
}

/// `line:column`, also behind the kind of an error.
fn is_place(text: &str) -> bool {
    let last = text.rsplit(' ').next().unwrap_or_default();
    let numbers = last.split_once(':');
    numbers
        .is_some_and(|(line, column)| line.parse::<u64>().is_ok() && column.parse::<u64>().is_ok())
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
