//! Deleted rows as a read plan of a file: row groups that are wholly deleted are not opened, the others are
//! read in runs between the deleted rows.

use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use roaring::RoaringTreemap;

/// The read plan of a file whose row groups have these numbers of rows.
pub(super) fn access_plan(group_rows: &[u64], deleted: &RoaringTreemap) -> ParquetAccessPlan {
    let mut plan = ParquetAccessPlan::new_all(group_rows.len());
    let mut positions = deleted.iter().peekable();
    let mut start = 0;
    for (group, rows) in group_rows.iter().enumerate() {
        let end = start + rows;
        let mut here = Vec::new();
        while let Some(position) = positions.next_if(|position| *position < end) {
            here.push(position - start);
        }
        if here.len() as u64 == *rows {
            plan.skip(group);
        } else if !here.is_empty() {
            plan.scan_selection(group, selection(*rows, &here));
        }
        start = end;
    }
    plan
}

/// Selects the rows of a group that are not in `deleted` (ascending).
fn selection(rows: u64, deleted: &[u64]) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for position in deleted {
        if *position > next {
            selectors.push(RowSelector::select(count(position - next)));
        }
        match selectors.last_mut() {
            Some(last) if last.skip => last.row_count += 1,
            _ => selectors.push(RowSelector::skip(1)),
        }
        next = position + 1;
    }
    if next < rows {
        selectors.push(RowSelector::select(count(rows - next)));
    }
    RowSelection::from(selectors)
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::datasource::physical_plan::parquet::RowGroupAccess;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_rows_that_are_not_deleted_are_read(
            groups in prop::collection::vec(0u64..40, 0..6),
            marks in prop::collection::vec(any::<u8>(), 240),
            one_in in 1u8..6,
        ) {
            let total: u64 = groups.iter().sum();
            let deleted: RoaringTreemap = (0..total).filter(|row| marks[*row as usize] % one_in == 0).collect();
            let plan = access_plan(&groups, &deleted);
            let mut start = 0;
            let mut read = Vec::new();
            for (rows, access) in groups.iter().zip(plan.inner()) {
                match access {
                    RowGroupAccess::Skip => {}
                    RowGroupAccess::Scan => read.extend(start..start + rows),
                    RowGroupAccess::Selection(selection) => {
                        let mut at = start;
                        for selector in selection.iter() {
                            let end = at + selector.row_count as u64;
                            if !selector.skip { read.extend(at..end); }
                            at = end;
                        }
                        prop_assert_eq!(at, start + rows);
                    }
                }
                start += rows;
            }
            let expected: Vec<u64> = (0..total).filter(|row| !deleted.contains(*row)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
