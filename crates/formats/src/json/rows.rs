//! Processes records one by one: parse, read into the builders, extend the shape by policy, reject, cut batches.
//!
//! Independent of the framing of payloads. Every given record becomes a row or a [`Rejected`].

use std::sync::Arc;

use forebay_core::quarantine::{Extent, RECORD_BYTES_MAX};
use forebay_core::{Error, Origins, Rejected, Result};
use simd_json::Node;

use super::Nested;
use super::build::{ObjectBuilder, Walk};
use super::census::{AddedColumns, Census};
use super::column::Column;
use super::emit;
use super::excerpt::excerpt;
use super::id;
use super::learn::{self, Added};
use super::number;
use super::parse::Parser;
use super::required::{self, Required};
use super::sample::Sample;
use super::shape::{self, Object, RowKeys, Stored};
use super::walk::{Parsed, Refusal, Stop};
use crate::Extracted;
use crate::case::NameCase;
use crate::contract::{Contract, ContractPolicy, NewColumns};
use crate::untyped::{NO_VALUES, NO_VALUES_REASON};

/// Most rows of a batch.
const ROWS_MAX: usize = 16_384;
/// A batch is cut when its records had this many bytes; far below the limit of 32-bit offsets.
const BYTES_MAX: usize = 8 << 20;
/// A batch is cut when it has this many cells, empty ones too: five such batches may wait between two stages.
const CELLS_MAX: usize = 1 << 19;
/// Times a record is read again: with its text, and after the shape has grown.
const READS_MAX: usize = 4;

/// The position of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) payload: u64,
    /// A hash of the payload's identity, the same wherever it is read from.
    pub(super) identity: u128,
    pub(super) offset: u64,
    pub(super) line: Option<u64>,
    /// Counts the records of the payload from 0.
    pub(super) ordinal: u64,
}

impl Place {
    /// The record as refused.
    pub(super) fn reject(&self, refusal: Refusal, record: &[u8]) -> Rejected {
        let extent = Extent::record(self.offset, record.len() as u64);
        self.reject_extent(extent, refusal, record)
    }

    /// A part of the payload as refused.
    pub(super) fn reject_extent(
        &self,
        extent: Extent,
        refusal: Refusal,
        record: &[u8],
    ) -> Rejected {
        Rejected {
            payload: Some(self.payload),
            extent: Some(extent),
            offset: Some(self.offset + refusal.at.unwrap_or(0) as u64),
            line: self.line,
            stage: "extract".to_owned(),
            code: refusal.code.to_owned(),
            reason: refusal.reason,
            record: record[..record.len().min(RECORD_BYTES_MAX)].to_vec(),
        }
    }
}

/// The settings for all records.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) nested: Nested,
    pub(super) case: NameCase,
    pub(super) policy: ContractPolicy,
    pub(super) record_bytes_max: usize,
    pub(super) elements_max: usize,
    pub(super) depth_max: usize,
}

/// Rows on their way from records to batches.
#[derive(Debug)]
pub(super) struct Rows {
    rules: Arc<Rules>,
    required: Required,
    shape: Object,
    /// The columns of the shape, counted when a record first brings more.
    census: Option<Census>,
    /// Whether the contract exists: then the policy decides about additions.
    learned: bool,
    sample: Sample,
    parser: Parser,
    /// Some column keeps the text of values.
    text: bool,
    root: ObjectBuilder,
    rows_max: usize,
    bytes: usize,
    cells: usize,
    origins: Origins,
    ids: Vec<u128>,
    row_keys: RowKeys,
}

/// The result of reading a record once.
enum Outcome {
    Row { cells: usize },
    Text { always: bool },
    Wider(Growth),
    Refused(Refusal),
}

/// The additions of a record to the shape.
struct Growth {
    added: Vec<Added>,
    columns: AddedColumns,
}

impl Growth {
    /// Learns from a record beside the shape, as most additions to a wide one are rejected.
    fn weigh(shape: &Object, parsed: &Parsed<'_>, rules: &Rules) -> Result<Self, Stop> {
        let before = excerpt(shape, parsed, rules.case);
        let mut grown = before.clone();
        let added = learn::learn(&mut grown, parsed, &rules.policy, rules.case)?;
        Ok(Self {
            added,
            columns: AddedColumns::between(&before, &grown, rules.nested),
        })
    }
}

impl Rows {
    pub(super) fn new(contract: Option<Contract>, rules: Rules) -> Result<Self> {
        let (shape, row_keys) = match contract {
            Some(contract) => {
                let stored = shape::from_contract(contract, rules.nested, &rules.policy)?;
                (stored.root, stored.row_keys)
            }
            None => (Object::default(), RowKeys::Offset),
        };
        let names = rules
            .policy
            .columns
            .iter()
            .filter(|(_, rule)| rule.required)
            .map(|(name, _)| name.clone());
        let mut rows = Self {
            required: Required {
                names: names.collect(),
            },
            learned: !shape.keys.is_empty(),
            shape: Object::default(),
            census: None,
            sample: Sample::default(),
            parser: Parser::new(rules.depth_max, rules.elements_max.saturating_mul(8)),
            text: false,
            root: ObjectBuilder::new(),
            rows_max: ROWS_MAX,
            bytes: 0,
            cells: 0,
            origins: Origins::default(),
            ids: Vec::new(),
            row_keys,
            rules: Arc::new(rules),
        };
        rows.set_shape(shape);
        Ok(rows)
    }

    pub(super) fn contract(&self) -> Contract {
        let stored = Stored {
            nested: self.rules.nested,
            row_keys: self.row_keys,
            root: self.shape.clone(),
        };
        stored.to_contract()
    }

    /// Takes a record; rows and refusals are returned now or later.
    pub(super) fn record(
        &mut self,
        place: Place,
        record: &[u8],
        out: &mut Extracted,
    ) -> Result<()> {
        let max = self.rules.record_bytes_max;
        if record.len() > max {
            let reason = format!(
                "the record has {} bytes, more than {max}: raise `limits.record`",
                record.len()
            );
            out.rejected
                .push(place.reject(Refusal::new("record_too_large", reason), record));
            return Ok(());
        }
        if self.learned {
            return self.take(place, record, out);
        }
        self.sample.add(place, record);
        if self.sample.is_full() {
            self.learn_sample(out)
        } else {
            Ok(())
        }
    }

    /// Rows that are held back.
    pub(super) fn pending(&self) -> u64 {
        (self.origins.len() + self.sample.len()) as u64
    }

    /// Whether `text` is JSON.
    pub(super) fn check(&mut self, text: &[u8]) -> Result<(), Refusal> {
        self.parser.with(text, false, |_| ())
    }

    /// Returns everything that is held back.
    pub(super) fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        self.learn_sample(out)?;
        self.cut(out)
    }

    /// Learns the shape from the sample, then converts it to rows.
    fn learn_sample(&mut self, out: &mut Extracted) -> Result<()> {
        let sample = std::mem::take(&mut self.sample);
        if sample.is_empty() {
            return Ok(());
        }
        let mut cells = 0;
        for (_, record) in sample.iter() {
            if let Ok(more) = self.read(record)? {
                self.origins.push(0, 0, 0);
                cells += more;
            }
            if cells > CELLS_MAX {
                break;
            }
        }
        let mut shape = std::mem::take(&mut self.shape);
        let root = &self.root;
        let nested = self.rules.nested;
        learn::settle(&mut shape, nested, &mut |path| longs_are_exact(root, path));
        self.root = ObjectBuilder::new();
        self.origins = Origins::default();
        self.set_shape(shape);
        for (place, record) in sample.iter() {
            self.take(*place, record, out)?;
        }
        self.learned = !self.shape.keys.is_empty();
        Ok(())
    }

    fn take(&mut self, place: Place, record: &[u8], out: &mut Extracted) -> Result<()> {
        match self.read(record)? {
            Ok(cells) => {
                let length = record.len() as u32;
                self.origins
                    .push_with_line(place.payload, place.offset, length, place.line);
                if self.rules.nested == Nested::Tables {
                    let place_number = match self.row_keys {
                        RowKeys::Offset => place.offset,
                        RowKeys::Number => place.ordinal,
                    };
                    self.ids
                        .push(id::main(place.identity, place_number, record));
                }
                self.bytes += record.len();
                self.cells += cells;
                if self.is_full() {
                    self.cut(out)
                } else {
                    Ok(())
                }
            }
            Err(refusal) => {
                out.rejected.push(place.reject(refusal, record));
                Ok(())
            }
        }
    }

    fn is_full(&self) -> bool {
        self.origins.len() >= self.rows_max || self.bytes >= BYTES_MAX || self.cells >= CELLS_MAX
    }

    /// Reads a record as the next row. A rejected record leaves neither a row nor a column: nothing is learned from records
    /// that do not land.
    fn read(&mut self, record: &[u8]) -> Result<Result<usize, Refusal>> {
        let mut before = None;
        let read = self.read_growing(record, &mut before);
        if !matches!(read, Ok(Ok(_))) {
            self.root.truncate(self.origins.len());
            if let Some(shape) = before {
                self.root.shrink(&shape);
                self.set_shape(shape);
            }
        }
        read
    }

    /// Reads a record, extending the shape for it; `before` is set to the shape before it grew.
    fn read_growing(
        &mut self,
        record: &[u8],
        before: &mut Option<Object>,
    ) -> Result<Result<usize, Refusal>> {
        let mut text = self.text;
        for _ in 0..READS_MAX {
            match self.read_once(record, text) {
                Outcome::Row { cells } => return Ok(Ok(cells)),
                Outcome::Refused(refusal) => return Ok(Err(refusal)),
                Outcome::Text { always } => {
                    text = true;
                    self.text |= always;
                }
                Outcome::Wider(growth) => {
                    if let Some(refusal) = self.weigh(&growth)? {
                        return Ok(Err(refusal));
                    }
                    let wider = self.learn(record, text)?;
                    let grown = std::mem::take(&mut self.shape);
                    before.get_or_insert(grown);
                    self.root.truncate(self.origins.len());
                    let census = self.census.take();
                    self.set_shape(wider);
                    // Counted again for every record, a wide shape would take the square of its columns.
                    self.census = census.map(|mut census| {
                        census.add(&growth.columns, &self.rules);
                        census
                    });
                }
            }
            self.root.truncate(self.origins.len());
        }
        Err(Error::bug(
            "shape_does_not_settle",
            "a record does not fit the shape that was learned from it",
        ))
    }

    fn read_once(&mut self, record: &[u8], text: bool) -> Outcome {
        let Self {
            parser,
            root,
            origins,
            shape,
            rules,
            ..
        } = self;
        let read = parser.with(record, text, |parsed| {
            match read_row(root, origins.len(), parsed, rules) {
                Ok(outcome) => outcome,
                Err(Stop::Text) => Outcome::Text { always: true },
                Err(Stop::Refuse(refusal)) => Outcome::Refused(*refusal),
                Err(Stop::Grow) => match Growth::weigh(shape, parsed, rules) {
                    Ok(growth) => Outcome::Wider(growth),
                    Err(Stop::Refuse(refusal)) => Outcome::Refused(*refusal),
                    Err(Stop::Text | Stop::Grow) => Outcome::Text { always: false },
                },
            }
        });
        match read {
            Ok(Outcome::Row { .. }) if self.shape.keys.is_empty() => {
                Outcome::Refused(Refusal::new(NO_VALUES, NO_VALUES_REASON))
            }
            Ok(outcome) => outcome,
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// The shape with the additions of a record.
    fn learn(&mut self, record: &[u8], text: bool) -> Result<Object> {
        let mut wider = self.shape.clone();
        let rules = &self.rules;
        let learned = self.parser.with(record, text, |parsed| {
            learn::learn(&mut wider, parsed, &rules.policy, rules.case)
        });
        match learned {
            Ok(Ok(_)) => Ok(wider),
            _ => Err(Error::bug(
                "shape_differs",
                "a record accepted by the excerpt was rejected by the whole shape",
            )),
        }
    }

    /// The reason why the shape may not grow; an error stops the run.
    fn weigh(&mut self, growth: &Growth) -> Result<Option<Refusal>> {
        if self.learned
            && let Some(new) = growth.added.iter().find(|added| !added.declared)
        {
            let what = format!(
                "column `{}` of kind {} is not in the contract",
                new.column, new.kind
            );
            match self.rules.policy.new_columns {
                NewColumns::Evolve => {}
                NewColumns::Quarantine => return Ok(Some(Refusal::new("new_column", what))),
                NewColumns::Freeze => {
                    return Err(Error::data("contract_frozen", what)
                        .with_hint("declare the column under `schema.columns`, or set `schema.new_columns` to evolve or quarantine"));
                }
            }
        }
        let shape = &self.shape;
        let rules = &self.rules;
        let census = self.census.get_or_insert_with(|| Census::of(shape, rules));
        Ok(census.refuse(&growth.columns, rules))
    }

    fn set_shape(&mut self, shape: Object) {
        self.root.grow(&shape, "", &self.required);
        self.root
            .set_missing(required::unbound(&shape, "", &self.required));
        if !shape.may_clash(self.rules.nested) {
            self.root.clear_orders();
        }
        let width: usize = shape.keys.iter().map(shape::Key::width).sum();
        self.rows_max = (CELLS_MAX / width.max(1)).clamp(1, ROWS_MAX);
        self.shape = shape;
        self.census = None;
    }

    fn cut(&mut self, out: &mut Extracted) -> Result<()> {
        if self.origins.is_empty() {
            return Ok(());
        }
        (self.bytes, self.cells) = (0, 0);
        let origins = std::mem::take(&mut self.origins);
        emit::emit(
            &mut self.root,
            &self.rules,
            origins,
            &self.ids,
            &mut out.batches,
        )?;
        self.ids.clear();
        Ok(())
    }
}

fn read_row(
    root: &mut ObjectBuilder,
    row: usize,
    parsed: &Parsed<'_>,
    rules: &Rules,
) -> Result<Outcome, Stop> {
    let Some(Node::Object { len, .. }) = parsed.nodes.first() else {
        return Err(Stop::refuse(
            "not_an_object",
            "a record must be a JSON object",
        ));
    };
    let mut walk = Walk {
        parsed,
        policy: &rules.policy,
        case: rules.case,
        elements: 0,
        elements_max: rules.elements_max,
        cells: 0,
        doubles: false,
        tiny: false,
    };
    root.read(row, 0, *len, &mut walk)?;
    if walk.doubles && !parsed.doubles_are_exact(walk.tiny) {
        return Ok(Outcome::Text { always: false });
    }
    Ok(Outcome::Row { cells: walk.cells })
}

/// Whether doubles could hold every value of the long column at `path` (key, kind, key, kind, …).
fn longs_are_exact(root: &ObjectBuilder, path: &[usize]) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    let Some((kind, rest)) = rest.split_first() else {
        return false;
    };
    root.keys
        .get(*key)
        .is_some_and(|key| kind_is_exact(&key.kinds[*kind].column, rest))
}

fn kind_is_exact(column: &Column, path: &[usize]) -> bool {
    match (column, path) {
        (Column::Long(column), []) => column
            .values
            .iter()
            .all(|value| number::is_exact_double(i128::from(*value))),
        (Column::Object(object), path) => longs_are_exact(object, path),
        (Column::List(list), [_, kind, rest @ ..]) => {
            kind_is_exact(&list.element.kinds[*kind].column, rest)
        }
        _ => false,
    }
}
