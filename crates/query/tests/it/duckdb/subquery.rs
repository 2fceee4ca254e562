//! Random subqueries: memberships, tests for rows, values and `LATERAL`.

use super::generate::{Generator, KINDS, Pair, fill, fill_both, same};
use super::join::EQUAL;

impl Generator {
    pub(super) fn membership(&mut self) -> Pair {
        let [left, right] = self.columns();
        let not = self.one(&["", "not "]);
        let also = self.one(&["", " or id < 3", " and o is not false"]);
        let inside = self.one(&["", "", " where y.id < x.id", " where y.k = x.k"]);
        let template = format!(
            "select id from {{t}} x where {left} {not}in (select {right} from {{0}} y{inside}){also}"
        );
        fill(&template, &[self.filtered()])
    }

    /// Two columns in a subquery of two, as a condition or a value. DuckDB compares them as structs, whose nulls are not those of SQL,
    /// so there it is written with `EXISTS`.
    pub(super) fn row_membership(&mut self) -> Pair {
        let [one, of_one] = self.columns();
        let [two, of_two] = self.columns();
        let is_negated = self.below(2) == 0;
        let inside = self.one(&["true", "true", "y.id < x.id", "y.k = x.k"]);
        let not = if is_negated { "not " } else { "" };
        let ours = format!(
            "({one}, {two}) {not}in (select {of_one}, {of_two} from {{0}} y where {inside})"
        );
        let exists = |test: &str| {
            let one = format!("(y.{of_one} = x.{one}) {test}");
            let two = format!("(y.{of_two} = x.{two}) {test}");
            format!("exists (select 1 from {{0}} y where {inside} and {one} and {two})")
        };
        let found = exists("");
        let maybe = exists("is not false");
        let theirs = format!(
            "(case when {found} then {} when {maybe} then null else {is_negated} end)",
            !is_negated
        );
        let frame = self.one(&[
            "select id, {} from {t} x",
            "select id from {t} x where ({}) is not true",
            "select id from {t} x where {} or id < 3",
            "select id from {t} x where {}",
        ]);
        let ours = frame.replace("{}", &ours);
        let theirs = frame.replace("{}", &theirs);
        fill_both(&ours, &theirs, &[self.filtered()])
    }

    /// A value of the one row that has the key: the first of several fails in both.
    pub(super) fn looked_up(&mut self) -> Pair {
        let kind = KINDS[self.below(KINDS.len())];
        let order = self.one(&[
            "",
            " order by id limit 1",
            " order by y.k nulls first, id desc limit 1",
        ]);
        let key = match order {
            "" => "y.id = x.id",
            _ => self.one(&["y.k = x.k", "y.id = x.id", "y.s = x.s", "y.o = x.o"]),
        };
        let args = [self.of(kind, 1), self.filtered()];
        let template =
            format!("select id, (select {{0}} from {{1}} y where {key}{order}) from {{t}} x");
        fill(&template, &args)
    }

    pub(super) fn existence(&mut self) -> Pair {
        let [left, right] = self.columns();
        let not = self.one(&["", "not "]);
        let more = self.one(&[
            "",
            " and y.id <> x.id",
            " and y.id < x.id",
            " and y.o",
            " or y.id < x.id",
            " or y.f > x.f",
        ]);
        let also = self.one(&["", "", " or x.k = 1", " and x.id > 3"]);
        let template = format!(
            "select id from {{0}} x where {not}exists (select 1 from {{1}} y where y.{right} = x.{left}{more}){also}"
        );
        fill(&template, &[self.filtered(), self.filtered()])
    }

    /// Columns by which a subquery that is a value may be correlated: floats are refused.
    fn correlated(&mut self) -> [&'static str; 2] {
        EQUAL[[0, 1, 3, 4, 5, 7, 8][self.below(7)]]
    }

    pub(super) fn scalar_subquery(&mut self) -> Pair {
        let [left, right] = self.correlated();
        let call = self.computed_aggregate();
        if self.below(3) == 0 {
            let args = [
                call,
                self.filtered(),
                self.plain_aggregate(),
                self.filtered(),
            ];
            let template = format!(
                "select id, (select {{0}} from {{1}} y where y.{right} = x.{left}), (select {{2}} from {{3}} z) from {{t}} x"
            );
            return fill(&template, &args);
        }
        let template = format!(
            "select id, (select {{0}} from {{1}} y where y.{right} = x.{left}) from {{t}} x"
        );
        fill(&template, &[call, self.filtered()])
    }

    /// An aggregate, or what is computed from one, over rows that may not be there.
    fn computed_aggregate(&mut self) -> Pair {
        let call = self.plain_aggregate();
        match self.below(3) {
            0 => same(self.one(&[
                "max(y.b) % 7",
                "max(y.s) || 'x'",
                "max(y.f) * 0.5",
                "- max(y.d)",
                "coalesce(max(y.id), 0) + 1",
                "max(y.id) - count(*)",
                "cast(max(y.d) as bigint)",
                "upper(max(y.s))",
            ])),
            _ => call,
        }
    }

    /// A value beside another one, in a condition.
    pub(super) fn compared_subquery(&mut self) -> Pair {
        let [left, right] = self.correlated();
        let inside = match self.below(2) {
            0 => String::new(),
            _ => format!(" where y.{right} = x.{left}"),
        };
        let operator = self.one(&["=", "<>", "<", ">=", "is distinct from"]);
        let column = self.one(&["b", "k", "d", "s", "dt"]);
        let call = self.one(&["min", "max"]);
        let also = self.one(&["", "", " or x.id < 4", " and x.o is not true"]);
        let template = format!(
            "select id from {{t}} x where x.{column} {operator} (select {call}(y.{column}) from {{0}} y{inside}){also}"
        );
        fill(&template, &[self.filtered()])
    }

    pub(super) fn lateral(&mut self) -> Pair {
        let [left, right] = self.correlated();
        let rows = match self.below(2) {
            0 => {
                let args = [
                    self.plain_aggregate(),
                    self.plain_aggregate(),
                    self.filtered(),
                ];
                let template = format!(
                    "select {{0}} as c, {{1}} as k from {{2}} y where y.{right} = x.{left}"
                );
                fill(&template, &args)
            }
            _ => {
                let args = [self.any(1), self.filtered()];
                let template =
                    format!("select {{0}} as c, y.k from {{1}} y where y.{right} = x.{left}");
                fill(&template, &args)
            }
        };
        let join = self.one(&[", lateral ({1}) z", " left join lateral ({1}) z on true"]);
        let filter = self.one(&[
            "",
            "",
            " where x.k = 1",
            " where x.k > 0 and z.k is not null",
        ]);
        let template = format!("select x.id, x.k, z.c, z.k from {{0}} x{join}{filter}");
        fill(&template, &[self.filtered(), rows])
    }
}
