//! Random statements: joins, subqueries, sets, groups and orders, over expressions of the generator.
//!
//! `{t}` is the table. The order of rows is not compared: where it matters a statement has a `LIMIT` over an order without ties.

use super::generate::{Generator, KINDS, Kind, Pair, fill, fill_both, same};

/// Columns of the table that compare with each other.
const EQUAL: [[&str; 2]; 14] = [
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
    pub(super) fn statement(&mut self) -> Pair {
        let made = match self.below(9) {
            0 | 1 => self.join(),
            2 => self.membership(),
            3 => self.existence(),
            4 => self.scalar_subquery(),
            5 => self.set_operation(),
            6 => self.grouping(),
            7 => self.limit(),
            _ => self.distinct(),
        };
        Pair {
            ours: made.ours.replace("{t}", "a.t"),
            theirs: made.theirs.replace("{t}", "t"),
        }
    }

    fn columns(&mut self) -> [&'static str; 2] {
        EQUAL[self.below(EQUAL.len())]
    }

    fn filtered(&mut self) -> Pair {
        match self.below(3) {
            0 => same("{t}"),
            _ => {
                let predicate = self.predicate();
                fill("(select * from {t} where {0})", &[predicate])
            }
        }
    }

    fn any(&mut self, depth: usize) -> Pair {
        let kind = KINDS[self.below(KINDS.len())];
        self.of(kind, depth)
    }

    fn join(&mut self) -> Pair {
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

    fn membership(&mut self) -> Pair {
        let [left, right] = self.columns();
        let not = self.one(&["", "not "]);
        let also = self.one(&["", " or id < 3", " and o is not false"]);
        let template = format!(
            "select id from {{t}} where {left} {not}in (select {right} from {{0}} y){also}"
        );
        fill(&template, &[self.filtered()])
    }

    fn existence(&mut self) -> Pair {
        let [left, right] = self.columns();
        let not = self.one(&["", "not "]);
        let more = self.one(&["", " and y.id <> x.id", " and y.id < x.id", " and y.o"]);
        let template = format!(
            "select id from {{0}} x where {not}exists (select 1 from {{1}} y where y.{right} = x.{left}{more})"
        );
        fill(&template, &[self.filtered(), self.filtered()])
    }

    fn scalar_subquery(&mut self) -> Pair {
        // A correlation by floats is refused here.
        let [left, right] = EQUAL[[0, 1, 3, 4, 5, 7, 8][self.below(7)]];
        let call = self.plain_aggregate();
        let template = format!(
            "select id, (select {{0}} from {{1}} y where y.{right} = x.{left}) from {{t}} x"
        );
        fill(&template, &[call, self.filtered()])
    }

    fn set_operation(&mut self) -> Pair {
        let operator = self.one(&["union", "union all", "intersect", "except"]);
        let kind = KINDS[self.below(KINDS.len())];
        let args = [
            self.of(kind, 1),
            self.filtered(),
            self.of(kind, 1),
            self.filtered(),
        ];
        let template =
            format!("select {{0}} as v from {{1}} x {operator} select {{2}} as v from {{3}} y");
        fill(&template, &args)
    }

    fn grouping(&mut self) -> Pair {
        let sets = self.one(&[
            "rollup(v, k)",
            "cube(v, o)",
            "grouping sets ((v), (k, o), ())",
            "v, k",
        ]);
        let having = self.one(&["", "", " having count(*) > 2", " having min(f) < 1"]);
        let args = [
            self.any(1),
            self.filtered(),
            self.plain_aggregate(),
            self.plain_aggregate(),
        ];
        let template = format!(
            "select v, {{2}}, {{3}}, count(*) from (select *, {{0}} as v from {{1}} x) x group by {sets}{having}"
        );
        fill(&template, &args)
    }

    fn limit(&mut self) -> Pair {
        let direction = self.one(&["asc", "desc"]);
        let nulls = self.one(&["first", "last"]);
        let count = 1 + self.below(9);
        let skipped = self.below(5);
        let template = format!(
            "select id, v from (select *, {{0}} as v from {{1}} x) x order by v {direction} nulls {nulls}, id limit {count} offset {skipped}"
        );
        fill(&template, &[self.any(1), self.filtered()])
    }

    fn distinct(&mut self) -> Pair {
        match self.below(3) {
            0 => {
                let args = [self.any(1), self.filtered()];
                fill(
                    "select distinct on (k) k, {0} from {1} x order by k nulls last, id",
                    &args,
                )
            }
            1 => {
                let args = [self.any(1), self.any(1), self.filtered()];
                fill("select distinct {0}, {1} from {2} x", &args)
            }
            _ => {
                let kind = [Kind::Float, Kind::Dec, Kind::Text][self.below(3)];
                let args = [self.of(kind, 1), self.filtered()];
                let template = "select k, count(distinct {0}), count(*) filter (where {0} is null) from {1} x group by k";
                fill_both(template, template, &args)
            }
        }
    }
}
