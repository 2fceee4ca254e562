//! Random comparisons with subqueries, named windows and ordered lists.

use super::generate::{Generator, Pair, fill, fill_both};

impl Generator {
    /// The table inside is called as the one outside, in some.
    pub(super) fn quantified(&mut self) -> Pair {
        let column = self.one(&["id", "k", "b", "d", "s", "dt"]);
        let operator = self.one(&["=", "<>", "<", "<=", ">", ">="]);
        let quantifier = self.one(&["any", "all"]);
        let [inside, condition] = match self.below(3) {
            0 => ["x", ""],
            1 => ["y", " where y.k = x.k"],
            _ => ["y", ""],
        };
        let test = format!(
            "x.{column} {operator} {quantifier} (select {inside}.{column} from {{0}} {inside}{condition})"
        );
        let template = match self.below(3) {
            0 => format!("select id, {test} from {{t}} x"),
            1 => format!("select id from {{t}} x where {test} or id = 3"),
            _ => format!("select id from {{t}} x where {test}"),
        };
        fill(&template, &[self.filtered()])
    }

    pub(super) fn named_window(&mut self) -> Pair {
        let partition = self.one(&["partition by k", "partition by o", "partition by s, k", ""]);
        let frame = self.one(&[
            "",
            "rows 2 preceding",
            "rows between 1 preceding and 1 following",
        ]);
        let direction = self.one(&["asc", "desc"]);
        // DuckDB forgets the partition of a window that is built on one which is built on another.
        let over = self.one(&["w", "(w)", "(w order by id {d} {f})", "v"]);
        let over = over.replace("{d}", direction).replace("{f}", frame);
        let template = format!(
            "select id, {{0}} over {over}, count(*) over w from {{1}} x window w as ({partition}), v as (w order by id {direction})"
        );
        let args = [self.plain_aggregate(), self.filtered()];
        fill(&template, &args)
    }

    pub(super) fn ordered_lists(&mut self) -> Pair {
        let direction = self.one(&["asc", "desc"]);
        let nulls = self.one(&["first", "last"]);
        let groups = self.one(&["group by k", "group by k, o", ""]);
        let limit = self.one(&["", " order by id limit 7", " order by k, id desc limit 9"]);
        let template = format!(
            "select array_agg(id order by d {direction} nulls {nulls}, id), array_agg(id order by id desc), {{first}}(id order by id), string_agg(cast(id as varchar), ',' order by id {direction}) from (select * from {{0}} x{limit}) x {groups}"
        );
        let of = |first| template.replace("{first}", first);
        fill_both(&of("first_value"), &of("first"), &[self.filtered()])
    }
}
