//! The columns of a table with one more, at the top or within a struct or a list of structs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use forebay_core::{Error, Result};
use forebay_lake::NO_SUCH_COLUMN;

/// The columns with a new one, by their names in the data.
pub(super) enum Added {
    Schema(Schema),
    /// A column of this name is there.
    Known(String),
}

/// Fields of a table, and the same under their names in the data.
struct Level<'s> {
    table: &'s Fields,
    data: &'s Fields,
}

/// `path` are the names of the structs around the new column, outermost first.
///
/// Errors: `Config` `no_such_column` when there is no such struct.
pub(super) fn with_column(
    table: &Schema,
    data: &Schema,
    path: &[String],
    column: Field,
) -> Result<Added> {
    let level = Level {
        table: table.fields(),
        data: data.fields(),
    };
    Ok(match level.added(path, path, column)? {
        Ok(fields) => Added::Schema(Schema::new(fields)),
        Err(known) => Added::Known(known),
    })
}

impl Level<'_> {
    /// The fields, or the name of the one that is there.
    fn added(
        &self,
        rest: &[String],
        path: &[String],
        column: Field,
    ) -> Result<Result<Fields, String>> {
        let Some((name, rest)) = rest.split_first() else {
            let lower = column.name().to_lowercase();
            let mut names = self.table.iter().map(|field| field.name());
            return Ok(match names.find(|name| name.to_lowercase() == lower) {
                Some(known) => Err(known.clone()),
                None => Ok(self
                    .data
                    .iter()
                    .cloned()
                    .chain([Arc::new(column)])
                    .collect()),
            });
        };
        let at = self.table.iter().position(|field| field.name() == name);
        let at = at.ok_or_else(|| no_struct(path))?;
        let kinds = (self.table[at].data_type(), self.data[at].data_type());
        let kind = match within(kinds, rest, path, column)? {
            Ok(kind) => kind,
            Err(known) => return Ok(Err(known)),
        };
        let mut fields: Vec<FieldRef> = self.data.iter().cloned().collect();
        fields[at] = Arc::new(fields[at].as_ref().clone().with_data_type(kind));
        Ok(Ok(fields.into()))
    }
}

fn within(
    kinds: (&DataType, &DataType),
    rest: &[String],
    path: &[String],
    column: Field,
) -> Result<Result<DataType, String>> {
    match kinds {
        (DataType::Struct(table), DataType::Struct(data)) => {
            let fields = Level { table, data }.added(rest, path, column)?;
            Ok(fields.map(DataType::Struct))
        }
        (DataType::List(table), DataType::List(data)) => {
            let kinds = (table.data_type(), data.data_type());
            let element = within(kinds, rest, path, column)?;
            Ok(element
                .map(|kind| DataType::List(Arc::new(data.as_ref().clone().with_data_type(kind)))))
        }
        _ => Err(no_struct(path)),
    }
}

fn no_struct(path: &[String]) -> Error {
    let what = format!(
        "the table has no struct, or list of structs, {}",
        path.join(".")
    );
    Error::config(NO_SUCH_COLUMN, what).with_hint(
        "`forebay tables describe` lists the columns of a table; quote a name with a dot",
    )
}
