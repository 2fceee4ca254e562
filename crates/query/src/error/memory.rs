//! Statements that run out of memory or of disk to spill to: what they were at, in words of SQL.

use forebay_core::Error;

use super::first_line;

/// Operators of the engine and what a statement calls them; of two that begin alike the longer one first.
const OPERATORS: [(&str, &str); 22] = [
    ("GroupedHashAggregateStream", "GROUP BY or DISTINCT"),
    ("AggregateStream", "an aggregate"),
    ("AggregateExec", "an aggregate"),
    ("ExternalSorterMerge", "a merge of sorted rows"),
    ("ExternalSorter", "a sort"),
    ("SortPreservingMergeExec", "a merge of sorted rows"),
    ("SortExec", "a sort"),
    ("TopK", "ORDER BY with LIMIT"),
    ("RepartitionExec", "the distribution of rows to threads"),
    ("HashJoinInput", "a join"),
    ("HashJoinExec", "a join"),
    ("NestedLoopJoinLoad", "a join without an equality"),
    ("NestedLoopJoinExec", "a join without an equality"),
    ("SMJStream", "a join"),
    ("SortMergeJoinExec", "a join"),
    ("SymmetricHashJoin", "a join"),
    ("PiecewiseMergeJoin", "a join without an equality"),
    ("CrossJoinExec", "a cross join"),
    ("RecursiveQuery", "WITH RECURSIVE"),
    ("BoundedWindowAggExec", "a window function"),
    ("WindowAggExec", "a window function"),
    ("UnnestExec", "unnest"),
];

const HINT: &str =
    "raise `memory` in `[sql]` of forebay.toml, or read less: filter, fewer columns, no cross join";

/// Words of the engine's messages for a reservation that fails.
const FAILED: &str = "Failed to allocate additional ";

/// Whether an error of another kind has one of memory as its text.
pub(super) fn is_out_of_memory(message: &str) -> bool {
    message.contains(FAILED)
}

/// Errors: `Unavailable` `query_memory`, or `spill_failed` where the disk has no more room.
pub(super) fn exhausted(message: &str) -> Error {
    let message = first_line(message);
    if let Some(limit) = spill_limit(message) {
        let message = format!("the query outgrew its memory and spilled more than {limit} to disk");
        return Error::unavailable("spill_failed", message).with_hint(HINT);
    }
    let reason = reservation(message)
        .map(|reservation| reservation.shown())
        .unwrap_or_else(|| with_plain_operators(message));
    let message = format!("the query needs more memory than it may use: {reason}");
    Error::unavailable("query_memory", message).with_hint(HINT)
}

fn spill_limit(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("exceeded the allowable limit of ")?;
    rest.split_once(". ").map(|(limit, _)| limit)
}

/// A reservation of memory that was refused.
struct Reservation<'a> {
    operator: &'a str,
    more: &'a str,
    held: &'a str,
    left: &'a str,
}

fn reservation(message: &str) -> Option<Reservation<'_>> {
    let (_, rest) = message.split_once(FAILED)?;
    let (more, rest) = rest.split_once(" for ")?;
    let (operator, rest) = rest.split_once(" with ")?;
    let (held, rest) = rest.split_once(" already allocated for this reservation - ")?;
    let (left, _) = rest.split_once(" remain available")?;
    Some(Reservation {
        operator,
        more,
        held,
        left,
    })
}

impl Reservation<'_> {
    fn shown(&self) -> String {
        let Self {
            operator,
            more,
            held,
            left,
        } = self;
        let operator = plain_operator(operator).unwrap_or("an operator");
        format!("{operator} holds {held} and needs {more} more, {left} are free")
    }
}

/// The operator that a text begins with.
fn plain_operator(text: &str) -> Option<&'static str> {
    let mut operators = OPERATORS.iter();
    operators
        .find(|(name, _)| text.starts_with(name))
        .map(|(_, plain)| *plain)
}

/// The text with what statements call the operators of the engine.
pub(super) fn with_plain_operators(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, plain) in OPERATORS {
        if text.contains(name) {
            text = text.replace(name, plain);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reservation_is_one_of_a_clause() {
        let of = |operator: &str| {
            format!(
                "Failed to allocate additional 5.0 MB for {operator} with 3.0 MB already allocated for this reservation - 2.0 MB remain available for the total pool"
            )
        };
        for (operator, expected) in [
            (
                "GroupedHashAggregateStream[0] (count(1))",
                "GROUP BY or DISTINCT",
            ),
            ("ExternalSorterMerge[1]", "a merge of sorted rows"),
            ("TopK[0]", "ORDER BY with LIMIT"),
            ("Unheard[0]", "an operator"),
        ] {
            let error = exhausted(&of(operator));
            let expected = format!(
                "the query needs more memory than it may use: {expected} holds 3.0 MB and needs 5.0 MB more, 2.0 MB are free"
            );
            assert_eq!(error.message(), expected);
            assert!(error.hint().is_some_and(|hint| hint.contains("memory")));
        }
        let nested = format!(
            "Failed to reserve memory for sort during spill: {}",
            of("TopK")
        );
        assert!(exhausted(&nested).message().contains("ORDER BY with LIMIT"));
    }

    #[test]
    fn a_full_disk_is_no_lack_of_memory() {
        let message = "The used disk space during the spilling process has exceeded the allowable limit of 16.0 GB. Try increasing the `max_temp_directory_size` in the disk manager configuration.";
        let error = exhausted(message);
        assert_eq!(error.code(), "spill_failed");
        assert!(
            error
                .message()
                .ends_with("spilled more than 16.0 GB to disk")
        );
    }
}
