//! Random joins.

use super::generate::{Generator, Pair, fill};

/// Columns of the table that compare with each other.
pub(super) const EQUAL: [[&str; 2]; 14] = [
    ["b", "b"],
    ["d", "d"],
    ["f", "f"],
    ["s", "r"],
    ["dt", "dt"],
    ["ts", "ts"],
    ["tz", "tz"],
    ["o", "o"],
    ["k", "k"],
    ["b", "d"],
    ["d", "f"],
    ["dt", "ts"],
    ["b", "k"],
    ["w", "b"],
];

impl Generator {
    pub(super) fn columns(&mut self) -> [&'static str; 2] {
        EQUAL[self.below(EQUAL.len())]
    }

    pub(super) fn join(&mut self) -> Pair {
        let [left, right] = self.columns();
        let operator = self.one(&["=", "=", "=", "is not distinct from"]);
        let kind = self.one(&["join", "left join", "right join", "full join"]);
        let more = self.one(&[
            "",
            "",
            " and x.id < y.id",
            " and x.f > y.f",
            " and x.id < 9",
            " and y.o",
        ]);
        let filter = self.one(&[
            "",
            "",
            " where y.id is null",
            " where x.f > 1",
            " where y.s <> 'a'",
            " where coalesce(x.b, 0) = coalesce(y.b, 0)",
        ]);
        let template = format!(
            "select x.id, y.id from {{0}} x {kind} {{1}} y on x.{left} {operator} y.{right}{more}{filter}"
        );
        fill(&template, &[self.filtered(), self.filtered()])
    }

    /// The key of a left join is that of the left side, also where the right side has no row.
    pub(super) fn using(&mut self) -> Pair {
        let kind = self.one(&["join", "left join"]);
        let keys = self.one(&["k", "b", "d", "f", "s", "dt", "tz", "o", "k, o", "s, k"]);
        let filter = self.one(&[
            "",
            "",
            " where y.id is null",
            " where x.id < 12",
            " where y.o",
        ]);
        let template =
            format!("select {keys}, x.id, y.id from {{0}} x {kind} {{1}} y using ({keys}){filter}");
        fill(&template, &[self.filtered(), self.filtered()])
    }

    /// Rows that a join repeats, each once, the first of them in an order without ties.
    pub(super) fn distinct_join(&mut self) -> Pair {
        let [left, right] = self.columns();
        let kind = self.one(&["join", "left join"]);
        let direction = self.one(&["asc", "desc"]);
        let nulls = self.one(&["first", "last"]);
        let values = self.one(&["x.k, y.s", "x.o, y.dt", "x.s, x.k", "x.f, y.k", "y.d, x.o"]);
        let count = 1 + self.below(9);
        let skipped = self.below(4);
        let template = format!(
            "select distinct {values} from {{0}} x {kind} {{1}} y on x.{left} = y.{right} order by 1 {direction} nulls {nulls}, 2 nulls last limit {count} offset {skipped}"
        );
        fill(&template, &[self.filtered(), self.filtered()])
    }
}
