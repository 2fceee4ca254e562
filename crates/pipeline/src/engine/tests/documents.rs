//! Random pipelines with tight limits, a random fix for each, and random payloads for them.

use super::world::Dice;

/// The shape of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// One list of records.
    Document,
    /// Records at a path.
    Path,
    /// One record per line, detected by the name or the content.
    Lines,
    /// A document with a path on each line.
    PathLines,
    Csv,
    /// Each record, or a list of some, is pushed.
    Push,
}

impl Shape {
    pub(super) const ALL: [Self; 6] = [
        Self::Document,
        Self::Path,
        Self::Lines,
        Self::PathLines,
        Self::Csv,
        Self::Push,
    ];

    fn has_path(self) -> bool {
        matches!(self, Self::Path | Self::PathLines)
    }
}

/// A pipeline before and after its fix, and the content of its source.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) tight: String,
    pub(super) fixed: String,
    pub(super) payloads: Vec<(String, Vec<u8>)>,
}

/// A setting that is tight at first, and may be loosened.
fn setting<T>(dice: &mut Dice, tight: T, loose: T) -> (T, T)
where
    T: Clone,
{
    match (dice.is(50), dice.is(75)) {
        (false, _) => (loose.clone(), loose),
        (true, false) => (tight.clone(), tight),
        (true, true) => (tight, loose),
    }
}

impl Case {
    /// For display.
    pub(super) fn show(&self) -> String {
        let payloads = self.payloads.iter();
        let texts = payloads.map(|(name, bytes)| format!("{name}:\n{}", bytes.escape_ascii()));
        let texts: Vec<String> = texts.collect();
        format!("\n{}{}{}", self.tight, self.fixed, texts.join("\n"))
    }

    /// Whether the file, before or after the fix, declares this column of the table: `t.rows v`.
    pub(super) fn declares(&self, column: &str) -> bool {
        let name = column.rsplit(' ').next().unwrap_or(column);
        [&self.tight, &self.fixed]
            .iter()
            .any(|file| file.contains(&format!("{name}: {{type:")))
    }

    pub(super) fn new(shape: Shape, load: &str, dice: &mut Dice) -> Self {
        match shape {
            Shape::Csv => Self::csv(load, dice),
            _ => Self::json(shape, load, dice),
        }
    }

    fn json(shape: Shape, load: &str, dice: &mut Dice) -> Self {
        let depth = setting(dice, "3", "64");
        let record = setting(dice, "100B", "1MiB");
        let document = setting(dice, "450B", "1MiB");
        let children = setting(dice, "4", "1000");
        let required = setting(dice, "s: {required: true}", "s: {}");
        let exact = setting(dice, "s: {}", "v: {type: \"decimal(38, 19)\"}");
        let small = setting(dice, ", n: {check: \"value < 50\"}", "");
        let early = setting(dice, "id < 4", "id < 1000");
        let is_flat = load.contains("postgres");
        let nested = ["flatten", "keep", "tables"][dice.below(3) as usize];
        let nested = if is_flat { "flatten" } else { nested };
        let path = setting(dice, "data.wrong", "data.items");
        let is_quiet = matches!(shape, Shape::Lines | Shape::PathLines) && dice.is(70);
        let lines = match shape {
            Shape::Document | Shape::Path | Shape::Push => ("", ""),
            _ if is_quiet => setting(dice, "lines: false, ", ""),
            _ => setting(dice, "lines: false, ", "lines: true, "),
        };
        let source = match shape {
            Shape::Push => "push: {}".to_owned(),
            _ => "file: {path: \"data/*\"}".to_owned(),
        };
        let file = |n: usize| {
            let pick = |pair: (&'static str, &'static str)| [pair.0, pair.1][n];
            let records = match shape.has_path() {
                true => format!("records: {}, ", pick(path)),
                false => String::new(),
            };
            let mut columns = pick(required).to_owned();
            if pick(exact) != "s: {}" {
                columns = format!("{columns}, {}", pick(exact));
            }
            columns += pick(small);
            format!(
                "pipeline: p\nsource: {{{source}}}\nextract:\n  json: {{{records}{}nested: {nested}, limits: {{depth: {}, record: {}, document: {}, children: {}}}}}\nschema:\n  columns: {{{columns}}}\ntransform:\n  - check: [{{name: early, where: \"{}\"}}]\nload: {load}\n",
                pick(lines),
                pick(depth),
                pick(record),
                pick(document),
                pick(children),
                pick(early)
            )
        };
        let ending = if is_quiet && dice.is(50) {
            "log"
        } else {
            "ndjson"
        };
        let ending = match shape {
            Shape::Document | Shape::Path => "json",
            _ => ending,
        };
        let mut next = 0;
        let payloads = (0..=dice.below(3)).map(|n| {
            let count = dice.below(9);
            let records: Vec<String> = (0..count)
                .map(|_| json_record(&mut next, is_flat, dice))
                .collect();
            (format!("data/{n}.{ending}"), payload(shape, &records, dice))
        });
        let payloads = payloads.collect();
        Self {
            tight: file(0),
            fixed: file(1),
            payloads,
        }
    }

    fn csv(load: &str, dice: &mut Dice) -> Self {
        let ragged = setting(dice, "quarantine", "fill");
        let encoding = setting(dice, "utf-8", "latin1");
        let required = setting(dice, "b: {required: true}", "b: {}");
        let small = setting(dice, ", c: {check: \"value < 50\"}", "");
        let file = |n: usize| {
            let pick = |pair: (&'static str, &'static str)| [pair.0, pair.1][n];
            format!(
                "pipeline: p\nsource: {{file: {{path: \"data/*\"}}}}\nextract:\n  csv: {{ragged: {}, encoding: {}}}\nschema:\n  columns: {{{}, a: {{type: long}}{}}}\nload: {load}\n",
                pick(ragged),
                pick(encoding),
                pick(required),
                pick(small)
            )
        };
        let mut id = 0;
        let payloads = (0..=dice.below(3)).map(|n| {
            let mut text = b"id,a,b,c,d".to_vec();
            // A header that is not text rejects the whole file.
            text.extend_from_slice(if dice.is(20) { b"\xe9\n" } else { b"\n" });
            for _ in 0..dice.below(12) {
                id += 1;
                let a = if dice.is(15) { "x" } else { "7" };
                let b: &[u8] = match dice.below(20) {
                    0..4 => b"",
                    4 => b"text \xe9",
                    _ => b"text",
                };
                let rest = match dice.below(10) {
                    0 => String::new(),
                    1 => "\"never closed".to_owned(),
                    _ => {
                        let c = dice.below(100);
                        format!(",{c},{}", if c < 50 { "" } else { "text" })
                    }
                };
                text.extend_from_slice(format!("{id},{a},").as_bytes());
                text.extend_from_slice(b);
                text.extend_from_slice(format!("{rest}\n").as_bytes());
            }
            (format!("data/{n}.csv"), text)
        });
        let payloads = payloads.collect();
        Self {
            tight: file(0),
            fixed: file(1),
            payloads,
        }
    }
}

fn json_record(next: &mut u64, is_flat: bool, dice: &mut Dice) -> String {
    *next += 1;
    let mut fields = vec![format!("\"id\":{next}")];
    if !dice.is(15) {
        fields.push(format!("\"s\":\"text {}\"", dice.below(5)));
    }
    if dice.is(20) {
        fields.push("\"deep\":{\"a\":{\"b\":{\"c\":1}}}".to_owned());
    }
    if dice.is(40) && !is_flat {
        let item = |n: u64| format!("{{\"q\":{n},\"t\":\"x\"}}");
        let items: Vec<String> = (0..dice.below(7)).map(item).collect();
        fields.push(format!("\"items\":[{}]", items.join(",")));
    }
    if dice.is(12) {
        fields.push("\"v\":0.1234567890123456789".to_owned());
    }
    if dice.is(30) {
        fields.push(format!("\"n\":{}", dice.below(100)));
    }
    if dice.is(20) {
        fields.push(format!("\"rare{next}\":{{\"x\":{next}}}"));
    }
    if dice.is(15) {
        fields.push(format!("\"long\":\"{}\"", "y".repeat(120)));
    }
    if dice.is(10) {
        fields.push(format!("\"extra{}\":1e400", dice.below(3)));
    }
    if dice.is(5) {
        fields.push("\"id\":0".to_owned());
    }
    format!("{{{}}}", fields.join(","))
}

fn payload(shape: Shape, records: &[String], dice: &mut Dice) -> Vec<u8> {
    let list = || format!("[{}]", records.join(" ,\n "));
    let text = match shape {
        Shape::Document => list(),
        Shape::Path => format!("{{\"n\": 1, \"data\": {{\"items\": {}}}}}", list()),
        Shape::Lines | Shape::Csv => {
            let broken = if dice.is(20) { "{\"id\": \n" } else { "" };
            records
                .iter()
                .map(|record| format!("{record}\n"))
                .collect::<String>()
                + broken
        }
        Shape::PathLines => records
            .chunks(3)
            .map(|some| format!("{{\"data\":{{\"items\":[{}]}}}}\r\n", some.join(",")))
            .collect(),
        Shape::Push => match records {
            [one] => one.clone(),
            _ if dice.is(50) => list(),
            _ => records.join("\n"),
        },
    };
    text.into_bytes()
}
