//! Random expressions, each in both dialects. What the dialects mean differently on purpose is written so that both mean the same.

/// One expression.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl Pair {
    pub(super) fn is_statement(&self) -> bool {
        self.ours.starts_with("select ")
    }
}

/// Deepest nesting of operators.
const DEPTH_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Int,
    Dec,
    Float,
    Text,
    Bool,
    Date,
    Stamp,
    Instant,
}

pub(super) const KINDS: [Kind; 8] = [
    Kind::Int,
    Kind::Dec,
    Kind::Float,
    Kind::Text,
    Kind::Bool,
    Kind::Date,
    Kind::Stamp,
    Kind::Instant,
];

/// The generator; the same seed gives the same expressions.
pub(super) struct Generator {
    state: u64,
}

pub(super) fn same(text: impl Into<String>) -> Pair {
    let ours = text.into();
    Pair {
        theirs: ours.clone(),
        ours,
    }
}

/// Fills `{0}`, `{1}`, … of one template.
pub(super) fn fill(template: &str, args: &[Pair]) -> Pair {
    fill_both(template, template, args)
}

pub(super) fn fill_both(ours: &str, theirs: &str, args: &[Pair]) -> Pair {
    let mut pair = Pair {
        ours: ours.to_owned(),
        theirs: theirs.to_owned(),
    };
    for (at, arg) in args.iter().enumerate() {
        let mark = format!("{{{at}}}");
        pair.ours = pair.ours.replace(&mark, &arg.ours);
        pair.theirs = pair.theirs.replace(&mark, &arg.theirs);
    }
    pair
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }

    pub(super) fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    pub(super) fn batch(&mut self, size: usize, make: fn(&mut Self) -> Pair) -> Vec<Pair> {
        (0..size).map(|_| make(self)).collect()
    }

    pub(super) fn expression(&mut self) -> Pair {
        let kind = KINDS[self.below(KINDS.len())];
        self.of(kind, DEPTH_MAX)
    }

    pub(super) fn predicate(&mut self) -> Pair {
        let depth = 1 + self.below(2);
        self.of(Kind::Bool, depth)
    }

    pub(super) fn aggregate(&mut self) -> Pair {
        let filter = match self.below(4) {
            0 => fill(" filter (where {0})", &[self.of(Kind::Bool, 1)]),
            _ => same(""),
        };
        let kind = KINDS[self.below(KINDS.len())];
        let arg = match (kind, self.below(3)) {
            (Kind::Dec, 0) => self.wide(),
            _ => self.of(kind, 1),
        };
        let call = match (kind, self.below(7)) {
            (Kind::Text, 5) => fill("string_agg({0}, '|' order by id)", &[arg]),
            (_, 5) => fill("array_agg({0} order by id)", &[arg]),
            (Kind::Int | Kind::Dec, 6) => fill("sum(distinct {0})", &[arg]),
            (_, 6) => fill_both(
                "first_value({0} order by id desc)",
                "first({0} order by id desc)",
                &[arg],
            ),
            (_, 0) => fill("count({0})", &[arg]),
            (_, 1) => fill("count(distinct {0})", &[arg]),
            (Kind::Bool, _) => fill("bool_and({0})", &[arg]),
            (_, 2) => fill("min({0})", &[arg]),
            (_, 3) => fill("max({0})", &[arg]),
            // The order in which floats are added up is each engine's own.
            (Kind::Int | Kind::Dec, _) => fill("sum({0})", &[arg]),
            _ => fill("count({0})", &[arg]),
        };
        fill("{0}{1}", &[call, filter])
    }

    pub(super) fn of(&mut self, kind: Kind, depth: usize) -> Pair {
        if depth == 0 || self.below(6) == 0 {
            return self.leaf(kind);
        }
        let depth = depth - 1;
        match self.below(15) {
            4 => {
                let key = KINDS[self.below(KINDS.len())];
                let args = [
                    self.of(key, depth),
                    self.leaf(key),
                    self.of(kind, depth),
                    self.leaf(key),
                    self.of(kind, depth),
                ];
                return fill("(case {0} when {1} then {2} when {3} then {4} end)", &args);
            }
            0 => {
                let args = [
                    self.of(Kind::Bool, depth),
                    self.of(kind, depth),
                    self.of(kind, depth),
                ];
                return fill("(case when {0} then {1} else {2} end)", &args);
            }
            1 => {
                let args = [self.of(kind, depth), self.of(kind, depth)];
                return fill("coalesce({0}, {1})", &args);
            }
            2 if kind != Kind::Bool => {
                let args = [self.of(kind, depth), self.of(kind, depth)];
                return fill("nullif({0}, {1})", &args);
            }
            3 if kind != Kind::Bool => {
                let args = [self.of(kind, depth), self.of(kind, depth)];
                let name = self.one(&["greatest", "least"]);
                return fill(&format!("{name}({{0}}, {{1}})"), &args);
            }
            _ => {}
        }
        match kind {
            Kind::Int => self.int(depth),
            Kind::Dec => self.dec(depth),
            Kind::Float => self.float(depth),
            Kind::Text => self.text(depth),
            Kind::Bool => self.bool(depth),
            Kind::Date => self.date(depth),
            Kind::Stamp => self.stamp(depth, Kind::Stamp),
            Kind::Instant => self.stamp(depth, Kind::Instant),
        }
    }

    pub(super) fn int(&mut self, depth: usize) -> Pair {
        match self.below(17) {
            16 => self.narrowed(depth),
            12 => {
                let kind = self.one(&["smallint", "integer", "tinyint"]);
                let small = same(self.one(&["k", "id", "i", "b"]));
                fill(
                    &format!("cast(case when abs({{0}}) < 100 then {{0}} end as {kind})"),
                    &[small],
                )
            }
            13 => fill(
                "cast(case when abs({0}) < 1e15 then {0} end as bigint)",
                &[self.of(Kind::Float, depth)],
            ),
            14 => fill("cast({0} as bigint)", &[same(self.one(&["d", "d * 0.5"]))]),
            15 => fill("cast({0} as integer)", &[self.of(Kind::Bool, depth)]),
            0..=2 => {
                let operator = self.one(&["+", "-", "*"]);
                let args = [self.of(Kind::Int, depth), self.of(Kind::Int, depth)];
                fill(&format!("({{0}} {operator} {{1}})"), &args)
            }
            3 => {
                let args = [self.of(Kind::Int, depth), self.of(Kind::Int, depth)];
                fill_both("({0} / nullif({1}, 0))", "({0} // nullif({1}, 0))", &args)
            }
            4 => {
                let args = [self.of(Kind::Int, depth), self.of(Kind::Int, depth)];
                fill("({0} % nullif({1}, 0))", &args)
            }
            5 => fill("abs({0})", &[self.of(Kind::Int, depth)]),
            6 => fill("(- {0})", &[self.of(Kind::Int, depth)]),
            7 => fill("cast(length({0}) as bigint)", &[self.of(Kind::Text, depth)]),
            8 => {
                let args = [self.of(Kind::Text, depth), self.of(Kind::Text, 0)];
                fill("cast(strpos({0}, {1}) as bigint)", &args)
            }
            9 => {
                let field = self.one(&["year", "month", "day", "quarter", "week", "dow", "doy"]);
                let moment = match self.below(3) {
                    0 => self.of(Kind::Date, depth),
                    1 => self.of(Kind::Stamp, depth),
                    _ => self.of(Kind::Instant, depth),
                };
                fill(
                    &format!("cast(extract({field} from {{0}}) as bigint)"),
                    &[moment],
                )
            }
            10 => {
                let field = self.one(&["hour", "minute", "second", "millisecond"]);
                let moment = self.of(Kind::Stamp, depth);
                fill(
                    &format!("cast(extract({field} from {{0}}) as bigint)"),
                    &[moment],
                )
            }
            _ => fill(
                "cast(cast({0} as varchar) as bigint)",
                &[self.of(Kind::Int, depth)],
            ),
        }
    }

    pub(super) fn dec(&mut self, depth: usize) -> Pair {
        match self.below(13) {
            12 => self.rescaled(depth),
            9 => fill("round({0}, 1)", &[self.of(Kind::Dec, depth)]),
            10 => fill("({0} % 0.7)", &[same(self.one(&["d", "(d + 1)"]))]),
            11 => fill(
                "cast(case when abs({0}) < 1e6 then {0} end as decimal(20,4))",
                &[self.of(Kind::Float, depth)],
            ),
            0..=2 => {
                let operator = self.one(&["+", "-"]);
                let args = [self.of(Kind::Dec, depth), self.of(Kind::Dec, depth)];
                fill(&format!("({{0}} {operator} {{1}})"), &args)
            }
            3 => {
                let literal = self.one(&["2.5", "0.1", "-1.05", "100.0"]);
                fill(&format!("(d * {literal})"), &[])
            }
            4 => fill("(- {0})", &[self.of(Kind::Dec, depth)]),
            5 => fill("abs({0})", &[self.of(Kind::Dec, depth)]),
            6 => {
                let kind = self.one(&[
                    "decimal(10,1)",
                    "decimal(20,4)",
                    "decimal(38,2)",
                    "decimal(4,2)",
                ]);
                fill(
                    &format!("cast({{0}} as {kind})"),
                    &[self.of(Kind::Dec, depth)],
                )
            }
            7 => {
                let kind = self.one(&["decimal(38,0)", "decimal(20,2)"]);
                fill(
                    &format!("cast({{0}} as {kind})"),
                    &[self.of(Kind::Int, depth)],
                )
            }
            _ => fill("(d + {0})", &[same(self.one(&["1", "0.2", "-7"]))]),
        }
    }

    /// Decimals of 38 digits, which have no room for the digits of a peer.
    pub(super) fn wide(&mut self) -> Pair {
        same(self.one(&[
            "w",
            "e",
            "(w - w)",
            "(e + e)",
            "(- w)",
            "abs(e)",
            "nullif(e, e)",
            "greatest(w, - w)",
        ]))
    }

    pub(super) fn float(&mut self, depth: usize) -> Pair {
        match self.below(12) {
            9 => fill("round({0})", &[self.of(Kind::Float, depth)]),
            10 => fill("cast({0} as real)", &[self.of(Kind::Float, depth)]),
            11 => {
                let args = [self.of(Kind::Float, depth), self.of(Kind::Int, depth)];
                fill("({0} + {1})", &args)
            }
            0..=3 => {
                let operator = self.one(&["+", "-", "*", "/", "%"]);
                let args = [self.of(Kind::Float, depth), self.of(Kind::Float, depth)];
                // The sign of a zero is lost where floats are compared.
                fill(&format!("({{0}} {operator} ({{1}} + 0e0))"), &args)
            }
            4 => fill("abs({0})", &[self.of(Kind::Float, depth)]),
            5 => {
                let name = self.one(&["floor", "ceil"]);
                fill(&format!("{name}({{0}})"), &[self.of(Kind::Float, depth)])
            }
            6 => fill("cast({0} as double)", &[self.of(Kind::Int, depth)]),
            7 => fill("cast(d as double)", &[]),
            _ => fill("({0} * 0.5)", &[self.of(Kind::Float, depth)]),
        }
    }

    pub(super) fn text(&mut self, depth: usize) -> Pair {
        match self.below(19) {
            14 => {
                let name = self.one(&["upper", "md5"]);
                fill(&format!("{name}({{0}})"), &[self.of(Kind::Text, depth)])
            }
            15 => {
                let args = [self.of(Kind::Text, depth), self.of(Kind::Text, 0)];
                fill("concat_ws('-', {0}, {1}, 'x')", &args)
            }
            16 => fill(
                "translate({0}, 'aeï_', 'AE')",
                &[self.of(Kind::Text, depth)],
            ),
            17 => {
                let side = self.one(&["ltrim({0}, 'u ')", "rtrim({0}, '% x')", "trim({0}, 'a1')"]);
                let ours = side.replace("trim({0}, 'a1')", "btrim({0}, 'a1')");
                fill_both(&ours, side, &[self.of(Kind::Text, depth)])
            }
            18 => fill(
                "regexp_replace({0}, '[a-z]+', '<x>', 'g')",
                &[self.of(Kind::Text, depth)],
            ),
            0 | 1 => {
                let args = [self.of(Kind::Text, depth), self.of(Kind::Text, depth)];
                fill("({0} || {1})", &args)
            }
            2 => {
                let name = self.one(&["lower", "reverse", "trim", "ltrim", "rtrim"]);
                fill(&format!("{name}({{0}})"), &[self.of(Kind::Text, depth)])
            }
            3 => {
                let start = 1 + self.below(4);
                let count = self.below(4);
                fill(
                    &format!("substr({{0}}, {start}, {count})"),
                    &[self.of(Kind::Text, depth)],
                )
            }
            4 => {
                let args = [
                    self.of(Kind::Text, depth),
                    same(self.one(&["'a'", "'_'", "'user'", "'ï'"])),
                    self.of(Kind::Text, 0),
                ];
                fill("replace({0}, {1}, {2})", &args)
            }
            5 => {
                let name = self.one(&["left", "right"]);
                let count = self.below(5);
                fill(
                    &format!("{name}({{0}}, {count})"),
                    &[self.of(Kind::Text, depth)],
                )
            }
            6 => {
                let name = self.one(&["lpad", "rpad"]);
                let count = self.below(9);
                fill(
                    &format!("{name}({{0}}, {count}, 'xy')"),
                    &[self.of(Kind::Text, depth)],
                )
            }
            7 => {
                let count = self.below(4);
                fill(
                    &format!("repeat({{0}}, {count})"),
                    &[self.of(Kind::Text, depth)],
                )
            }
            8 => {
                let at = 1 + self.below(3);
                fill(
                    &format!("split_part({{0}}, '_', {at})"),
                    &[self.of(Kind::Text, depth)],
                )
            }
            9 => fill("cast({0} as varchar)", &[self.of(Kind::Int, depth)]),
            10 => fill("cast({0} as varchar)", &[self.of(Kind::Date, depth)]),
            11 => fill("cast({0} as varchar)", &[self.of(Kind::Bool, depth)]),
            12 => {
                let args = [self.of(Kind::Text, depth), self.of(Kind::Text, 0)];
                fill("concat({0}, '-', {1})", &args)
            }
            _ => fill("cast(d as varchar)", &[]),
        }
    }
}
