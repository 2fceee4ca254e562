//! Errors of names: tables and columns that are unknown, ambiguous or there twice, with the name that may be meant.

use datafusion::common::{Column, SchemaError};
use forebay_core::Error;

use super::{Place, bad_sql, locate, subquery_unsupported};
use crate::time_clause::{ClausedName, Span};

/// How alike two names must be (normalised edit distance) before one is suggested for the other.
const SUGGEST_LIKENESS_MIN: f64 = 0.6;

/// The engine's column with the level of a grouping set.
const GROUPING_ID: &str = "__grouping_id";

/// Whether a column is one of the join that the engine makes of a subquery.
fn is_of_join(column: &Column) -> bool {
    let relation = column.relation.as_ref();
    relation.is_some_and(|relation| relation.table().starts_with("__correlated_sq"))
}

/// Whether a column is one of `(a, b) IN (SELECT …)`.
fn is_of_row(column: &Column) -> bool {
    column.name.starts_with("__member_")
}

pub(super) fn bad_schema(error: &SchemaError, place: Option<Place>, sql: &str) -> Error {
    match error {
        // The engine computes equal aggregates once, and loses its column of levels on the way.
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } if is_of_join(field) || valid_fields.iter().any(is_of_row) => subquery_unsupported(),
        SchemaError::FieldNotFound { field, .. } if field.name() == GROUPING_ID => {
            let message = "grouping() beside two aggregates that compute the same is not supported";
            Error::unsupported("sql_unsupported", message).with_hint(
                "write such an aggregate once, and use its column twice around the query",
            )
        }
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let place = place.or_else(|| locate(sql, field.name()));
            let error = bad_sql(format!("no column {}", field.flat_name()), place);
            match suggest_column(field, valid_fields) {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let place = place.or_else(|| locate(sql, field.name()));
            bad_sql(
                format!("column {} is in more than one table", field.name()),
                place,
            )
            .with_hint(format!("write which table is meant: `t.{}`", field.name()))
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => bad_sql(
            format!("duplicate column {name}"),
            place.or_else(|| locate(sql, name)),
        )
        .with_hint("give one of them another name with AS"),
    }
}

fn suggest_column(field: &Column, valid: &[Column]) -> Option<String> {
    if let Some(same) = valid.iter().find(|column| {
        column.name().eq_ignore_ascii_case(field.name()) && column.name() != field.name()
    }) {
        return Some(format!(
            "names are read as lower case; write \"{}\" in double quotes",
            same.name()
        ));
    }
    if let Some(name) = nearest(field.name(), valid.iter().map(Column::name)) {
        return Some(format!("did you mean {name}?"));
    }
    let names: Vec<&str> = valid.iter().map(Column::name).take(20).collect();
    (!names.is_empty()).then(|| format!("columns are {}", names.join(", ")))
}

pub(super) fn unknown_table(
    name: &str,
    place: Option<Place>,
    sql: &str,
    tables: &[String],
) -> Error {
    // The engine writes `catalog.namespace.table@as_of`.
    let claused = ClausedName::parse(name);
    let name = claused.name;
    let short = name
        .strip_prefix(&format!("{}.", crate::address::CATALOG))
        .unwrap_or(name);
    let short = short
        .strip_prefix(&format!("{}.", crate::address::NO_NAMESPACE))
        .unwrap_or(short);
    let last = short.rsplit('.').next().unwrap_or(short);
    if let Some(Span::AsOf(version)) = &claused.system
        && tables.iter().any(|table| table == short)
    {
        let what = format!("table {short} did not exist at {version}");
        return bad_sql(what, place.or_else(|| locate(sql, last)))
            .with_hint("`SELECT * FROM lake.commits` lists the states that can be read");
    }
    let error = bad_sql(
        format!("no table {short}"),
        place.or_else(|| locate(sql, last)),
    );
    if let Some(full) = tables
        .iter()
        .find(|table| table.rsplit('.').next() == Some(short))
    {
        return error.with_hint(format!("did you mean {full}?"));
    }
    match nearest(short, tables.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error.with_hint("run SHOW TABLES to list the tables"),
    }
}

/// The name most like `wanted`, if one is like enough.
pub(crate) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, name), name))
        .filter(|(likeness, _)| *likeness >= SUGGEST_LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_must_be_near() {
        let names = ["quakes.events", "quakes.places"];
        assert_eq!(
            nearest("quakes.event", names.iter().copied()),
            Some("quakes.events")
        );
        assert_eq!(nearest("orders.lines", names.iter().copied()), None);
    }
}
