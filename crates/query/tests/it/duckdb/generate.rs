//! Random expressions, each in both dialects. What the dialects mean differently on purpose is written so that both mean the same.

/// One expression.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) ours: String,
    pub(super) theirs: String,
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

const KINDS: [Kind; 8] = [
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

fn fill_both(ours: &str, theirs: &str, args: &[Pair]) -> Pair {
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
        let arg = self.of(kind, 1);
        let call = match (kind, self.below(5)) {
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
        match self.below(14) {
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

    pub(super) fn leaf(&mut self, kind: Kind) -> Pair {
        let column = match kind {
            Kind::Int => self.one(&["b", "id", "k"]),
            Kind::Dec => self.one(&["d", "d", "w"]),
            Kind::Float => "f",
            Kind::Text => self.one(&["s", "r"]),
            Kind::Bool => "o",
            Kind::Date => "dt",
            Kind::Stamp => "ts",
            Kind::Instant => "tz",
        };
        if self.below(5) < 3 {
            return same(column);
        }
        if self.below(12) == 0 {
            let name = match kind {
                Kind::Int => "bigint",
                Kind::Dec => "decimal(10,2)",
                Kind::Float => "double",
                Kind::Text => "varchar",
                Kind::Bool => "boolean",
                Kind::Date => "date",
                Kind::Stamp => "timestamp",
                Kind::Instant => "timestamptz",
            };
            return same(format!("cast(null as {name})"));
        }
        match kind {
            Kind::Int => {
                let value = self.one(&[
                    "0",
                    "1",
                    "-1",
                    "2",
                    "7",
                    "100",
                    "1000000007",
                    "-9223372036854775807",
                    "9223372036854775807",
                ]);
                same(format!("cast({value} as bigint)"))
            }
            Kind::Dec => same(*self.one(&[
                &"0.0",
                &"1.5",
                &"-2.25",
                &"8.13",
                &"0.05",
                &"100.00",
                &"-0.01",
                &"12345678901234567890.5",
            ])),
            Kind::Float => {
                let value = self.one(&[
                    "0.0", "1.0", "-1.5", "0.1", "1e10", "8.13", "-1e-300", "nan", "inf", "-inf",
                ]);
                same(format!("cast('{value}' as double)"))
            }
            Kind::Text => {
                let value =
                    self.one(&["", "a", "user", "_", "%", "\\", "naïve", "日", "it''s", "B"]);
                same(format!("'{value}'"))
            }
            Kind::Bool => same(self.one(&["true", "false"])),
            Kind::Date => {
                let value = self.one(&[
                    "0001-01-01",
                    "1600-02-29",
                    "1969-12-31",
                    "2000-02-29",
                    "2024-03-31",
                    "9999-12-31",
                ]);
                same(format!("date '{value}'"))
            }
            Kind::Stamp => {
                let value = self.one(&[
                    "0001-01-01 00:00:00",
                    "1677-01-01 01:02:03.5",
                    "1969-12-31 23:59:59.999999",
                    "2024-03-31 02:30:00",
                    "9999-12-31 23:59:59",
                ]);
                same(format!("timestamp '{value}'"))
            }
            Kind::Instant => {
                let value = self.one(&[
                    "0001-01-02 00:00:00+00",
                    "1600-01-01 01:02:03+00",
                    "2024-10-27 00:30:00+00",
                    "9999-12-30 23:59:59+00",
                ]);
                same(format!("timestamptz '{value}'"))
            }
        }
    }

    pub(super) fn int(&mut self, depth: usize) -> Pair {
        match self.below(12) {
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
                let field = self.one(&["hour", "minute"]);
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
        match self.below(9) {
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

    pub(super) fn float(&mut self, depth: usize) -> Pair {
        match self.below(9) {
            0..=3 => {
                let operator = self.one(&["+", "-", "*", "/"]);
                let args = [self.of(Kind::Float, depth), self.of(Kind::Float, depth)];
                fill(&format!("({{0}} {operator} {{1}})"), &args)
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
        match self.below(14) {
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

    pub(super) fn bool(&mut self, depth: usize) -> Pair {
        match self.below(13) {
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
