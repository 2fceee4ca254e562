//! Maps the columns of a file to the columns of the table, by the contract's policy.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use forebay_core::quarantine::{Extent, RECORD_BYTES_MAX};
use forebay_core::{Error, PayloadHead, Rejected, Result};

use super::known_columns::KnownColumns;
use super::numbers::{self, Made, NumberColumn, NumberFit};
pub(crate) use super::part::{Part, UnrepresentableRow};
use super::shape::{read, written};
use super::types::{convert, normal, to_normal, unrepresentable_rows, wider, word};
use crate::column_name::{field_fault, subject};
use crate::contract::{ColumnType, Contract, ContractPolicy, NewColumns, type_changed};
use crate::text::{NullFields, write_json_lines};
use crate::untyped::{NO_VALUES, NO_VALUES_REASON};

/// Deepest type of a column, structs, lists and maps within each other; the contract's reader stops at 64.
const TYPE_DEPTH_MAX: usize = 20;

/// The table as learned so far.
#[derive(Debug)]
pub(crate) struct Table {
    /// The extractor of the contract.
    extractor: &'static str,
    pub(crate) columns: Vec<Field>,
    policy: ContractPolicy,
    established: bool,
}

/// The mapping of each column of one file.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    pub(super) schema: SchemaRef,
    /// Required columns that the file lacks.
    pub(crate) missing: Option<String>,
}

#[derive(Debug, Clone)]
struct Step {
    /// Index of the column in the file; `None` for a declared column that the file does not have.
    from: Option<usize>,
    /// Its target type, when that is not its normal one.
    kind: DataType,
    /// The columns made of it, when its numbers are of another kind than the table's: it is read in its normal type then.
    numbers: Option<NumberFit>,
    required: bool,
}

/// The target of a column of a file.
struct Placed {
    field: Field,
    kind: DataType,
    numbers: Option<NumberFit>,
}

impl Placed {
    fn at(name: &str, kind: DataType) -> Self {
        Self {
            field: Field::new(name, kind.clone(), true),
            kind,
            numbers: None,
        }
    }
}

/// Why a file cannot be read into the table: it is quarantined as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

impl Refusal {
    /// The whole payload as refused: a replay lands all of its rows.
    pub(crate) fn of_all(self, head: &PayloadHead) -> Rejected {
        Rejected {
            payload: Some(head.ordinal),
            extent: Some(Extent::PAYLOAD),
            offset: None,
            line: None,
            stage: "extract".to_owned(),
            code: self.code.to_owned(),
            reason: self.reason,
            // It is in the raw zone; the first bytes of the file are of no use in the quarantine table.
            record: Vec::new(),
        }
    }
}

impl Table {
    pub(crate) fn new(
        extractor: &'static str,
        contract: Option<Contract>,
        policy: &ContractPolicy,
    ) -> Result<Self> {
        let established = contract.is_some();
        let columns = contract.map(|contract| read(extractor, contract));
        let mut columns = columns.transpose()?.unwrap_or_default();
        for column in &mut columns {
            if let Some(declared) = policy.declared(column.name()) {
                *column = declared_now(column, declared)?;
            }
        }
        Ok(Self {
            extractor,
            columns,
            policy: policy.clone(),
            established,
        })
    }

    /// Plans the reading of a file with this schema, and grows the table. Nothing grows when the file is refused.
    ///
    /// Errors: `Data` `new_column` when the columns are frozen.
    pub(crate) fn plan(&mut self, file: &Schema) -> Result<Result<Plan, Refusal>> {
        let mut columns = KnownColumns::new(self.columns.clone());
        let mut steps = Vec::new();
        let mut fields: Vec<Field> = Vec::new();
        let mut names = HashSet::new();
        let mut beside = HashSet::new();
        for (from, field) in file.fields().iter().enumerate() {
            if field.data_type() == &DataType::Null {
                continue;
            }
            if let Some(fault) = self.name_fault(field, &columns) {
                return Ok(Err(fault));
            }
            let placed = match self.place(&mut columns, field)? {
                Ok(placed) => placed,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let name = placed.field.name();
            if !names.insert(name.clone()) {
                let reason = format!("duplicate column `{name}` in {}", subject(self.extractor));
                return Ok(Err(Refusal {
                    code: "duplicate_column",
                    reason,
                }));
            }
            let named = match &placed.numbers {
                Some(_) => field.name(),
                None => name,
            };
            let rule = self.policy.columns.get(named);
            let made = placed.numbers.as_ref().map(|fit| fit.fields(named));
            let made = made.and_then(|made| made.beside);
            beside.extend(made.map(|field| field.name().clone()));
            steps.push(Step {
                from: Some(from),
                kind: placed.kind,
                numbers: placed.numbers,
                required: rule.is_some_and(|rule| rule.required),
            });
            fields.push(placed.field);
        }
        let has = |name: &str| names.contains(name) || beside.contains(name);
        let missing = self
            .policy
            .columns
            .iter()
            .find(|(name, rule)| rule.required && !has(name));
        let missing = missing.map(|(name, _)| name.clone());
        let absent = self
            .policy
            .declared_columns()
            .filter(|(name, _)| !has(name));
        for (name, declared) in absent.collect::<Vec<_>>() {
            let field = Field::new(name, declared.arrow(), true);
            let kind = declared.arrow();
            if columns.position(name).is_none() {
                columns.push(field.clone());
            }
            fields.push(field);
            steps.push(Step {
                from: None,
                kind,
                numbers: None,
                required: false,
            });
        }
        if fields.is_empty() && !file.fields().is_empty() {
            // Rows without any value are still rows, and a table counts them by its columns.
            let Some(known) = columns.list.first() else {
                return Ok(Err(Refusal {
                    code: NO_VALUES,
                    reason: NO_VALUES_REASON.to_owned(),
                }));
            };
            fields.push(known.clone());
            steps.push(Step {
                from: None,
                kind: known.data_type().clone(),
                numbers: None,
                required: false,
            });
        }
        let mut names: HashSet<String> = fields.iter().map(|field| field.name().clone()).collect();
        for field in file.fields() {
            if *field.data_type() == DataType::Null && names.insert(field.name().clone()) {
                fields.push(Field::new(field.name(), DataType::Null, true));
                steps.push(Step {
                    from: None,
                    kind: DataType::Null,
                    numbers: None,
                    required: false,
                });
            }
        }
        let max = self.policy.columns_max();
        // Declared columns always fit.
        let counted = columns
            .list
            .iter()
            .filter(|column| self.policy.declared(column.name()).is_none());
        let count = counted.map(leaves).sum::<usize>();
        if count > max {
            let reason = format!(
                "{} would make {count} columns, more than the {max} allowed",
                subject(self.extractor)
            );
            return Ok(Err(Refusal {
                code: "too_many_columns",
                reason,
            }));
        }
        self.columns = columns.list;
        self.established = true;
        Ok(Ok(Plan {
            steps,
            schema: Arc::new(Schema::new(fields)),
            missing,
        }))
    }

    /// Why the file's name of a new column is invalid, if so. Columns of a lake table keep their names.
    fn name_fault(&self, field: &Field, columns: &KnownColumns) -> Option<Refusal> {
        let at = columns.position(field.name());
        let is_known = at.is_some_and(|at| at < self.columns.len());
        if is_known || self.extractor == "table" {
            return None;
        }
        let why = field_fault(field)?;
        let exclude = match self.extractor {
            "parquet" => "; leave the column out with `extract.parquet.exclude`",
            "query" => "; give it another one in the statement, with AS",
            _ => "",
        };
        Some(Refusal {
            code: "bad_column_name",
            reason: format!("the name of a column {why}{exclude}"),
        })
    }

    /// The column of the table for a column of the file, and its type.
    fn place(&self, columns: &mut KnownColumns, field: &Field) -> Result<Result<Placed, Refusal>> {
        let name = field.name();
        let declared = self.policy.declared(name);
        let Some(kind) = declared
            .map(ColumnType::arrow)
            .or_else(|| normal(field.data_type()))
        else {
            let exclude = match self.extractor {
                "parquet" => ", or leave it out with `extract.parquet.exclude`",
                "query" => ", or convert it in the statement, such as CAST(… AS text)",
                _ => "",
            };
            let reason = format!(
                "column `{name}` has type {}, which a table cannot hold: declare it under `schema.columns` as a type that holds its values (such as string){exclude}",
                field.data_type()
            );
            return Ok(Err(Refusal {
                code: "unsupported_type",
                reason,
            }));
        };
        let depth = forebay_core::data_type::type_depth(&kind);
        if depth > TYPE_DEPTH_MAX {
            let reason = format!(
                "column `{name}` is nested {depth} levels deep, more than the {TYPE_DEPTH_MAX} allowed"
            );
            return Ok(Err(Refusal {
                code: "type_too_deep",
                reason,
            }));
        }
        let held = self.established && self.policy.new_columns != NewColumns::Evolve;
        match columns.position(name) {
            None if held && declared.is_none() => self.refuse_new(name).map(Err),
            None => {
                columns.push(Field::new(name, kind.clone(), true));
                Ok(Ok(Placed::at(name, kind)))
            }
            Some(at) => match wider(columns.list[at].data_type(), &kind) {
                Some(wide) if !held || &wide == columns.list[at].data_type() => {
                    columns.list[at] = Field::new(name, wide.clone(), true);
                    // A struct keeps its own fields: missing ones of the table are added.
                    let kind = if kind.is_nested() { kind } else { wide };
                    Ok(Ok(Placed::at(name, kind)))
                }
                _ if held => {
                    let known = columns.list[at].data_type();
                    Ok(Err(type_mismatch(name, &kind, known, "")))
                }
                _ => match self.with_numbers(columns, at, &kind) {
                    Some(placed) => Ok(Ok(placed)),
                    // A statement has one type for each column; another one is a change of its author.
                    None if self.extractor == "query" => {
                        let known = columns.list[at].data_type();
                        let remedy = "; CAST it in the statement, give it another name, or start over with `forebay pipeline reset`";
                        Ok(Err(type_mismatch(name, &kind, known, remedy)))
                    }
                    None => self.variant(columns, name, kind),
                },
            },
        }
    }

    /// A column of another kind gets one beside it: `name__v_kind`.
    fn variant(
        &self,
        columns: &mut KnownColumns,
        name: &str,
        kind: DataType,
    ) -> Result<Result<Placed, Refusal>> {
        let mut refusal = None;
        for name in numbers::variants(name, &kind) {
            let Some(at) = columns.position(&name) else {
                columns.push(Field::new(&name, kind.clone(), true));
                return Ok(Ok(Placed::at(&name, kind)));
            };
            let column = &mut columns.list[at];
            if let Some(wide) = wider(column.data_type(), &kind).filter(|_| !kind.is_nested()) {
                *column = Field::new(&name, wide.clone(), true);
                return Ok(Ok(Placed::at(&name, wide)));
            }
            if column.data_type() == &kind {
                return Ok(Ok(Placed::at(&name, kind)));
            }
            let [now, then] = [&kind, column.data_type()].map(type_text);
            refusal.get_or_insert(format!("column `{name}` is {now}, the table has {then}"));
        }
        let reason = refusal.unwrap_or_default();
        Ok(Err(Refusal {
            code: "type_mismatch",
            reason,
        }))
    }

    /// The target of a column whose numbers are of another kind than those of the table's column `at`; `None` when the
    /// difference is another one, or the widening is not possible.
    fn with_numbers(
        &self,
        columns: &mut KnownColumns,
        at: usize,
        kind: &DataType,
    ) -> Option<Placed> {
        // Kinds of an Avro schema, unions too, stay separate.
        if self.extractor == "avro" {
            return None;
        }
        let known = columns.list[at].data_type().clone();
        let numbers = NumberFit::of(&known, kind)?;
        let made = numbers.fields(columns.list[at].name());
        let field = Field::new(made.own.name(), made.own.data_type().clone(), true);
        match made.beside {
            None => {
                let wide = wider(&known, field.data_type())?;
                columns.list[at] = field.with_data_type(wide);
            }
            Some(_) => match columns.position(field.name()) {
                None => columns.push(field),
                Some(at) if columns.list[at].data_type() == field.data_type() => {}
                Some(_) => return None,
            },
        }
        Some(Placed {
            field: made.own,
            kind: kind.clone(),
            numbers: Some(numbers),
        })
    }

    /// The type of a column that has been declared.
    #[cfg(feature = "kafka")]
    pub(crate) fn declared(&self, name: &str) -> Option<DataType> {
        self.policy.declared(name).map(ColumnType::arrow)
    }

    fn refuse_new(&self, name: &str) -> Result<Refusal> {
        let what = subject(self.extractor);
        let reason = format!("{what} has a column `{name}` that the table does not have");
        match self.policy.new_columns {
            NewColumns::Freeze => Err(Error::data(
                "new_column",
                format!("{reason}, and new columns are not allowed"),
            )
            .with_hint(
                "set `schema.new_columns: evolve` to add it, or declare it under `schema.columns`",
            )),
            _ => Ok(Refusal {
                code: "new_column",
                reason,
            }),
        }
    }

    pub(crate) fn contract(&self) -> Contract {
        written(self.extractor, self.columns.clone())
    }
}

impl Plan {
    /// Converts a batch of the file to one of the table, or returns why a value does not fit.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<Part, Refusal> {
        self.apply_beside(batch, BTreeMap::new())
    }

    /// As [`Self::apply`]; `unrepresentable` are rows with a value that is known to have no place in a table, with the column of each.
    pub(super) fn apply_beside(
        &self,
        batch: &RecordBatch,
        mut unrepresentable: BTreeMap<usize, String>,
    ) -> Result<Part, Refusal> {
        let rows = batch.num_rows();
        let mut made = Vec::new();
        let mut beside = Vec::new();
        for (step, field) in self.steps.iter().zip(self.schema.fields()) {
            let array = match step.from {
                Some(from) => column(batch, from, &step.kind, &mut unrepresentable)?,
                None => new_null_array(&step.kind, rows),
            };
            match step.with_numbers(batch, &array)? {
                None => made.push((field.clone(), array)),
                Some(numbers) => {
                    made.push(numbers.own.parts());
                    beside.extend(numbers.beside.map(NumberColumn::parts));
                }
            }
        }
        made.append(&mut beside);
        let records = records(made, rows).map_err(|error| Refusal {
            code: "corrupt_parquet",
            reason: error.to_string(),
        })?;
        let unrepresentable = unrepresentable
            .into_iter()
            .map(|(row, column)| UnrepresentableRow {
                row,
                column,
                // A row that JSON cannot represent still has its position in the file.
                record: row_as_json(batch, row).unwrap_or_default(),
            });
        Ok(Part {
            records,
            unrepresentable: unrepresentable.collect(),
        })
    }

    /// The first required column that has no value in a row.
    pub(super) fn lacks(&self, batch: &RecordBatch, row: usize) -> Option<&str> {
        if self.missing.is_some() {
            return self.missing.as_deref();
        }
        let at = (0..self.steps.len())
            .find(|at| self.steps[*at].required && batch.column(*at).is_null(row));
        at.map(|at| self.schema.field(at).name().as_str())
    }

    pub(super) fn has_required(&self) -> bool {
        self.missing.is_some() || self.steps.iter().any(|step| step.required)
    }
}

impl Step {
    /// The columns made of an array of the file, when its numbers are of another kind than the table's.
    fn with_numbers(
        &self,
        batch: &RecordBatch,
        array: &ArrayRef,
    ) -> Result<Option<Made<NumberColumn>>, Refusal> {
        let (Some(numbers), Some(from)) = (&self.numbers, self.from) else {
            return Ok(None);
        };
        let name = batch.schema_ref().field(from).name();
        let made = numbers.columns(name, array);
        made.map(Some).map_err(|reason| does_not_fit(name, &reason))
    }
}

fn records(columns: Vec<(FieldRef, ArrayRef)>, rows: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let (fields, arrays): (Vec<FieldRef>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}

fn does_not_fit(column: &str, why: &str) -> Refusal {
    Refusal {
        code: "value_does_not_fit",
        reason: format!("column `{column}`: {why}"),
    }
}

/// A column of the file as `kind`; the rows with a value that has no place in a table are null, and noted in `unrepresentable` with the column.
fn column(
    batch: &RecordBatch,
    from: usize,
    kind: &DataType,
    unrepresentable: &mut BTreeMap<usize, String>,
) -> Result<ArrayRef, Refusal> {
    let name = || batch.schema_ref().field(from).name();
    let refusal = |why: String| does_not_fit(name(), &why);
    let mut array = Arc::clone(batch.column(from));
    if let Some(rows) = unrepresentable_rows(&array) {
        for row in (0..rows.len()).filter(|row| rows[*row]) {
            unrepresentable.entry(row).or_insert_with(|| name().clone());
        }
        let rows = BooleanArray::from(rows);
        array = nullif(&array, &rows).map_err(|error| refusal(error.to_string()))?;
    }
    if array.data_type() == &DataType::Null {
        return Ok(new_null_array(kind, array.len()));
    }
    if normal(array.data_type()).is_none() {
        // Only a declared type makes a column of such a kind.
        return convert(&array, kind).map_err(refusal);
    }
    let array = to_normal(&array).map_err(refusal)?;
    exactly(&array, kind).map_err(refusal)
}

/// One row as a line of JSON, cut to the quarantine's limit.
pub(crate) fn row_as_json(batch: &RecordBatch, row: usize) -> Result<Vec<u8>, ArrowError> {
    let mut line = Vec::new();
    write_json_lines(&batch.slice(row, 1), NullFields::Omitted, &mut line)?;
    line.truncate(RECORD_BYTES_MAX);
    Ok(line)
}

/// A column of the table with the currently declared type.
///
/// Errors: `Config` `column_type_changed`.
fn declared_now(column: &Field, declared: ColumnType) -> Result<Field> {
    let held = column.data_type();
    let kind = declared.arrow();
    if wider(held, &kind).as_ref() != Some(&kind) {
        return Err(type_changed(column.name(), &type_text(held), declared));
    }
    Ok(Field::new(column.name(), kind, true))
}

/// A type as a pipeline file would declare it.
fn type_mismatch(name: &str, kind: &DataType, known: &DataType, remedy: &str) -> Refusal {
    let [now, then] = [kind, known].map(type_text);
    Refusal {
        code: "type_mismatch",
        reason: format!("column `{name}` is {now}, the table has {then}{remedy}"),
    }
}

fn type_text(kind: &DataType) -> String {
    match kind {
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        kind => word(kind).to_owned(),
    }
}

/// Converts, and back: values that differ then were not exact. Texts may be spelled in many ways, so they are only
/// converted.
pub(crate) fn exactly(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, String> {
    if array.data_type() == kind {
        return Ok(Arc::clone(array));
    }
    let converted = convert(array, kind)?;
    let text = array.data_type() == &DataType::Utf8 || kind == &DataType::Utf8 || kind.is_nested();
    if !text && &convert(&converted, array.data_type())? != array {
        return Err(format!("a value is not an exact {}", word(kind)));
    }
    Ok(converted)
}

/// Columns that a field makes at all depths.
fn leaves(field: &Field) -> usize {
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field)).sum(),
        DataType::List(field) | DataType::Map(field, _) => leaves(field),
        _ => 1,
    }
}
