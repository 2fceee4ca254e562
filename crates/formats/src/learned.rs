//! The columns that an extractor learns from records, as its contract has them.
//!
//! Extractors of files that have a schema learn nothing from records: their columns are not here. Never reads a record.

use std::collections::BTreeSet;

use forebay_core::Result;

use super::contract::Contract;
use super::parquet::shape;
use super::{csv, json};

/// Separates the names of an object and its members.
pub const INSIDE: char = '\n';

/// A column that was learned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LearnedColumn {
    /// The child table; empty for the main table.
    pub table: String,
    /// Its name; inside kept objects with the names of those before it, joined with a line feed.
    pub name: String,
}

impl LearnedColumn {
    /// For people: `items.price`.
    pub fn shown(&self) -> String {
        let name = self.name.replace('\n', ".");
        match self.table.as_str() {
            "" => name,
            table => format!("{table}.{name}"),
        }
    }
}

/// The columns of a contract; `None` when its extractor learns them from no record.
pub fn columns(contract: Contract) -> Result<Option<BTreeSet<LearnedColumn>>> {
    let columns = match contract.extractor.as_str() {
        "json" => json::contract_columns(contract)?,
        "csv" => csv::contract_columns(contract)?,
        _ => return Ok(None),
    };
    let columns = columns.into_iter();
    let columns = columns.map(|(table, name)| LearnedColumn { table, name });
    Ok(Some(columns.collect()))
}

/// Whether nothing has taught the contract a column.
pub fn is_empty(contract: &Contract) -> bool {
    match contract.extractor.as_str() {
        "parquet" => shape::has_no_columns("parquet", contract),
        "avro" => shape::has_no_columns("avro", contract),
        _ => columns(contract.clone())
            .is_ok_and(|columns| columns.is_some_and(|columns| columns.is_empty())),
    }
}

/// The contract without the unwanted columns (table and name).
pub fn prune(contract: Contract, unwanted: &dyn Fn(&str, &str) -> bool) -> Result<Contract> {
    match contract.extractor.as_str() {
        "json" => json::prune_contract(contract, unwanted),
        "csv" => csv::prune_contract(contract, unwanted),
        _ => Ok(contract),
    }
}

/// Whether a column of doubles has a column beside it for whole numbers without an exact double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldLongs {
    None,
    Beside,
}

/// The contract in which columns of whole numbers (table and name) and the doubles beside them are columns of doubles.
pub fn widen(
    contract: Contract,
    widened: &dyn Fn(&str, &str) -> Option<HeldLongs>,
) -> Result<Contract> {
    match contract.extractor.as_str() {
        "json" => json::widen_contract(contract, widened),
        "csv" => csv::widen_contract(contract, widened),
        "parquet" => shape::widen_contract("parquet", contract, widened),
        "table" => shape::widen_contract("table", contract, widened),
        "query" => shape::widen_contract("query", contract, widened),
        _ => Ok(contract),
    }
}

/// The part of a contract for learning from scratch: how the keys of rows are made.
pub fn without_columns(contract: Contract) -> Result<Option<Contract>> {
    match contract.extractor.as_str() {
        "json" => json::empty_contract(contract).map(Some),
        _ => Ok(None),
    }
}

/// The contract with the file that the last commit ended inside, if any.
pub fn with_open_file(mut contract: Contract, kept: &Contract) -> Contract {
    if contract.extractor == "csv"
        && kept.extractor == contract.extractor
        && let Some(carry) = kept.shape.get(csv::CARRY)
    {
        contract.shape[csv::CARRY] = carry.clone();
    }
    contract
}
