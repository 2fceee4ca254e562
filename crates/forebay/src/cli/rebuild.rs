//! `forebay rebuild`: a table again from the raw zone, on a branch, and whether it equals the current one.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use clap::Args;
use forebay_core::{Error, RefName, Result, TableName};
use forebay_pipeline::engine::{Figures, Rebuilt};
use forebay_pipeline::spec::PipelineSpec;
use forebay_store::AsOf;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::shared_table::refuse_shared_table;
use crate::options::Global;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

#[derive(Debug, Args)]
#[command(
    after_help = "Without --adopt the branch stays: query it with `forebay sql --branch …`, drop it with `forebay branch drop …`; the pipeline may keep running, also under `forebay serve`."
)]
pub(crate) struct Rebuild {
    /// The table, or a child table of the same pipeline
    table: String,
    /// Put the rebuilt tables in the place of the current ones, in one commit
    #[arg(long)]
    adopt: bool,
    /// A value for `${param:NAME}`
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::run::param)]
    params: Vec<(String, String)>,
}

impl Rebuild {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open(global).await?;
        let table = project::table(workspace.project(), &self.table, workspace.engine())?;
        let spec = Arc::new(self.pipeline(&table, &workspace, global).await?);
        // The rows of another pipeline would be missing, so the tables could only differ.
        refuse_shared_table(&spec, &workspace, global, &self.variables()).await?;
        // Nobody else may load the pipeline until the tables are exchanged.
        let _alone = if self.adopt {
            Some((
                workspace.lock(&spec.name)?,
                workspace.lock_replay(&spec.name)?,
            ))
        } else {
            None
        };
        let main = RefName::main();
        let context = workspace.run_context(
            &main,
            false,
            &CancellationToken::new(),
            &Arc::new(Figures::default()),
        );
        let rebuilt = Box::pin(forebay_pipeline::engine::rebuild(
            spec.clone(),
            context.clone(),
        ))
        .await?;
        say::good(format_args!(
            "{} of raw.{} gave {} and {} on branch {}",
            say::counted(rebuilt.payloads, "payload"),
            spec.name,
            say::counted(rebuilt.rows, "row"),
            say::counted(rebuilt.rejected, "refused record"),
            rebuilt.branch,
        ));
        let equal = match Box::pin(compare(&workspace, &rebuilt, self.adopt)).await {
            Ok(equal) => equal,
            Err(error) => {
                // The branch was not shown to anybody.
                workspace
                    .lake()
                    .store()
                    .drop_branch(&rebuilt.branch)
                    .await?;
                return Err(error);
            }
        };
        if self.adopt {
            forebay_pipeline::engine::adopt(&spec, &context, &rebuilt).await?;
            let tables = rebuilt.tables.iter().map(ToString::to_string);
            let tables: Vec<String> = tables.collect();
            say::good(format_args!("adopted: {}", tables.join(", ")));
            return Ok(ExitCode::SUCCESS);
        }
        Ok(if equal {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn variables(&self) -> ProcessVariables {
        ProcessVariables {
            params: self.params.clone(),
        }
    }

    /// The pipeline of the project that loads the table: by the table's owner, or without one by its name, which may be that
    /// of a child table. A file with errors does not affect other pipelines.
    async fn pipeline(
        &self,
        table: &TableName,
        workspace: &Workspace,
        global: &Global,
    ) -> Result<PipelineSpec> {
        let variables = self.variables();
        let main = AsOf::Head(RefName::main());
        let found = workspace.lake().table(&main, table).await?;
        let owner = found.as_ref().and_then(forebay_pipeline::engine::owner);
        let is_owned = owner.is_some();
        let name = owner.unwrap_or_else(|| table.to_string());
        let mut parent = None;
        let mut broken = None;
        for file in project::pipelines(&global.project)? {
            let spec = match project::load_or_error(&file, &variables, workspace.engine()) {
                Ok(spec) => spec,
                Err(error) => {
                    broken = broken.or(Some(error));
                    continue;
                }
            };
            let Some(main) = spec.load.lake().map(|target| target.table.to_string()) else {
                continue;
            };
            if name == main {
                return Ok(spec);
            }
            let is_longer = |(longest, _): &(String, PipelineSpec)| main.len() > longest.len();
            let may_be_child = !is_owned && name.starts_with(&format!("{main}__"));
            if may_be_child && parent.as_ref().is_none_or(is_longer) {
                parent = Some((main, spec));
            }
        }
        if let Some((_, spec)) = parent {
            return Ok(spec);
        }
        Err(broken.unwrap_or_else(|| project::no_loader(&table.to_string())))
    }
}

/// Reports how the tables differ; that is an error unless the rebuilt ones replace them.
async fn compare(workspace: &Workspace, rebuilt: &Rebuilt, is_adopted: bool) -> Result<bool> {
    let mut equal = true;
    // The pipeline may have committed since.
    let base = rebuilt
        .base
        .map_or_else(|| AsOf::Head(RefName::main()), AsOf::Commit);
    for table in &rebuilt.tables {
        let current = fingerprint(workspace, base.clone(), table).await?;
        let again = fingerprint(workspace, AsOf::Head(rebuilt.branch.clone()), table).await?;
        if current == again {
            say::good(format_args!(
                "{table}: equal, {}",
                say::counted(current.rows, "row")
            ));
        } else {
            equal = false;
            let text = format!(
                "{table} differs: {} now, {} rebuilt",
                say::counted(current.rows, "row"),
                say::counted(again.rows, "row")
            );
            if is_adopted {
                say::warn(format_args!("{text}"));
                continue;
            }
            say::error(&Error::data("rebuild_differs", text).with_hint(format!(
                "`forebay sql --branch {} 'SELECT * FROM {table}'` shows the rebuilt rows; a changed pipeline file or replayed records are the usual reasons. To keep the rebuilt table: forebay rebuild {table} --adopt",
                rebuilt.branch
            )));
        }
    }
    Ok(equal)
}

/// The content of a table, in any order of rows: their number and the sum of their hashes. Two tables with the
/// same rows have the same fingerprint; two with different rows have not, but for a collision of SHA-256 halves.
#[derive(Debug, PartialEq, Eq, Default)]
struct Fingerprint {
    columns: Vec<String>,
    rows: u64,
    sum: u128,
}

async fn fingerprint(workspace: &Workspace, as_of: AsOf, table: &TableName) -> Result<Fingerprint> {
    if workspace.lake().table(&as_of, table).await?.is_none() {
        return Ok(Fingerprint::default());
    }
    let mut answer = workspace
        .query(as_of)
        .execute(&format!("SELECT * FROM {table}"))
        .await?;
    let mut order = (0..answer.schema.fields().len()).collect::<Vec<_>>();
    order.sort_by_key(|n| answer.schema.field(*n).name().clone());
    let failed = |error| Error::bug("fingerprint", "failed to compare rows").with_source(error);
    let kinds = order.iter().map(|n| {
        let none = new_empty_array(answer.schema.field(*n).data_type());
        comparable(&none).map(|plain| plain.data_type().clone())
    });
    let kinds: Vec<DataType> = kinds.collect::<Result<_, _>>().map_err(failed)?;
    let fields = kinds.iter().cloned().map(SortField::new);
    let converter = RowConverter::new(fields.collect()).map_err(failed)?;
    let named = order.iter().zip(&kinds);
    let columns = named.map(|(n, kind)| format!("{} {kind}", answer.schema.field(*n).name()));
    let mut print = Fingerprint {
        columns: columns.collect(),
        ..Fingerprint::default()
    };
    while let Some(batch) = answer.batches.try_next().await? {
        let columns = order
            .iter()
            .map(|n| comparable(batch.column(*n)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        for row in &converter.convert_columns(&columns).map_err(failed)? {
            let hash = Sha256::digest(row.as_ref());
            let half: [u8; 16] = hash[..16]
                .try_into()
                .map_err(|_| Error::bug("fingerprint", "a hash of another length"))?;
            print.sum = print.sum.wrapping_add(u128::from_le_bytes(half));
            print.rows += 1;
        }
    }
    Ok(print)
}

/// The column as it is compared: with every map in it as the list of its entries, since Arrow compares rows by lists, and not by
/// maps, and with the columns of objects by name, since their order and ids depend on when each was added.
fn comparable(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            list(map.offsets(), &entries, map.nulls())
        }
        DataType::List(_) => {
            let of = array.as_list::<i32>();
            list(of.offsets(), of.values(), of.nulls())
        }
        DataType::Struct(fields) if !fields.is_empty() => {
            let object = array.as_struct();
            let mut named: Vec<_> = fields.iter().zip(object.columns()).collect();
            named.sort_by_key(|(field, _)| field.name());
            let columns = named.iter().map(|(_, column)| comparable(column));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let fields = named.iter().zip(&columns).map(|((field, _), column)| {
                Field::new(field.name(), column.data_type().clone(), true)
            });
            let fields = fields.collect();
            let nulls = object.nulls().cloned();
            Ok(Arc::new(StructArray::try_new(fields, columns, nulls)?))
        }
        _ => Ok(array.clone()),
    }
}

fn list(
    offsets: &OffsetBuffer<i32>,
    values: &ArrayRef,
    nulls: Option<&NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let values = comparable(values)?;
    let element = Arc::new(Field::new("element", values.data_type().clone(), true));
    let list = ListArray::try_new(element, offsets.clone(), values, nulls.cloned())?;
    Ok(Arc::new(list))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Builder, MapBuilder, StringBuilder};

    use super::*;

    #[test]
    fn rows_with_maps_are_compared_at_any_depth() {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        for (key, value) in [("a", Some(1)), ("b", None)] {
            maps.keys().append_value(key);
            maps.values().append_option(value);
            maps.append(true).expect("keys and values are as many");
        }
        maps.append(false).expect("a map that is null");
        let maps: ArrayRef = Arc::new(maps.finish());
        let lists = list(&OffsetBuffer::from_lengths([1, 2]), &maps, None).expect("a list of maps");
        for column in [maps, lists] {
            let column = comparable(&column).expect("the maps are lists");
            let field = SortField::new(column.data_type().clone());
            let converter = RowConverter::new(vec![field]).expect("rows can be compared");
            let rows = converter.convert_columns(&[column]).expect("they are");
            assert_ne!(rows.row(0), rows.row(1));
        }
    }
}
