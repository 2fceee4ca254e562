//! Random statements: sets, groups and orders over expressions of the generator; [`super::join`] and [`super::subquery`] have the rest.
//!
//! `{t}` is the table. The order of rows is not compared: where it matters a statement has a `LIMIT` over an order without ties.

use super::generate::{Generator, KINDS, Kind, Pair, fill, fill_both, same};

impl Generator {
    pub(super) fn statement(&mut self) -> Pair {
        let made = match self.below(18) {
            0 | 1 => self.join(),
            2 => self.membership(),
            3 => self.existence(),
            4 => self.scalar_subquery(),
            5 => self.set_operation(),
            6 => self.grouping(),
            7 => self.limit(),
            8 => self.using(),
            9 => self.compared_subquery(),
            10 => self.distinct_join(),
            11 => self.lateral(),
            12 => self.row_membership(),
            13 => self.looked_up(),
            14 => self.quantified(),
            15 => self.named_window(),
            16 => self.ordered_lists(),
            _ => self.distinct(),
        };
        Pair {
            ours: made.ours.replace("{t}", "a.t"),
            theirs: made.theirs.replace("{t}", "t"),
        }
    }

    pub(super) fn filtered(&mut self) -> Pair {
        match self.below(3) {
            0 => same("{t}"),
            _ => {
                let predicate = self.predicate();
                fill("(select * from {t} where {0})", &[predicate])
            }
        }
    }

    pub(super) fn any(&mut self, depth: usize) -> Pair {
        let kind = KINDS[self.below(KINDS.len())];
        self.of(kind, depth)
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
            "rollup(k, v)",
            "rollup((v, k), o)",
            "rollup(o, (k, v))",
            "cube((v, k), o)",
            "grouping sets (rollup(v, k), (o))",
            "grouping sets (cube(v), k, (v, (k, o)))",
            "(v, k), o",
            "v, rollup(k)",
            "cube(v, o)",
            "cube(v, k, o)",
            "grouping sets ((v), (k, o), ())",
            "grouping sets ((v, k), (v), (k))",
            "v, k",
        ]);
        let level = match sets {
            "v, k" | "v, rollup(k)" | "(v, k), o" => "",
            _ => ", grouping(v)",
        };
        let having = self.one(&["", "", " having count(*) > 2", " having min(f) < 1"]);
        let args = [
            self.any(1),
            self.filtered(),
            self.plain_aggregate(),
            self.plain_aggregate(),
        ];
        let template = format!(
            "select v, {{2}}, {{3}}, count(*){level} from (select *, {{0}} as v from {{1}} x) x group by {sets}{having}"
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
