//! How the columns of a file become the columns of the table, by the contract's policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use forebay_core::quarantine::{Extent, RECORD_BYTES_MAX};
use forebay_core::{Error, PayloadHead, Rejected, Result};

use super::numbers::{self, Made, NumberColumn, NumberFit};
use super::shape::{read, written};
use super::types::{convert, finer_rows, normal, to_normal, wider, word};
use crate::extract::column_name::field_fault;
use crate::extract::contract::{ColumnType, Contract, ContractPolicy, NewColumns, type_changed};
use crate::text::{NullFields, write_json_lines};

/// Deepest type of a column, structs, lists and maps within each other; the contract's reader stops at 64.
const TYPE_DEPTH_MAX: usize = 20;

/// The table as learned so far.
#[derive(Debug)]
pub(in crate::extract) struct Table {
    /// Whose contract it is.
    extractor: &'static str,
    pub(in crate::extract) columns: Vec<Field>,
    policy: ContractPolicy,
    established: bool,
}

/// What to do with each column of one file.
#[derive(Debug, Clone)]
pub(in crate::extract) struct Plan {
    steps: Vec<Step>,
    schema: SchemaRef,
    /// Required columns that the file lacks.
    pub(in crate::extract) missing: Option<String>,
}

#[derive(Debug, Clone)]
struct Step {
    /// Place of the column in the file; `None` for a declared column that the file does not have.
    from: Option<usize>,
    /// The type it gets, when that is another than its normal one.
    kind: DataType,
    /// The columns that are made of it, when its numbers are of another kind than the table's: it is read in its normal type then.
    numbers: Option<NumberFit>,
    required: bool,
}

/// Where a column of a file goes.
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

/// Some rows of a file as the table has them.
#[derive(Debug)]
pub(in crate::extract) struct Part {
    pub(in crate::extract) records: RecordBatch,
    /// Rows that must not go on, ascending.
    pub(in crate::extract) finer: Vec<Finer>,
}

/// A row with a time that has a part below one microsecond, which no column of a table can hold.
#[derive(Debug)]
pub(in crate::extract) struct Finer {
    /// Its place among the records of the part.
    pub(in crate::extract) row: usize,
    pub(in crate::extract) column: String,
    /// The row as the file has it.
    pub(in crate::extract) record: Vec<u8>,
}

impl Part {
    /// Bytes that it holds in memory, about.
    pub(in crate::extract) fn bytes(&self) -> u64 {
        let finer: usize = self.finer.iter().map(|finer| finer.record.len()).sum();
        (self.records.get_array_memory_size() + finer) as u64
    }
}

/// Why a file cannot be read into the table: it is quarantined as a whole.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::extract) struct Refusal {
    pub(in crate::extract) code: &'static str,
    pub(in crate::extract) reason: String,
}

impl Refusal {
    /// The whole payload as refused: a replay lands all of its rows.
    pub(in crate::extract) fn of_all(self, head: &PayloadHead) -> Rejected {
        Rejected {
            payload: Some(head.ordinal),
            extent: Some(Extent::PAYLOAD),
            offset: None,
            line: None,
            stage: "extract".to_owned(),
            code: self.code.to_owned(),
            reason: self.reason,
            // It lies in the raw zone; nobody reads the begin of a file.
            record: Vec::new(),
        }
    }
}

impl Table {
    pub(in crate::extract) fn new(
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
    pub(in crate::extract) fn plan(&mut self, file: &Schema) -> Result<Result<Plan, Refusal>> {
        let mut columns = self.columns.clone();
        let (mut steps, mut fields) = (Vec::new(), Vec::new());
        let mut beside = Vec::new();
        // Rows without any value still are rows: where no column has a type, the first becomes text.
        let is_untyped = file
            .fields()
            .iter()
            .all(|field| field.data_type() == &DataType::Null);
        for (from, field) in file.fields().iter().enumerate() {
            let as_text = field.as_ref().clone().with_data_type(DataType::Utf8);
            let as_text = Arc::new(as_text);
            let field = match field.data_type() {
                DataType::Null if is_untyped && from == 0 => &as_text,
                DataType::Null => continue,
                _ => field,
            };
            if let Some(fault) = self.name_fault(field) {
                return Ok(Err(fault));
            }
            let placed = match self.place(&mut columns, field)? {
                Ok(placed) => placed,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let name = placed.field.name();
            if fields.iter().any(|field: &Field| field.name() == name) {
                let reason = format!("the file has two columns `{name}`");
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
            beside.extend(made.and_then(|made| made.beside));
            steps.push(Step {
                from: Some(from),
                kind: placed.kind,
                numbers: placed.numbers,
                required: rule.is_some_and(|rule| rule.required),
            });
            fields.push(placed.field);
        }
        let has = |name: &str| {
            let mut made = fields.iter().chain(&beside);
            made.any(|field: &Field| field.name() == name)
        };
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
            let (field, kind) = (Field::new(name, declared.arrow(), true), declared.arrow());
            if columns.iter().all(|column| column.name() != name) {
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
        for field in file.fields() {
            let is_free = fields.iter().all(|known| known.name() != field.name());
            if *field.data_type() == DataType::Null && is_free {
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
        // What the pipeline file declares always fits.
        let counted = columns
            .iter()
            .filter(|column| self.policy.declared(column.name()).is_none());
        let count = counted.map(leaves).sum::<usize>();
        if count > max {
            let reason =
                format!("the file would make {count} columns, more than the {max} allowed");
            return Ok(Err(Refusal {
                code: "too_many_columns",
                reason,
            }));
        }
        (self.columns, self.established) = (columns, true);
        Ok(Ok(Plan {
            steps,
            schema: Arc::new(Schema::new(fields)),
            missing,
        }))
    }

    /// Why a new column cannot be called what the file calls it, if so. What a table of the lake has is called what it is.
    fn name_fault(&self, field: &Field) -> Option<Refusal> {
        let is_known = self
            .columns
            .iter()
            .any(|known| known.name() == field.name());
        if is_known || self.extractor == "table" {
            return None;
        }
        let why = field_fault(field)?;
        let exclude = match self.extractor {
            "parquet" => "; leave the column out with `extract.parquet.exclude`",
            _ => "",
        };
        Some(Refusal {
            code: "bad_column_name",
            reason: format!("the name of a column {why}{exclude}"),
        })
    }

    /// The column of the table that a column of the file goes to, and the type that it gets.
    fn place(&self, columns: &mut Vec<Field>, field: &Field) -> Result<Result<Placed, Refusal>> {
        let name = field.name();
        let declared = self.policy.declared(name);
        let Some(kind) = declared
            .map(ColumnType::arrow)
            .or_else(|| normal(field.data_type()))
        else {
            let exclude = match self.extractor {
                "parquet" => ", or leave it out with `extract.parquet.exclude`",
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
        let depth = forebay_lake::type_depth(&kind);
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
        match columns.iter().position(|column| column.name() == name) {
            None if held && declared.is_none() => self.refuse_new(name).map(Err),
            None => {
                columns.push(Field::new(name, kind.clone(), true));
                Ok(Ok(Placed::at(name, kind)))
            }
            Some(at) => match wider(columns[at].data_type(), &kind) {
                Some(wide) if !held || &wide == columns[at].data_type() => {
                    columns[at] = Field::new(name, wide.clone(), true);
                    // A struct keeps its own fields: the table adds what it lacks.
                    let kind = if kind.is_nested() { kind } else { wide };
                    Ok(Ok(Placed::at(name, kind)))
                }
                _ if held => {
                    let (now, then) = (word(&kind), word(columns[at].data_type()));
                    let reason = format!("column `{name}` is {now}, the table has {then}");
                    Ok(Err(Refusal {
                        code: "type_mismatch",
                        reason,
                    }))
                }
                _ => match self.with_numbers(columns, at, &kind) {
                    Some(placed) => Ok(Ok(placed)),
                    None => self.variant(columns, name, kind),
                },
            },
        }
    }

    /// A column of another kind gets one beside it: `name__v_kind`.
    fn variant(
        &self,
        columns: &mut Vec<Field>,
        name: &str,
        kind: DataType,
    ) -> Result<Result<Placed, Refusal>> {
        let name = numbers::variant(name, &kind);
        match columns.iter().find(|column| column.name() == &name) {
            None => columns.push(Field::new(&name, kind.clone(), true)),
            Some(column) if column.data_type() == &kind => {}
            Some(column) => {
                let reason = format!(
                    "column `{name}` is {kind}, the table has {}",
                    column.data_type()
                );
                return Ok(Err(Refusal {
                    code: "type_mismatch",
                    reason,
                }));
            }
        }
        Ok(Ok(Placed::at(&name, kind)))
    }

    /// The place of a column whose numbers are of another kind than those of the table's column `at`; `None` when that is not what
    /// is different, or something else is in the way.
    fn with_numbers(&self, columns: &mut Vec<Field>, at: usize, kind: &DataType) -> Option<Placed> {
        // What an Avro schema says are kinds of their own, unions too, stay that.
        if self.extractor == "avro" {
            return None;
        }
        let known = columns[at].data_type().clone();
        let numbers = NumberFit::of(&known, kind)?;
        let made = numbers.fields(columns[at].name());
        let field = Field::new(made.own.name(), made.own.data_type().clone(), true);
        match made.beside {
            None => {
                let wide = wider(&known, field.data_type())?;
                columns[at] = field.with_data_type(wide);
            }
            Some(_) => match columns.iter().find(|known| known.name() == field.name()) {
                None => columns.push(field),
                Some(known) if known.data_type() == field.data_type() => {}
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
    pub(in crate::extract) fn declared(&self, name: &str) -> Option<DataType> {
        self.policy.declared(name).map(ColumnType::arrow)
    }

    fn refuse_new(&self, name: &str) -> Result<Refusal> {
        let reason = format!("the file has a column `{name}` that the table does not have");
        match self.policy.new_columns {
            NewColumns::Freeze => Err(Error::data(
                "new_column",
                format!("{reason}, and its columns are frozen"),
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

    pub(in crate::extract) fn contract(&self) -> Contract {
        written(self.extractor, self.columns.clone())
    }
}

impl Plan {
    /// A batch of the file as a batch of the table, or why a value does not fit.
    pub(in crate::extract) fn apply(&self, batch: &RecordBatch) -> Result<Part, Refusal> {
        self.apply_beside(batch, BTreeMap::new())
    }

    /// As [`Self::apply`]; `finer` are rows whose times are known to be too fine, with the column of each.
    pub(super) fn apply_beside(
        &self,
        batch: &RecordBatch,
        mut finer: BTreeMap<usize, String>,
    ) -> Result<Part, Refusal> {
        let rows = batch.num_rows();
        let mut made = Vec::new();
        let mut beside = Vec::new();
        for (step, field) in self.steps.iter().zip(self.schema.fields()) {
            let array = match step.from {
                Some(from) => column(batch, from, &step.kind, &mut finer)?,
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
        let finer = finer.into_iter().map(|(row, column)| Finer {
            row,
            column,
            // A row of which JSON cannot tell still has its place in the file.
            record: row_as_json(batch, row).unwrap_or_default(),
        });
        Ok(Part {
            records,
            finer: finer.collect(),
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
    /// The columns that are made of an array of the file, when its numbers are of another kind than the table's.
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

/// A column of the file as `kind`; the rows whose times are too fine are null, and noted in `finer` with the column.
fn column(
    batch: &RecordBatch,
    from: usize,
    kind: &DataType,
    finer: &mut BTreeMap<usize, String>,
) -> Result<ArrayRef, Refusal> {
    let name = || batch.schema_ref().field(from).name();
    let refusal = |why: String| does_not_fit(name(), &why);
    let mut array = Arc::clone(batch.column(from));
    if let Some(rows) = finer_rows(&array) {
        for row in (0..rows.len()).filter(|row| rows[*row]) {
            finer.entry(row).or_insert_with(|| name().clone());
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

/// One row as a line of JSON, cut to what quarantine keeps.
pub(in crate::extract) fn row_as_json(
    batch: &RecordBatch,
    row: usize,
) -> Result<Vec<u8>, ArrowError> {
    let mut line = Vec::new();
    write_json_lines(&batch.slice(row, 1), NullFields::Omitted, &mut line)?;
    line.truncate(RECORD_BYTES_MAX);
    Ok(line)
}

/// A column of the table with the type that the file declares now.
///
/// Errors: `Config` `column_type_changed`.
fn declared_now(column: &Field, declared: ColumnType) -> Result<Field> {
    let (held, kind) = (column.data_type(), declared.arrow());
    if wider(held, &kind).as_ref() != Some(&kind) {
        let held = match held {
            DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
            held => word(held).to_owned(),
        };
        return Err(type_changed(column.name(), &held, declared));
    }
    Ok(Field::new(column.name(), kind, true))
}

/// Converts, and back: what differs then was not exact. Texts may be spelled in many ways, so they are only converted.
pub(in crate::extract) fn exactly(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, String> {
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
