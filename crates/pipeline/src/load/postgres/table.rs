//! A table of the target: what it has, and making it have what rows need.
//!
//! A table that a pipeline made says so in its comment; only such a one is ever widened. Columns are added to any table.
//! Whatever is missing and may not be added is said before a row is sent.

use std::collections::HashMap;

use arrow::datatypes::{Field, SchemaRef};
use forebay_core::{Error, Result};

use super::check_name;
use super::client::Connection;
use super::encode::can_encode;
use super::error::failed;
use super::types::PgType;

/// What the comment of a table begins with that a pipeline made.
const MADE: &str = "Made by Forebay";

/// An identifier as SQL text takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL text takes it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `schema.table`, with the columns it has now.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
    columns: HashMap<String, Column>,
    /// Whether a pipeline made it.
    ours: bool,
    /// Rows of this schema fit as the table is now.
    fits: Option<SchemaRef>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    kind: PgType,
    /// A row without it is refused.
    needed: bool,
}

/// A column that rows bring, as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) kind: PgType,
    /// A value must be there: it is of the key.
    pub(super) key: bool,
}

/// How a table is made and what rows must bring.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// Columns of the key, which become its primary key.
    pub(super) key: Vec<String>,
    /// Rows bring keys only and nothing may be made.
    pub(super) delete: bool,
}

impl Table {
    /// Reads what the server has; `None` when there is no such table.
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
                "SELECT c.relkind::text, coalesce(obj_description(c.oid, 'pg_class'), '') FROM pg_class c \
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
                format!("{schema}.{name} is no table that rows can be copied into (kind `{kind}`)"),
            ));
        }
        let ours = row.get::<_, String>(1).starts_with(MADE);
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
            ours,
            fits: None,
        }))
    }

    /// The statements that make `schema.name` for rows of `records`.
    pub(super) fn create(
        schema: &str,
        name: &str,
        records: &SchemaRef,
        wish: &Wish,
        pipeline: &str,
    ) -> Result<Vec<String>> {
        check_name(name)?;
        let mut lines = Vec::new();
        for field in records.fields() {
            let kind = new_kind(field)?;
            let needed = if wish.key.contains(field.name()) {
                " NOT NULL"
            } else {
                ""
            };
            lines.push(format!("{} {kind}{needed}", quoted(field.name())));
        }
        if !wish.key.is_empty() {
            lines.push(format!("PRIMARY KEY ({})", list(&wish.key)));
        }
        let full = format!("{}.{}", quoted(schema), quoted(name));
        Ok(vec![
            format!("CREATE TABLE {full} ({})", lines.join(", ")),
            Self::comment(&full, &format!("pipeline {pipeline}")),
        ])
    }

    /// The statement that says that a pipeline made the table.
    pub(super) fn comment(full: &str, more: &str) -> String {
        let text = literal(&format!("{MADE}, {more}"));
        format!("COMMENT ON TABLE {full} IS {text}")
    }

    pub(super) fn has_same_columns(&self, other: &Self) -> bool {
        self.columns == other.columns
    }

    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    pub(super) fn full(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    pub(super) fn fits(&self, records: &SchemaRef) -> bool {
        self.fits.as_ref().is_some_and(|fits| fits == records)
    }

    pub(super) fn note_fit(&mut self, records: &SchemaRef) {
        self.fits = Some(records.clone());
    }

    /// What has to change so that rows of `records` fit, as statements; empty when they do.
    ///
    /// Errors: `Config` when a column cannot take them, or one that a row needs does not come.
    pub(super) fn changes(&self, records: &SchemaRef, wish: &Wish) -> Result<Vec<String>> {
        let mut statements = Vec::new();
        let alter = format!("ALTER TABLE {}", self.full());
        for field in records.fields() {
            let is_key = wish.key.contains(field.name());
            if wish.delete && !is_key {
                continue;
            }
            match self.columns.get(field.name()) {
                None if is_key => return Err(self.no_key_column(field.name())),
                None => {
                    let kind = new_kind(field)?;
                    statements.push(format!(
                        "{alter} ADD COLUMN IF NOT EXISTS {} {kind}",
                        quoted(field.name())
                    ));
                }
                Some(column) => {
                    if let Some(kind) = self.fitting(column, field)? {
                        statements.push(format!(
                            "{alter} ALTER COLUMN {} TYPE {kind}",
                            quoted(field.name())
                        ));
                    }
                }
            }
        }
        for name in &wish.key {
            if records.field_with_name(name).is_err() {
                return Err(no_column(name));
            }
        }
        let missing = self.columns.iter().find(|(name, column)| {
            column.needed && !wish.delete && records.field_with_name(name).is_err()
        });
        match missing {
            Some((name, _)) => Err(self.lacks(name)),
            None => Ok(statements),
        }
    }

    /// The type that a column must get first, if another.
    fn fitting(&self, column: &Column, field: &Field) -> Result<Option<PgType>> {
        let wanted = PgType::of(field.data_type());
        if self.ours
            && let Some(wanted) = &wanted
            && let Some(wide) = column.kind.wider(wanted)
        {
            return Ok((wide != column.kind).then_some(wide));
        }
        if can_encode(field.data_type(), &column.kind) {
            return Ok(None);
        }
        let message = format!(
            "column `{}` of {}.{} is {}, which does not take {}",
            field.name(),
            self.schema,
            self.name,
            column.kind,
            wanted.map_or_else(|| field.data_type().to_string(), |kind| kind.to_string()),
        );
        Err(Error::config("incompatible_type", message).with_hint(
            "bring it to the column's type with `transform: [cast: {…}]`, or change the column",
        ))
    }

    /// The columns that rows of `records` go to, in their order.
    pub(super) fn places(&self, records: &SchemaRef, wish: &Wish) -> Result<Vec<Place>> {
        let fields = records.fields().iter();
        let wanted = fields.filter(|field| !wish.delete || wish.key.contains(field.name()));
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

    fn lacks(&self, name: &str) -> Error {
        let message = format!(
            "column `{name}` of {}.{} is NOT NULL without a default, and the rows have no such column",
            self.schema, self.name
        );
        Error::config("missing_column", message)
            .with_hint("give the rows the column with a transform, or the column a default")
    }

    fn no_key_column(&self, name: &str) -> Error {
        Error::config(
            "no_key_column",
            format!(
                "{}.{} has no column `{name}` for the key",
                self.schema, self.name
            ),
        )
    }
}

/// The rows lack a column of the key.
pub(super) fn no_column(name: &str) -> Error {
    Error::config(
        "no_key_column",
        format!("the rows have no column `{name}`, which the key names"),
    )
}

/// Column names, quoted, with commas.
pub(super) fn list<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name.as_ref())).collect();
    quoted.join(", ")
}

fn new_kind(field: &Field) -> Result<PgType> {
    check_name(field.name())?;
    PgType::of(field.data_type())
        .filter(|kind| can_encode(field.data_type(), kind))
        .ok_or_else(|| {
            Error::config(
                "unsupported_type",
                format!(
                    "column `{}` is {}, which no table of Postgres holds",
                    field.name(),
                    field.data_type()
                ),
            )
            .with_hint("bring it to another type with `transform: [cast: {…}]`")
        })
}

/// Name, type (of a domain its base), modifier, category, whether it is an enum, whether a row needs it, and of an array
/// the same of its elements with their oid.
const COLUMNS: &str = "\
SELECT a.attname::text, b.typname::text, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, \
b.typcategory, b.typtype = 'e', \
(a.attnotnull OR t.typnotnull) AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = '' AND t.typdefault IS NULL, \
e.oid, e.typname::text, e.typcategory, e.typtype = 'e' \
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typcategory = 'A' \
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped";

fn column(row: &tokio_postgres::Row) -> (String, Column) {
    let (name, kind, modifier): (String, String, i32) = (row.get(0), row.get(1), row.get(2));
    let element: Option<(u32, String)> = row
        .get::<_, Option<u32>>(6)
        .zip(row.get::<_, Option<String>>(7));
    let kind = match element {
        Some((oid, element)) => {
            let inner = PgType::read(&element, modifier, row.get(8), row.get(9));
            PgType::Array(Box::new(inner), oid)
        }
        None => PgType::read(&kind, modifier, row.get(3), row.get(4)),
    };
    let needed = row.get(5);
    (name, Column { kind, needed })
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
