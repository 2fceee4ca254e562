//! The contract of a pipeline between runs: a property of the table `raw.<pipeline>`.

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_core::{Error, Ident, Result, json};
use forebay_formats::contract::{Contract, TakenTables};
use forebay_lake::Table;
use forebay_store::AsOf;

use super::RunContext;
use super::commit::tables::{self, is_owned};
use crate::spec::PipelineSpec;

/// Property of `raw.<pipeline>` that holds the contract.
pub(in crate::engine) const CONTRACT_PROPERTY: &str = "forebay.contract";

pub(in crate::engine) async fn raw_table(
    context: &RunContext,
    pipeline: &Ident,
) -> Result<Option<Table>> {
    let branch = AsOf::Head(context.branch.clone());
    context.lake.table(&branch, &tables::raw(pipeline)?).await
}

/// Tables of other pipelines with the name of a child table of this pipeline.
pub(in crate::engine) async fn taken_tables(
    context: &RunContext,
    spec: &PipelineSpec,
) -> Result<Option<Arc<TakenTables>>> {
    let Some(target) = spec.load.lake() else {
        return Ok(None);
    };
    let branch = AsOf::Head(context.branch.clone());
    let mut names = BTreeSet::new();
    for name in context.lake.tables(&branch).await? {
        if !tables::may_be_child(&name, &target.table) {
            continue;
        }
        if let Some(table) = context.lake.table(&branch, &name).await?
            && !is_owned(&table, &target.table)
        {
            names.insert(name);
        }
    }
    let taken = TakenTables::new(target.table.clone(), names);
    Ok((!taken.is_empty()).then(|| Arc::new(taken)))
}

/// The contract at the start of a run.
pub(in crate::engine) struct KnownContract {
    /// The contract as stored in the raw table.
    pub(in crate::engine) kept: Option<String>,
    /// The same as the extraction reads it, with the declared columns.
    pub(in crate::engine) begins_with: Contract,
}

/// The contract of earlier runs, as stored in the raw table of the pipeline.
pub(in crate::engine) fn kept_contract(raw: Option<&Table>) -> Option<String> {
    raw?.properties().remove(CONTRACT_PROPERTY)
}

/// Errors: `Data` `bad_contract`.
pub(in crate::engine) fn read_contract(
    pipeline: &Ident,
    kept: Option<&str>,
) -> Result<Option<Contract>> {
    let read = kept.map(parse_contract).transpose();
    read.map_err(|error| {
        let what =
            format!("the property `{CONTRACT_PROPERTY}` of raw.{pipeline} is not a contract");
        Error::data("bad_contract", what).with_source(error)
    })
}

/// Contracts had no depth limit before, so one may be deeper than the default reader accepts.
pub(in crate::engine) fn parse_contract(text: &str) -> Result<Contract> {
    let usual = serde_json::from_str(text);
    usual.or_else(|error| match json::nesting(text.as_bytes()) {
        0..=NESTING_USUAL => {
            Err(Error::data("bad_json", "failed to read a contract").with_source(error))
        }
        _ => json::from_deep(text.as_bytes()),
    })
}

/// Nesting of JSON that the default reader accepts.
pub(in crate::engine) const NESTING_USUAL: usize = 127;

/// The text of a contract, read back as a check: a contract that no later run could read is not committed.
///
/// Errors: `Bug` `contract_json`.
pub(in crate::engine) fn contract_text(contract: &Contract) -> Result<String> {
    let written = || {
        let text = serde_json::to_string(contract)?;
        serde_json::from_str::<Contract>(&text).map(|_| text)
    };
    let text: serde_json::Result<String> = written();
    match text {
        // It was as deep before.
        Err(_) if is_deep(contract) => serde_json::to_string(contract).map_err(unwritable),
        other => other.map_err(unwritable),
    }
}

pub(in crate::engine) fn is_deep(contract: &Contract) -> bool {
    let text = serde_json::to_vec(contract).unwrap_or_default();
    json::nesting(&text) > NESTING_USUAL && json::from_deep::<Contract>(&text).is_ok()
}

pub(in crate::engine) fn unwritable(error: serde_json::Error) -> Error {
    Error::bug("contract_json", "failed to write the contract").with_source(error)
}
