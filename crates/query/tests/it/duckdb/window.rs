//! Random window functions: each is one value a row, whatever order the engine works in.

use super::generate::{Generator, KINDS, Kind, Pair, fill, same};

impl Generator {
    pub(super) fn window(&mut self) -> Pair {
        match self.below(5) {
            0 => self.ranked(),
            1 => self.shifted(),
            2 => self.picked(),
            _ => self.aggregated(),
        }
    }

    fn partition(&mut self) -> &'static str {
        self.one(&["", "partition by k", "partition by o", "partition by s, k"])
    }

    /// A key with its direction, as the last word of which comes what makes rows differ.
    fn key(&mut self, is_unique: bool) -> Pair {
        let kind = KINDS[self.below(KINDS.len())];
        let direction = self.one(&["asc", "desc"]);
        let nulls = self.one(&["first", "last"]);
        let id = if is_unique { ", id" } else { "" };
        let template = format!("order by {{0}} {direction} nulls {nulls}{id}");
        fill(&template, &[self.of(kind, 1)])
    }

    /// Ties have one rank; a row number needs an order without ties.
    fn ranked(&mut self) -> Pair {
        let of_ties = ["rank()", "dense_rank()", "percent_rank()", "cume_dist()"];
        let is_unique = self.below(2) == 0;
        let call = match is_unique {
            true => self.one(&["row_number()", "ntile(5)"]),
            false => self.one(&of_ties),
        };
        let partition = self.partition();
        let key = self.key(is_unique);
        fill(&format!("{call} over ({partition} {{0}})"), &[key])
    }

    fn shifted(&mut self) -> Pair {
        let call = self.one(&["lag", "lead"]);
        let by = self.below(4);
        let partition = self.partition();
        let kind = KINDS[self.below(KINDS.len())];
        let args = [self.of(kind, 1), self.key(true)];
        fill(
            &format!("{call}({{0}}, {by}) over ({partition} {{1}})"),
            &args,
        )
    }

    fn picked(&mut self) -> Pair {
        let call = self.one(&["first_value({0})", "last_value({0})", "nth_value({0}, 2)"]);
        let partition = self.partition();
        let frame = self.rows();
        let kind = KINDS[self.below(KINDS.len())];
        let args = [self.of(kind, 1), self.key(true)];
        fill(&format!("{call} over ({partition} {{1}} {frame})"), &args)
    }

    fn aggregated(&mut self) -> Pair {
        let call = self.plain_aggregate();
        let partition = self.partition();
        // Without a frame the rows that tie with this one count too.
        let (key, frame) = match self.below(4) {
            0 => (self.key(false), ""),
            1 => (self.key(false), self.groups()),
            2 => self.ranged(),
            _ => (self.key(true), self.rows()),
        };
        fill(
            &format!("{{0}} over ({partition} {{1}} {frame})"),
            &[call, key],
        )
    }

    /// An aggregate whose value does not depend on the order of rows.
    pub(super) fn plain_aggregate(&mut self) -> Pair {
        let kind = KINDS[self.below(KINDS.len())];
        let arg = self.of(kind, 1);
        match (kind, self.below(4)) {
            (_, 0) => fill("count({0})", &[arg]),
            (Kind::Int | Kind::Dec, 1) => fill("sum({0})", &[arg]),
            // `bool_or` has no moving frames, and `min` no booleans.
            (Kind::Bool, _) => fill("count({0})", &[arg]),
            (_, 2) => fill("min({0})", &[arg]),
            _ => fill("max({0})", &[arg]),
        }
    }

    fn rows(&mut self) -> &'static str {
        self.one(&[
            "rows between unbounded preceding and current row",
            "rows between 2 preceding and 1 following",
            "rows between 3 preceding and 1 preceding",
            "rows between 1 following and unbounded following",
            "rows between current row and current row",
            "rows between 1 following and 3 following",
        ])
    }

    fn groups(&mut self) -> &'static str {
        self.one(&[
            "groups between 1 preceding and 1 following",
            "groups between unbounded preceding and current row",
            "groups between 2 preceding and 1 preceding",
            "groups between 1 following and 2 following",
        ])
    }

    /// A key with a frame of values around its own.
    fn ranged(&mut self) -> (Pair, &'static str) {
        let column = self.one(&["id", "k", "b", "d", "d", "f", "dt", "ts"]);
        let direction = self.one(&["asc", "desc"]);
        let nulls = self.one(&["first", "last"]);
        let frame = match column {
            "dt" | "ts" => self.one(&[
                "range between interval '40 days' preceding and current row",
                "range between interval '36 hours' preceding and interval '1 year' following",
                "range between unbounded preceding and interval '2 months' following",
            ]),
            "d" | "f" => self.one(&[
                "range between 1.5 preceding and 2.25 following",
                "range between 0.005 preceding and current row",
                "range between current row and 100 following",
                "range between unbounded preceding and 1.5 following",
            ]),
            _ => self.one(&[
                "range between 5 preceding and 2 following",
                "range between current row and unbounded following",
                "range between 1000000 preceding and current row",
            ]),
        };
        let key = format!("order by {column} {direction} nulls {nulls}");
        (same(key), frame)
    }
}
