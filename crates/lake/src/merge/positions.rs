//! Positions that the source moved.

use std::collections::HashSet;

use forebay_core::{Position, RefName, TableName};
use forebay_store::{SplitPosition, SplitSides};
use serde_json::Value;

use super::{MergeOutcome, PositionChanges};

/// A position that moves on the target.
#[derive(Debug, Clone)]
pub(super) struct MovedSplit {
    pub(super) pipeline: forebay_core::Ident,
    pub(super) split: forebay_core::Ident,
    /// The target's sequence; 0 when nothing has moved it.
    pub(super) expected: i64,
    pub(super) moved: SplitPosition,
}

pub(super) struct SplitDecision {
    pub(super) change: PositionChanges,
    pub(super) moved: Option<MovedSplit>,
}

/// `left_behind` are snapshots that the target does not have after the merge.
pub(super) fn decide(
    sides: &SplitSides,
    (source, target): (&RefName, &RefName),
    left_behind: &[(i64, TableName)],
) -> SplitDecision {
    let mut decided = SplitDecision {
        change: PositionChanges {
            pipeline: sides.pipeline.clone(),
            split: sides.split.clone(),
            before: shown(sides.base.single().unwrap_or(sides.target.as_ref())),
            after: shown(sides.source.as_ref()),
            outcome: MergeOutcome::FastForward,
        },
        moved: None,
    };
    let expected = sides.target.as_ref().map_or(0, |target| target.sequence);
    let moved = sides
        .source
        .clone()
        .filter(|moved| moved.sequence > expected);
    let conflict = match &moved {
        _ if !sides.base.has(sides.target.as_ref()) => Some(format!(
            "its position moved on {source} and on {target}: rows that both loaded would be there twice; \
             reset the pipeline on one of them, or drop the branch and run it again on a new one"
        )),
        None => Some(format!(
            "its position on {source} does not follow that on {target}"
        )),
        Some(moved) => read_behind(&moved.position, left_behind).map(|table| {
            format!(
                "on {source} it has read {table} at a state that {target} does not get, since both changed that table; \
                 run it on {target} instead"
            )
        }),
    };
    match (conflict, moved) {
        (None, Some(moved)) => {
            decided.moved = Some(MovedSplit {
                pipeline: sides.pipeline.clone(),
                split: sides.split.clone(),
                expected,
                moved,
            });
        }
        (reason, _) => {
            decided.change.outcome = MergeOutcome::Conflict(reason.unwrap_or_default());
        }
    }
    decided
}

fn shown(position: Option<&SplitPosition>) -> Option<Position> {
    position.map(|one| one.position.clone())
}

/// The table of a snapshot that the position names. Positions are opaque here, but ids of snapshots are random numbers of 63 bits: one that
/// is in there was put there.
fn read_behind<'t>(
    position: &Position,
    left_behind: &'t [(i64, TableName)],
) -> Option<&'t TableName> {
    let mut numbers = HashSet::new();
    collect_numbers(&position.0, &mut numbers);
    let named = left_behind.iter().find(|(id, _)| numbers.contains(id));
    named.map(|(_, table)| table)
}

fn collect_numbers(value: &Value, numbers: &mut HashSet<i64>) {
    match value {
        Value::Number(number) => numbers.extend(number.as_i64()),
        Value::Array(values) => values.iter().for_each(|one| collect_numbers(one, numbers)),
        Value::Object(values) => values
            .values()
            .for_each(|one| collect_numbers(one, numbers)),
        _ => {}
    }
}
