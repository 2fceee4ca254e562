//! The columns of a target table. [`super::fit`] finds the missing ones.
//!
//! A table made by a pipeline is marked in its comment. This module only reads; it never changes a table.

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Result};

use super::fit::{BarredColumn, Wish};
use crate::postgres::client::Connection;
use crate::postgres::error::failed;
use crate::postgres::types::PgType;

/// Start of the comment of a table made by a pipeline.
const MADE: &str = "Made by Forebay";

/// Separator between [`MADE`] and the name of the pipeline.
const MAKER: &str = ", pipeline ";

/// An identifier, quoted for SQL text.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted for SQL text.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `schema.table`, with its current columns.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) columns: HashMap<String, Column>,
    /// Number of columns that count against the server's limit: dropped ones do for ever.
    pub(super) columns_used: usize,
    comment: String,
    /// The schema of rows that fit the current table.
    fits: Option<SchemaRef>,
    /// Columns of that schema that the table cannot have.
    barred: Vec<BarredColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) kind: PgType,
    /// A row without it is rejected.
    pub(super) needed: bool,
    /// Computed by the server; accepts no value.
    pub(super) generated: bool,
}

/// The target column of a column of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) kind: PgType,
    /// A value must be there: it is of the key.
    pub(super) key: bool,
}

impl Table {
    /// Reads the table from the server; `None` when it does not exist.
    pub(super) async fn read(
        connection: &Connection,
        schema: &str,
        name: &str,
    ) -> Result<Option<Self>> {
        let full = format!("{}.{}", quoted(schema), quoted(name));
        let what = || format!("read the columns of {schema}.{name}");
        let found = connection
            .client
            .query_opt(
                "SELECT c.relkind::text, coalesce(obj_description(c.oid, 'pg_class'), ''), c.relnatts FROM pg_class c \
                 WHERE c.oid = to_regclass($1)",
                &[&full],
            )
            .await
            .map_err(|error| failed(&what(), error))?;
        let Some(row) = found else { return Ok(None) };
        let kind: String = row.get(0);
        if !["r", "p"].contains(&kind.as_str()) {
            return Err(Error::config(
                "not_a_table",
                format!(
                    "{schema}.{name} is not a table that rows can be copied into (kind `{kind}`)"
                ),
            ));
        }
        let columns_used = usize::try_from(row.get::<_, i16>(2)).unwrap_or(0);
        let rows = connection
            .client
            .query(COLUMNS, &[&full])
            .await
            .map_err(|error| failed(&what(), error))?;
        let columns = rows.iter().map(column).collect();
        Ok(Some(Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns,
            columns_used,
            comment: row.get(1),
            fits: None,
            barred: Vec::new(),
        }))
    }

    /// A table that does not exist yet.
    pub(super) fn none(schema: &str, name: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            columns: HashMap::new(),
            columns_used: 0,
            comment: MADE.to_owned(),
            fits: None,
            barred: Vec::new(),
        }
    }

    /// The table as it would be with these columns.
    pub(super) fn with_columns(mut self, columns: Vec<(String, PgType)>) -> Self {
        let columns = columns.into_iter().map(|(name, kind)| {
            let column = Column {
                kind,
                needed: false,
                generated: false,
            };
            (name, column)
        });
        self.columns.extend(columns);
        self
    }

    /// The statement that marks the table as made by a pipeline.
    pub(super) fn comment(full: &str, more: &str) -> String {
        let text = literal(&format!("{MADE}, {more}"));
        format!("COMMENT ON TABLE {full} IS {text}")
    }

    pub(super) fn has_same_columns(&self, other: &Self) -> bool {
        self.columns == other.columns
    }

    /// Whether a pipeline made it.
    pub(super) fn is_ours(&self) -> bool {
        self.comment.starts_with(MADE)
    }

    pub(super) fn has_comment(&self) -> bool {
        !self.comment.is_empty()
    }

    /// The pipeline that made it.
    pub(super) fn maker(&self) -> Option<&str> {
        self.comment.strip_prefix(MADE)?.strip_prefix(MAKER)
    }

    pub(super) fn full(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub(super) fn fits(&self, records: &SchemaRef) -> bool {
        self.fits.as_ref().is_some_and(|fits| fits == records)
    }

    pub(super) fn note_fit(&mut self, records: &SchemaRef, barred: Vec<BarredColumn>) {
        self.fits = Some(records.clone());
        self.barred = barred;
    }

    /// Columns of the last fitting rows which the table cannot have.
    pub(super) fn barred(&self) -> &[BarredColumn] {
        &self.barred
    }

    /// The target columns for rows of `records`, in their order.
    pub(super) fn places(
        &self,
        records: &SchemaRef,
        wish: &Wish,
        barred: &[BarredColumn],
    ) -> Result<Vec<Place>> {
        let fields = records.fields().iter();
        let wanted = fields.filter(|field| {
            let is_barred = barred.iter().any(|column| column.name == *field.name());
            !is_barred && (!wish.delete || wish.key.contains(field.name()))
        });
        wanted
            .map(|field| {
                let column = self
                    .columns
                    .get(field.name())
                    .ok_or_else(|| Error::bug("no_place", "a column was not added"))?;
                Ok(Place {
                    name: field.name().clone(),
                    kind: column.kind.clone(),
                    key: wish.key.contains(field.name()),
                })
            })
            .collect()
    }
}

/// Column names, quoted, with commas.
pub(super) fn list<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name.as_ref())).collect();
    quoted.join(", ")
}

/// Name, type (of a domain its base), modifier, category, whether it is an enum, whether a row needs it, of an array the
/// same of its elements with their oid, and whether the server computes it.
const COLUMNS: &str = "\
SELECT a.attname::text, b.typname::text, base.modifier, \
b.typcategory, b.typtype = 'e', \
(a.attnotnull OR t.typnotnull) AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '' AND t.typdefault IS NULL, \
e.oid, i.typname::text, i.typcategory, i.typtype = 'e', inner_base.modifier, a.attgenerated <> '' \
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
CROSS JOIN LATERAL (WITH RECURSIVE walk(oid, modifier, depth) AS (SELECT a.atttypid, a.atttypmod, 0 UNION ALL \
SELECT d.typbasetype, d.typtypmod, w.depth + 1 FROM walk w JOIN pg_type d ON d.oid = w.oid AND d.typtype = 'd') \
SELECT oid, modifier FROM walk ORDER BY depth DESC LIMIT 1) base \
JOIN pg_type b ON b.oid = base.oid \
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A' \
LEFT JOIN LATERAL (WITH RECURSIVE walk(oid, modifier, depth) AS (SELECT e.oid, base.modifier, 0 UNION ALL \
SELECT d.typbasetype, d.typtypmod, w.depth + 1 FROM walk w JOIN pg_type d ON d.oid = w.oid AND d.typtype = 'd') \
SELECT oid, modifier FROM walk ORDER BY depth DESC LIMIT 1) inner_base ON true \
LEFT JOIN pg_type i ON i.oid = inner_base.oid \
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

fn column(row: &tokio_postgres::Row) -> (String, Column) {
    let (name, kind, modifier): (String, String, i32) = (row.get(0), row.get(1), row.get(2));
    let element: Option<(u32, String)> = row
        .get::<_, Option<u32>>(6)
        .zip(row.get::<_, Option<String>>(7));
    let kind = match element {
        Some((oid, element)) => {
            let inner = PgType::read(&element, row.get(10), row.get(8), row.get(9));
            PgType::Array(Box::new(inner), oid)
        }
        None => PgType::read(&kind, modifier, row.get(3), row.get(4)),
    };
    let column = Column {
        kind,
        needed: row.get(5),
        generated: row.get(11),
    };
    (name, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(list(&["a", "B c"]), "\"a\", \"B c\"");
    }
}
