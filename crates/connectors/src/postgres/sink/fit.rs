//! Fits a table to rows: the columns to add or widen, and the columns that it can never have.
//!
//! Names and numbers of columns come from data: a key of one JSON record is enough. A column that Postgres does not support
//! is therefore *barred*, not an error: each record with a value in it is rejected, the others land without the column. A
//! barred column is never renamed, cut or left out of a record that has a value there.
//!
//! Only tables that a pipeline made are widened; columns are added to any table.

use arrow::datatypes::{Field, SchemaRef};
use forebay_core::{Error, Result};

use super::encode::can_encode;
use super::modes::NUMBER;
use super::table::{Column, Table, list, quoted};
use super::{NAME_BYTES_MAX, check_name};
use crate::postgres::types::PgType;

/// Columns that a table of Postgres has at most, with those that were dropped.
const COLUMNS_MAX: usize = 1_600;

/// Columns that every table has, whose names are reserved.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// Characters of a name that messages repeat.
const SHOWN_MAX: usize = 80;

/// The desired table, and the columns required of rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// Columns of the key, which become its primary key.
    pub(super) key: Vec<String>,
    /// Rows bring keys only and nothing may be created.
    pub(super) delete: bool,
    /// Rows go through a stage, which has a column more.
    pub(super) staged: bool,
    /// Earlier commits of this pipeline have fit the table: a column that does not fit is now the fault of the records that
    /// bring it, not of the pipeline file.
    pub(super) settled: bool,
    pub(super) names: NameRules,
    /// Whether columns are planned beyond the most that a table can have.
    pub(super) unlimited: bool,
}

/// Names of columns that a server rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct NameRules {
    /// Before version 12 `oid` was a system column.
    pub(super) oid_is_reserved: bool,
    /// The database's encoding lacks some characters.
    pub(super) ascii_only: bool,
}

/// A column of the rows that the table cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BarredColumn {
    pub(super) name: String,
    pub(super) code: &'static str,
    pub(super) reason: String,
}

/// The changes that make rows fit, and the columns that stay out.
#[derive(Debug, Default)]
pub(super) struct Fitting {
    pub(super) statements: Vec<String>,
    /// The columns that the statements add or widen, with their types.
    pub(super) columns: Vec<(String, PgType)>,
    pub(super) barred: Vec<BarredColumn>,
}

impl Table {
    /// The statements that create `schema.name` for rows of `records`.
    pub(super) fn create(
        schema: &str,
        name: &str,
        records: &SchemaRef,
        wish: &Wish,
        pipeline: &str,
    ) -> Result<Fitting> {
        check_name(name)?;
        let mut fitting = Fitting::default();
        let mut lines = Vec::new();
        let mut room = wish.room(None);
        for field in records.fields() {
            let is_key = wish.key.contains(field.name());
            let kind = match new_column(field, wish, room)? {
                NewColumn::Kind(kind) => kind,
                NewColumn::Barred(barred) => {
                    fitting.barred.push(barred);
                    continue;
                }
            };
            room -= usize::from(!is_key);
            let needed = if is_key { " NOT NULL" } else { "" };
            lines.push(format!("{} {kind}{needed}", quoted(field.name())));
            fitting.columns.push((field.name().clone(), kind));
        }
        if !wish.key.is_empty() {
            lines.push(format!("PRIMARY KEY ({})", list(&wish.key)));
        }
        let full = format!("{}.{}", quoted(schema), quoted(name));
        fitting.statements = vec![
            format!("CREATE TABLE {full} ({})", lines.join(", ")),
            Self::comment(&full, &format!("pipeline {pipeline}")),
        ];
        Ok(fitting)
    }

    /// The changes that make rows of `records` fit.
    ///
    /// Errors: `Config` when the table cannot take the rows whatever their values are.
    pub(super) fn fit(&self, records: &SchemaRef, wish: &Wish) -> Result<Fitting> {
        let mut fitting = Fitting::default();
        let alter = format!("ALTER TABLE {}", self.full());
        let mut room = wish.room(Some(self));
        for field in records.fields() {
            let is_key = wish.key.contains(field.name());
            if wish.delete && !is_key {
                continue;
            }
            let name = quoted(field.name());
            match self.columns.get(field.name()) {
                None if is_key => return Err(self.no_key_column(field.name())),
                None => match new_column(field, wish, room)? {
                    NewColumn::Barred(barred) => fitting.barred.push(barred),
                    NewColumn::Kind(kind) => {
                        room -= 1;
                        let add = format!("{alter} ADD COLUMN IF NOT EXISTS {name} {kind}");
                        fitting.statements.push(add);
                        fitting.columns.push((field.name().clone(), kind));
                    }
                },
                Some(column) => match self.fitting(column, field) {
                    Ok(None) => {}
                    Ok(Some(kind)) => {
                        let widen = format!("{alter} ALTER COLUMN {name} TYPE {kind}");
                        fitting.statements.push(widen);
                        fitting.columns.push((field.name().clone(), kind));
                    }
                    Err(error) => fitting.barred.push(wish.bar(field, error)?),
                },
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
            None => Ok(fitting),
        }
    }

    /// The type that a column must be widened to first, if another.
    fn fitting(&self, column: &Column, field: &Field) -> Result<Option<PgType>> {
        if column.generated {
            let message = format!(
                "column `{}` of {}.{} is generated by the server and accepts no value",
                field.name(),
                self.schema,
                self.name
            );
            return Err(Error::config("generated_column", message).with_hint(
                "leave it out of the rows with `transform: [{sql: \"SELECT … FROM input\"}]`",
            ));
        }
        let wanted = PgType::of(field.data_type());
        if self.is_ours()
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
            "cast it to the column's type with `transform: [cast: {…}]`, or change the column",
        ))
    }

    fn lacks(&self, name: &str) -> Error {
        let message = format!(
            "column `{name}` of {}.{} is NOT NULL without a default, but missing in the rows",
            self.schema, self.name
        );
        Error::config("missing_column", message)
            .with_hint("add the column to the rows with a transform, or give it a default")
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

impl Wish {
    /// The most columns that a table can have.
    fn columns_max(&self) -> usize {
        COLUMNS_MAX - usize::from(self.staged)
    }

    /// How many columns the table can still get, besides those of the key.
    pub(super) fn room(&self, table: Option<&Table>) -> usize {
        if self.unlimited {
            return usize::MAX;
        }
        let used = table.map_or(self.key.len(), |table| table.columns_used);
        self.columns_max().saturating_sub(used)
    }

    /// Why a column gets no room.
    pub(super) fn no_room(&self, name: &str) -> (&'static str, String) {
        let what = format!(
            "the table has {} columns, the most it can have, and none named {}; \
             leave columns out with `transform: [{{sql: \"SELECT … FROM input\"}}]`",
            self.columns_max(),
            shown(name)
        );
        ("too_many_columns", what)
    }

    /// A column that does not fit stays out once the table is known to fit; before, the error stops the run.
    fn bar(&self, field: &Field, error: Error) -> Result<BarredColumn> {
        if !self.settled || self.key.contains(field.name()) {
            return Err(error);
        }
        Ok(BarredColumn {
            name: field.name().clone(),
            code: error.code(),
            reason: error.message().to_owned(),
        })
    }
}

enum NewColumn {
    Kind(PgType),
    Barred(BarredColumn),
}

/// Definition of a new column for `field`. `room` is the number of columns that the table can still get, besides the key's.
fn new_column(field: &Field, wish: &Wish, room: usize) -> Result<NewColumn> {
    let is_key = wish.key.contains(field.name());
    let misfit = match name_misfit(field.name(), wish) {
        None if room == 0 && !is_key => Some(wish.no_room(field.name())),
        other => other,
    };
    match misfit {
        Some((code, reason)) if is_key => Err(Error::config(code, reason)),
        Some((code, reason)) => Ok(NewColumn::Barred(BarredColumn {
            name: field.name().clone(),
            code,
            reason,
        })),
        None => match new_kind(field) {
            Ok(kind) => Ok(NewColumn::Kind(kind)),
            Err(error) => wish.bar(field, error).map(NewColumn::Barred),
        },
    }
}

/// Why this is an invalid column name, with the remedy.
fn name_misfit(name: &str, wish: &Wish) -> Option<(&'static str, String)> {
    let rename = "rename it with `transform: [rename: {…}]`";
    let is_reserved = SYSTEM_COLUMNS.contains(&name)
        || (wish.names.oid_is_reserved && name == "oid")
        || (wish.staged && name == NUMBER);
    let why = if name.is_empty() {
        "a column needs a name".to_owned()
    } else if name.contains('\0') {
        format!("the name {} contains a NUL character", shown(name))
    } else if name.len() > NAME_BYTES_MAX {
        let bytes = name.len();
        format!(
            "the name {} has {bytes} bytes, more than the {NAME_BYTES_MAX} allowed",
            shown(name)
        )
    } else if is_reserved {
        format!("{} is the name of a system column", shown(name))
    } else if wish.names.ascii_only && !name.is_ascii() {
        format!(
            "the encoding of the database may lack characters of {}",
            shown(name)
        )
    } else {
        return None;
    };
    Some(("bad_column_name", format!("{why}; {rename}")))
}

/// A name, shortened for messages.
fn shown(name: &str) -> String {
    let start: String = name.chars().take(SHOWN_MAX).collect();
    let more = if start.len() < name.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

/// The rows lack a column of the key.
pub(super) fn no_column(name: &str) -> Error {
    Error::config(
        "no_key_column",
        format!("the rows have no column `{name}`, which the key names"),
    )
}

fn new_kind(field: &Field) -> Result<PgType> {
    PgType::of(field.data_type())
        .filter(|kind| can_encode(field.data_type(), kind))
        .ok_or_else(|| {
            Error::config(
                "unsupported_type",
                format!(
                    "column `{}` is {}, which Postgres does not support",
                    field.name(),
                    field.data_type()
                ),
            )
            .with_hint("cast it to another type with `transform: [cast: {…}]`")
        })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Schema};

    use super::*;

    fn schema(names: &[&str]) -> SchemaRef {
        let field = |name: &&str| Field::new(*name, DataType::Int64, true);
        Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
    }

    #[test]
    fn names_that_no_column_can_have_are_barred() {
        let long = "k".repeat(64);
        let records = schema(&["id", "ctid", "oid", "", "a\0b", &long, "Id", "größe"]);
        let wish = Wish::default();
        let fitting = Table::create("s", "t", &records, &wish, "p").unwrap();
        let barred: Vec<&str> = fitting.barred.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(barred, ["ctid", "", "a\0b", &long]);
        assert!(
            fitting.statements[0].contains("\"Id\" bigint"),
            "{fitting:?}"
        );
        let names = NameRules {
            oid_is_reserved: true,
            ascii_only: true,
        };
        let wish = Wish {
            names,
            ..Wish::default()
        };
        let fitting = Table::create("s", "t", &schema(&["oid", "größe"]), &wish, "p").unwrap();
        assert_eq!(fitting.barred.len(), 2);
    }

    #[test]
    fn columns_beyond_the_limit_are_barred_and_the_key_is_not() {
        let names: Vec<String> = (0..1_700).map(|n| format!("c{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let wish = Wish {
            key: vec!["c1699".to_owned()],
            staged: true,
            ..Wish::default()
        };
        let fitting = Table::create("s", "t", &schema(&names), &wish, "p").unwrap();
        assert_eq!(fitting.barred.len(), 1_700 - 1_599);
        assert_eq!(fitting.barred[0].name, "c1598");
        assert!(fitting.statements[0].contains("\"c1699\" bigint NOT NULL"));
    }
}
