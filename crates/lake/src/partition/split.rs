//! Splitting a batch by partition.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use arrow::row::{RowConverter, Rows, SortField};
use forebay_core::{Error, Result};
use iceberg::spec::{PartitionSpec, PrimitiveType, Schema, Struct, Transform, Type};

use super::source::SourcePath;
use super::{literal, transform};

/// Knows how to compute the partition of every row of a table.
#[derive(Debug)]
pub(crate) struct Splitter(Vec<SplitField>);

#[derive(Debug)]
struct SplitField {
    source: SourcePath,
    transform: Transform,
    result: PrimitiveType,
}

/// The rows of one partition in a batch.
#[derive(Debug)]
pub(crate) struct Group {
    /// Equal for the same partition in every batch.
    pub(crate) key: Box<[u8]>,
    pub(crate) partition: Struct,
    /// Row numbers, ascending; `None` for all rows.
    pub(crate) rows: Option<UInt32Array>,
}

impl Splitter {
    /// Errors: `Unsupported` when a field of the spec cannot be computed from the schema.
    pub(crate) fn new(schema: &Schema, spec: &PartitionSpec) -> Result<Self> {
        let field = |field: &iceberg::spec::PartitionField| {
            let bad = || {
                Error::unsupported(
                    "bad_partition",
                    format!("partition field {} cannot be computed", field.name),
                )
            };
            let source = SourcePath::find(schema, field.source_id).ok_or_else(bad)?;
            let column = schema.field_by_id(field.source_id).ok_or_else(bad)?;
            match field.transform.result_type(&column.field_type) {
                Ok(Type::Primitive(result)) => Ok(SplitField {
                    source,
                    transform: field.transform,
                    result,
                }),
                _ => Err(bad()),
            }
        };
        spec.fields()
            .iter()
            .map(field)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The partitions of `records`, in order of first appearance. The batch must have the table's schema.
    pub(crate) fn split(&self, records: &RecordBatch) -> Result<Vec<Group>> {
        if self.0.is_empty() {
            return Ok(vec![Group {
                key: Box::default(),
                partition: Struct::empty(),
                rows: None,
            }]);
        }
        let columns = self.values(records)?;
        let rows = encode(&columns)?;
        let (groups, firsts) = number_groups(&rows);
        let group = |(taken, first): (Option<UInt32Array>, &u32)| {
            let row = *first as usize;
            Ok(Group {
                key: rows.row(row).as_ref().into(),
                partition: self.partition(&columns, row)?,
                rows: taken,
            })
        };
        take_lists(&groups, firsts.len())
            .into_iter()
            .zip(&firsts)
            .map(group)
            .collect()
    }

    fn values(&self, records: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.0
            .iter()
            .map(|field| transform::apply(field.transform, &field.source.column(records)?))
            .collect()
    }

    fn partition(&self, columns: &[ArrayRef], row: usize) -> Result<Struct> {
        let value = |(field, column): (&SplitField, &ArrayRef)| {
            literal::literal(column.as_ref(), row, &field.result)
        };
        self.0.iter().zip(columns).map(value).collect()
    }
}

fn encode(columns: &[ArrayRef]) -> Result<Rows> {
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    RowConverter::new(fields)
        .and_then(|converter| converter.convert_columns(columns))
        .map_err(|e| {
            Error::bug("split_failed", "failed to compare partition values").with_source(e)
        })
}

/// The group number of every row, and the first row of every group.
fn number_groups(rows: &Rows) -> (Vec<u32>, Vec<u32>) {
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let mut groups = Vec::with_capacity(rows.num_rows());
    let mut firsts = Vec::new();
    let mut last: Option<(&[u8], u32)> = None;
    for (i, row) in rows.iter().enumerate() {
        let bytes = row.data();
        let group = match last {
            // Neighbours mostly share their partition.
            Some((before, group)) if before == bytes => group,
            _ => *known.entry(bytes).or_insert_with(|| {
                firsts.push(u32::try_from(i).expect("a batch has fewer than 2^32 rows"));
                u32::try_from(firsts.len() - 1).expect("no more groups than rows")
            }),
        };
        last = Some((bytes, group));
        groups.push(group);
    }
    (groups, firsts)
}

/// The rows of each group: a counting sort, so all groups share one buffer.
fn take_lists(groups: &[u32], count: usize) -> Vec<Option<UInt32Array>> {
    if count == 1 {
        return vec![None];
    }
    let mut ends = vec![0_usize; count];
    groups.iter().for_each(|group| ends[*group as usize] += 1);
    let mut starts = Vec::with_capacity(count);
    let mut total = 0;
    for size in &mut ends {
        starts.push(total);
        total += *size;
        *size = total;
    }
    let mut next = starts.clone();
    let mut order = vec![0_u32; groups.len()];
    for (row, group) in (0_u32..).zip(groups) {
        let slot = &mut next[*group as usize];
        order[*slot] = row;
        *slot += 1;
    }
    let order = ScalarBuffer::from(order);
    let list =
        |(start, end): (&usize, &usize)| UInt32Array::new(order.slice(*start, end - start), None);
    starts.iter().zip(&ends).map(list).map(Some).collect()
}
