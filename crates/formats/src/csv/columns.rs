//! The columns of the table, as they are learned, and how the fields of a file map to them.
//!
//! Columns are matched by header name, so files may order them freely. This module never reads a record.

use forebay_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::carry::Carry;
use crate::case::NameCase;
use crate::contract::{ColumnType, Contract, ContractPolicy, NewColumns, contract_broken};
use crate::learned::HeldLongs;

const EXTRACTOR: &str = "csv";
/// Version of [`Shape`].
const VERSION: u32 = 1;

/// Key of [`Shape::carry`].
pub(crate) const CARRY: &str = "carry";

/// Suffix of the column for texts that do not fit the learned type of another.
pub(super) const VARIANT: &str = "__v_string";

/// The learned columns; stored as the contract's shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shape {
    pub(super) columns: Vec<Column>,
    /// The file that the last commit ended inside, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) carry: Option<Carry>,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Column {
    pub(super) name: String,
    /// `None` until there was a text.
    pub(super) kind: Option<ColumnType>,
    /// Whether there is a column `<name>__v_string` beside it.
    #[serde(default)]
    pub(super) variant: bool,
    /// Whether there is a column for numbers of the other kind beside it: `<name>__v_double` or `<name>__v_long`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) numbers: bool,
    #[serde(skip)]
    pub(super) declared: bool,
    #[serde(skip)]
    pub(super) required: bool,
    /// Not part of the contract, which is held: texts in it are refused.
    #[serde(skip)]
    pub(super) refused: bool,
}

/// The columns with the policy that governs them.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) list: Vec<Column>,
    pub(super) policy: ContractPolicy,
    case: NameCase,
    /// The state carried over from the earlier run, until a payload takes it.
    pub(super) carry: Option<Carry>,
    /// Whether columns have been learned, so that a further one is new.
    established: bool,
}

/// Which column each field of a file belongs to; fields of the record come in this order.
pub(super) type Mapping = Vec<usize>;

impl Columns {
    pub(super) fn new(
        contract: Option<Contract>,
        policy: &ContractPolicy,
        case: NameCase,
    ) -> Result<Self> {
        let shape = contract.map(read).transpose()?;
        let established = shape.is_some();
        let shape = shape.unwrap_or_default();
        let mut columns = Self {
            list: shape.columns,
            carry: shape.carry,
            policy: policy.clone(),
            case,
            established,
        };
        for column in &mut columns.list {
            let rule = policy.columns.get(&column.name);
            column.required = rule.is_some_and(|rule| rule.required);
            if let Some(declared) = rule.and_then(|rule| rule.r#type) {
                if let Some(held) = column.kind {
                    held.may_become(declared, &column.name)?;
                }
                (column.kind, column.declared) = (Some(declared), true);
            }
        }
        // A declared column is in the contract before any file has it.
        for name in policy.columns.keys() {
            if columns.find(name).is_none() {
                columns.add(name, false);
            }
        }
        Ok(columns)
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.list.iter().position(|column| column.name == name)
    }

    /// The column of a field whose header is `name`, one of `names`. Contracts of earlier versions call `A` beside `a` `A_2`.
    fn known(&self, name: &str, names: &[String]) -> Option<usize> {
        let exact = self.find(name);
        if self.case == NameCase::Fold {
            let is_same = |column: &Column| self.case.is_same(&column.name, name);
            return exact.or_else(|| self.list.iter().position(is_same));
        }
        let differs_in_case = |column: &Column| column.name.to_lowercase() == name.to_lowercase();
        if exact.is_some() || !self.list.iter().any(differs_in_case) {
            return exact;
        }
        let numbered = format!("{name}_2");
        self.find(&numbered).filter(|_| !names.contains(&numbered))
    }

    /// Columns that a table may have.
    pub(super) fn count_max(&self) -> usize {
        self.policy.columns_max()
    }

    /// Maps the header of a file, adding columns by policy.
    ///
    /// Errors: `Data` `new_column` when the policy is `freeze`, `too_many_columns` when there would be too many.
    pub(super) fn map(&mut self, names: &[String]) -> Result<Mapping> {
        let new = names
            .iter()
            .filter(|name| self.known(name, names).is_none())
            .count();
        // Declared columns always fit.
        let kept = self
            .list
            .iter()
            .filter(|column| !column.refused && !column.declared)
            .count();
        if kept + new > self.count_max() {
            let what = format!(
                "the header would make {} columns, more than the {} allowed",
                kept + new,
                self.count_max()
            );
            return Err(
                Error::data("too_many_columns", what).with_hint("raise `schema.columns_max`")
            );
        }
        let held = self.established && self.policy.new_columns != NewColumns::Evolve;
        let new = names.iter().find(|name| self.known(name, names).is_none());
        if let Some(name) = new.filter(|_| held && self.policy.new_columns == NewColumns::Freeze) {
            return Err(frozen(name));
        }
        self.established = true;
        Ok(names
            .iter()
            .map(|name| {
                self.known(name, names)
                    .unwrap_or_else(|| self.add(name, held))
            })
            .collect())
    }

    fn add(&mut self, name: &str, refused: bool) -> usize {
        let rule = self.policy.columns.get(name);
        let kind = rule.and_then(|rule| rule.r#type);
        self.list.push(Column {
            name: name.to_owned(),
            kind,
            variant: false,
            numbers: false,
            declared: kind.is_some(),
            required: rule.is_some_and(|rule| rule.required),
            refused,
        });
        self.list.len() - 1
    }

    /// Columns with a declared type that a file of this mapping does not have.
    pub(super) fn declared_absent(
        &self,
        mapping: &[usize],
    ) -> impl Iterator<Item = (&str, ColumnType)> {
        let absent = move |(i, _): &(usize, &Column)| !mapping.contains(i);
        let columns = self.list.iter().enumerate().filter(absent);
        columns
            .filter(|(_, column)| column.declared)
            .filter_map(|(_, column)| Some((column.name.as_str(), column.kind?)))
    }

    /// Whether a text that does not fit a learned type may go to the variant column with this ending.
    pub(super) fn may_vary(&self, column: usize, ending: &str) -> bool {
        let Column { declared, name, .. } = &self.list[column];
        let taken = self.find(&format!("{name}{ending}")).is_some();
        !declared && !taken && self.policy.new_columns == NewColumns::Evolve
    }

    /// The contract of a commit that ends in the middle of the file `carry`, or between files.
    pub(super) fn contract(&self, carry: Option<Carry>) -> Contract {
        let columns = self
            .list
            .iter()
            .filter(|column| !column.refused)
            .cloned()
            .collect();
        Shape { columns, carry }.into_contract()
    }
}

impl Column {
    /// The other kind of numbers than those of the column, and the ending of the name of their column.
    pub(super) fn other_numbers(&self) -> Option<(ColumnType, &'static str)> {
        match self.kind? {
            ColumnType::Long => Some((ColumnType::Double, "__v_double")),
            ColumnType::Double => Some((ColumnType::Long, "__v_long")),
            _ => None,
        }
    }

    /// The name of the column of its other numbers, if any.
    fn numbers_name(&self) -> Option<String> {
        let (_, ending) = self.other_numbers().filter(|_| self.numbers)?;
        Some(format!("{}{ending}", self.name))
    }
}

impl Shape {
    fn into_contract(self) -> Contract {
        Contract {
            extractor: EXTRACTOR.to_owned(),
            version: VERSION,
            shape: serde_json::to_value(self).unwrap_or_default(),
        }
    }
}

/// The columns of a contract of this extractor that have a type.
pub(crate) fn contract_columns(contract: Contract) -> Result<Vec<(String, String)>> {
    let mut columns = Vec::new();
    for column in read(contract)?.columns {
        if column.variant {
            columns.push((String::new(), format!("{}{VARIANT}", column.name)));
        }
        columns.extend(column.numbers_name().map(|name| (String::new(), name)));
        if column.kind.is_some() {
            columns.push((String::new(), column.name));
        }
    }
    Ok(columns)
}

/// A contract of this extractor in which some columns have no type yet. One with a variant keeps its type.
pub(crate) fn prune_contract(
    contract: Contract,
    unwanted: &dyn Fn(&str, &str) -> bool,
) -> Result<Contract> {
    let mut shape = read(contract)?;
    for column in &mut shape.columns {
        column.variant &= !unwanted("", &format!("{}{VARIANT}", column.name));
        let numbers = column.numbers_name();
        column.numbers &= !numbers.is_some_and(|name| unwanted("", &name));
        if !column.variant && !column.numbers && unwanted("", &column.name) {
            column.kind = None;
        }
    }
    Ok(shape.into_contract())
}

/// A contract of this extractor in which columns of whole numbers are doubles; see [`crate::learned::widen`].
pub(crate) fn widen_contract(
    contract: Contract,
    widened: &dyn Fn(&str, &str) -> Option<HeldLongs>,
) -> Result<Contract> {
    let mut shape = read(contract)?;
    for column in &mut shape.columns {
        if column.kind == Some(ColumnType::Long)
            && let Some(longs) = widened("", &column.name)
        {
            column.kind = Some(ColumnType::Double);
            column.numbers = longs == HeldLongs::Beside;
        }
    }
    Ok(shape.into_contract())
}

fn read(contract: Contract) -> Result<Shape> {
    let shape = contract.shape_by(EXTRACTOR, VERSION)?;
    serde_json::from_value(shape).map_err(|error| contract_broken().with_source(error))
}

fn frozen(name: &str) -> Error {
    Error::data("new_column", format!("the file has a column `{name}` that the table does not have, and new columns are not allowed"))
        .with_hint("set `schema.new_columns: evolve` to add it, or declare it under `schema.columns`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_of_an_earlier_version_keeps_its_column_of_another_case() {
        let shape = serde_json::json!({"columns": [
            {"name": "a", "kind": "long"}, {"name": "A_2", "kind": "long"},
        ]});
        let contract = Contract {
            extractor: EXTRACTOR.to_owned(),
            version: VERSION,
            shape,
        };
        let mut columns =
            Columns::new(Some(contract), &ContractPolicy::default(), NameCase::Keep).unwrap();
        let names = ["a", "A"].map(str::to_owned);
        assert_eq!(columns.map(&names).unwrap(), [0, 1]);
        let names = ["a", "A", "A_2"].map(str::to_owned);
        assert_eq!(columns.map(&names).unwrap(), [0, 2, 1]);
    }
}
