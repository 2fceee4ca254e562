//! Refuses commands that make a table again from one pipeline, when another one has rows in it too.

use forebay_core::{Error, RefName, Result, TableName};
use forebay_pipeline::spec::PipelineSpec;

use crate::options::Global;
use crate::project;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;

/// Rows of another pipeline in the same table would be dropped too, and never come back. A table belongs to its owner, whatever
/// its name: a pipeline may load `shop.orders__archive` beside one that loads `shop.orders`.
///
/// Errors: `Config` `shared_table`.
pub(super) async fn refuse_shared_table(
    spec: &PipelineSpec,
    workspace: &Workspace,
    global: &Global,
    variables: &ProcessVariables,
) -> Result<()> {
    let Some(target) = spec.load.lake() else {
        return Ok(());
    };
    for file in project::pipelines(&global.project)? {
        let Ok(other) = project::load(&file, variables, workspace.engine()) else {
            continue;
        };
        let is_shared = other.name != spec.name
            && other
                .load
                .lake()
                .is_some_and(|other| target.table == other.table);
        if is_shared {
            return Err(loads_too(spec, &other.name.to_string(), &target.table));
        }
    }
    refuse_rows_of_others(spec, workspace, &target.table).await
}

fn loads_too(spec: &PipelineSpec, other: &str, table: &TableName) -> Error {
    let what = format!(
        "pipeline {other} loads {table} too, and its rows are not in the raw zone of {}",
        spec.name
    );
    Error::config("shared_table", what)
        .with_hint("load the rows of each pipeline into a table of its own")
}

/// A pipeline that was renamed or deleted has left rows.
async fn refuse_rows_of_others(
    spec: &PipelineSpec,
    workspace: &Workspace,
    table: &TableName,
) -> Result<()> {
    let name = &spec.name;
    let main = RefName::main();
    let others =
        forebay_pipeline::engine::find_other_loaders(workspace.lake(), &main, name, table).await?;
    let Some(other) = others.first() else {
        return Ok(());
    };
    let what = format!(
        "{table} has rows of pipeline {other} too, which no file loads into it now, and they are not in the raw zone of {name}"
    );
    Err(Error::config("shared_table", what).with_hint(format!(
        "keep the table, and load {name} into another one; to give the rows of {other} up, drop the table first: forebay tables drop {table} --force --yes"
    )))
}
