//! Random predicates.

use super::generate::{Generator, KINDS, Kind, Pair, fill, fill_both, same};

impl Generator {
    pub(super) fn bool(&mut self, depth: usize) -> Pair {
        match self.below(14) {
            12 => {
                let operator = self.one(&["=", "<", ">=", "is distinct from"]);
                let column = self.one(&["w", "e"]);
                let peer = self.one(&["{0}", "- {0}", "{0} - {0}", "abs({0})"]);
                fill(&format!("({{0}} {operator} {peer})"), &[same(column)])
            }
            0..=3 => {
                let kind = KINDS[self.below(KINDS.len())];
                let operator = self.one(&[
                    "=",
                    "<>",
                    "<",
                    "<=",
                    ">",
                    ">=",
                    "is distinct from",
                    "is not distinct from",
                ]);
                let args = [self.of(kind, depth), self.of(kind, depth)];
                fill(&format!("({{0}} {operator} {{1}})"), &args)
            }
            4 => {
                let args = [self.of(Kind::Bool, depth), self.of(Kind::Bool, depth)];
                let operator = self.one(&["and", "or"]);
                fill(&format!("({{0}} {operator} {{1}})"), &args)
            }
            5 => fill("(not {0})", &[self.of(Kind::Bool, depth)]),
            6 => {
                let kind = KINDS[self.below(KINDS.len())];
                let test = self.one(&["is null", "is not null"]);
                fill(&format!("({{0}} {test})"), &[self.of(kind, depth)])
            }
            7 => {
                let kind = KINDS[self.below(KINDS.len())];
                let args = [
                    self.of(kind, depth),
                    self.leaf(kind),
                    self.leaf(kind),
                    self.leaf(kind),
                ];
                let not = self.one(&["", "not "]);
                fill(&format!("({{0}} {not}in ({{1}}, {{2}}, {{3}}))"), &args)
            }
            8 => {
                let kind = KINDS[self.below(KINDS.len())];
                let args = [self.of(kind, depth), self.leaf(kind), self.leaf(kind)];
                fill("({0} between {1} and {2})", &args)
            }
            9 => {
                let pattern = self.one(&[
                    "user!_%", "%!%%", "a%", "_", "%ï%", "user_%", "", "!!%", "user!_1", "%1",
                ]);
                let not = self.one(&["", "not "]);
                let like = self.one(&["like", "like", "ilike"]);
                let subject = [self.of(Kind::Text, depth)];
                fill(
                    &format!("({{0}} {not}{like} '{pattern}' escape '!')"),
                    &subject,
                )
            }
            10 => {
                // The default escape of DuckDB is none, so it is named there.
                let pattern = self.one(&["user\\_%", "a\\\\%", "100\\%", "%x", "user\\_1"]);
                let subject = [self.of(Kind::Text, depth)];
                fill_both(
                    &format!("({{0}} like '{pattern}')"),
                    &format!("({{0}} like '{pattern}' escape '\\')"),
                    &subject,
                )
            }
            11 => {
                let prefix = self.one(&["user_", "a", "", "100%", "a\\", "日"]);
                fill(
                    &format!("starts_with({{0}}, '{prefix}')"),
                    &[self.of(Kind::Text, depth)],
                )
            }
            _ => self.mixed(depth),
        }
    }

    /// Comparisons of two types, and of columns with literals, which bounds of files can answer.
    fn mixed(&mut self, depth: usize) -> Pair {
        let operator = self.one(&["=", "<>", "<", "<=", ">", ">="]);
        match self.below(9) {
            0 => fill(
                &format!("(d {operator} {{0}})"),
                &[same(self.one(&["8.13", "0", "-2.5", "0.99"]))],
            ),
            1 => fill(
                &format!("(f {operator} {{0}})"),
                &[same(self.one(&[
                    "0.0",
                    "8.13",
                    "1",
                    "-1e300",
                    "cast('nan' as double)",
                ]))],
            ),
            2 => fill(&format!("(f {operator} cast(d as double))"), &[]),
            3 => fill(
                &format!("(ts {operator} '{{0}}')"),
                &[same(self.one(&[
                    "9999-12-31",
                    "1970-01-01 00:00:00",
                    "0001-01-01",
                ]))],
            ),
            4 => fill(&format!("(dt {operator} {{0}})"), &[self.leaf(Kind::Stamp)]),
            5 => fill(
                &format!("(dt {operator} '{{0}}')"),
                &[same(self.one(&["9999-12-31", "1970-01-01"]))],
            ),
            6 => fill(
                &format!("({{0}} {operator} d)"),
                &[self.of(Kind::Int, depth)],
            ),
            7 => fill(
                &format!("(cast(b as boolean) {operator} {{0}})"),
                &[self.leaf(Kind::Bool)],
            ),
            _ => fill(&format!("(s {operator} {{0}})"), &[self.leaf(Kind::Text)]),
        }
    }
}
