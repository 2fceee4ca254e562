//! Generated expressions and statements over every type and its edge values: the lake must answer as DuckDB does.
//!
//! The differences that are meant stand in `docs/guides/sql.md`: the generator does not write them, or [`declared`] knows them by
//! their construct. `FOREBAY_ORACLE_CASES` sets the number of expressions, `FOREBAY_ORACLE_SEED` where they begin.

mod cast;
mod changes;
mod declared;
mod generate;
mod join;
mod leaf;
mod merges;
mod named;
mod peer;
mod predicate;
mod single_row;
mod statement;
mod subquery;
mod times;
mod value;
mod window;

use forebay_query::Query;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use generate::{Generator, Pair};
use peer::Peer;

/// Expressions of one run in CI.
const CASES_DEFAULT: usize = 20_000;
/// Expressions of one statement, and statements of one question to DuckDB.
const BATCH: usize = 40;
/// One batch in so many is of statements.
const STATEMENTS_EVERY: usize = 10;
/// Mismatches that are shown before the test ends.
const SHOWN_MAX: usize = 25;

/// The head and tail around the expressions of a statement, in both dialects.
struct Frame {
    head: [&'static str; 2],
    tail: [&'static str; 2],
}

const ROWS: Frame = Frame {
    head: ["select", "select"],
    tail: ["from a.t order by id", "from t order by id"],
};

const GROUPS: Frame = Frame {
    head: ["select", "select"],
    tail: [
        "from a.t group by k order by k nulls last",
        "from t group by k order by k nulls last",
    ],
};

/// Columns of values, or the error of one expression.
async fn answered(query: &Query, frame: &Frame, expressions: &[&Pair]) -> Vec<Value> {
    let mut answers = Vec::new();
    let mut open = vec![expressions];
    while let Some(batch) = open.pop() {
        let list: Vec<String> = batch
            .iter()
            .enumerate()
            .map(|(at, pair)| format!("{} as c{at}", pair.ours))
            .collect();
        let sql = format!("{} {} {}", frame.head[0], list.join(", "), frame.tail[0]);
        let made = match query.execute(&sql).await {
            Ok(answer) => answer.collect().await,
            Err(error) => Err(error),
        };
        match made {
            Ok(batches) => answers.extend(value::columns(&batches, batch.len())),
            Err(error) if batch.len() == 1 => {
                assert_ne!(error.kind(), forebay_core::ErrorKind::Bug, "{sql}: {error}");
                answers.push(json!({ "error": error.to_string() }));
            }
            Err(_) => {
                let (first, second) = batch.split_at(batch.len() / 2);
                open.push(second);
                open.push(first);
            }
        }
    }
    answers
}

#[expect(clippy::disallowed_methods, reason = "a test's own settings")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, default: u64) -> u64 {
    variable(name).map_or(default, |text| text.parse().unwrap())
}

/// The rows of a statement, in the order of their texts, or its error.
async fn answered_statement(query: &Query, sql: &str) -> Value {
    let made = match query.execute(sql).await {
        Ok(answer) => answer.collect().await,
        Err(error) => Err(error),
    };
    match made {
        Ok(batches) => value::sorted_rows(&batches),
        Err(error) => {
            assert_ne!(error.kind(), forebay_core::ErrorKind::Bug, "{sql}: {error}");
            json!({ "error": error.to_string() })
        }
    }
}

/// Both failing is agreement; the texts of errors are each engine's own.
fn agree(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            let mut rows = ours.iter().zip(theirs);
            ours.len() == theirs.len()
                && rows.all(|(ours, theirs)| ours == theirs || is_beyond_python(theirs))
        }
        _ => ours.get("error").is_some() && theirs.get("error").is_some(),
    }
}

/// Python has no dates before year 1 and after year 9999: those come as text.
fn is_beyond_python(value: &Value) -> bool {
    let is_far = |text: &str| (10_000..10_010).any(|year| text.contains(&format!("{year}-")));
    value
        .as_str()
        .is_some_and(|text| text.contains("(BC)") || is_far(text))
}

/// The rows of a statement are compared in the order of their texts, which a date beyond Python's changes.
fn is_beyond_order(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && theirs.iter().any(is_beyond_python)
        }
        _ => false,
    }
}

/// What was compared and how it came out.
#[derive(Default)]
struct Comparison {
    count: usize,
    declared: usize,
    wrong: Vec<String>,
}

impl Comparison {
    fn compare(&mut self, pair: &Pair, ours: &Value, theirs: &Value) {
        self.count += 1;
        if agree(ours, theirs) || (pair.is_statement() && is_beyond_order(ours, theirs)) {
            return;
        }
        if declared::is_meant(pair, ours, theirs) {
            self.declared += 1;
            return;
        }
        self.wrong.push(difference(pair, ours, theirs));
    }

    fn finish(self) {
        let Self {
            count,
            declared,
            wrong,
        } = self;
        println!("{count} compared with DuckDB, {declared} differ as declared");
        let shown = usize::try_from(number("FOREBAY_ORACLE_SHOWN", SHOWN_MAX as u64)).unwrap();
        let listed: Vec<&str> = wrong.iter().take(shown).map(String::as_str).collect();
        assert!(
            wrong.is_empty(),
            "{} of {count} differ:\n{}",
            wrong.len(),
            listed.join("\n")
        );
    }
}

fn difference(pair: &Pair, ours: &Value, theirs: &Value) -> String {
    let mut rows = String::new();
    if let (Value::Array(ours), Value::Array(theirs)) = (ours, theirs) {
        if ours.len() != theirs.len() {
            rows = format!("\n    {} rows here, {} in DuckDB", ours.len(), theirs.len());
        }
        let differing = ours
            .iter()
            .zip(theirs)
            .enumerate()
            .filter(|(_, (a, b))| a != b);
        for (row, (a, b)) in differing.take(3) {
            rows += &format!("\n    row {row}: {a} here, {b} in DuckDB");
        }
    } else {
        rows = format!(
            "\n    {} here\n    {} in DuckDB",
            short(ours),
            short(theirs)
        );
    }
    format!("  {}\n  {}{rows}", pair.ours, pair.theirs)
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// Both engines with the same table.
struct Engines {
    query: Query,
    peer: Peer,
    _fixture: Fixture,
}

impl Engines {
    /// `None`, loudly, without a Python that has DuckDB.
    async fn start() -> Option<Self> {
        let Some(python) = variable("FOREBAY_TEST_PYTHON") else {
            println!(
                "SKIPPED: FOREBAY_TEST_PYTHON is not set (test.sh does): nothing was compared with DuckDB"
            );
            return None;
        };
        let fixture = Fixture::new().await;
        fixture.append(&[("a.t", &[], value::table())]).await;
        let mut peer = Peer::start(&python);
        peer.ask(&json!({ "setup": value::setup() }));
        Some(Self {
            query: fixture.query(),
            peer,
            _fixture: fixture,
        })
    }

    async fn compare_expressions(&mut self, frame: &Frame, pairs: &[Pair], to: &mut Comparison) {
        let theirs: Vec<&str> = pairs.iter().map(|pair| pair.theirs.as_str()).collect();
        let request =
            json!({ "head": frame.head[1], "tail": frame.tail[1], "expressions": theirs });
        self.peer.send(&request);
        let refs: Vec<&Pair> = pairs.iter().collect();
        let ours = answered(&self.query, frame, &refs).await;
        let theirs = self.peer.answer();
        for ((pair, ours), theirs) in pairs.iter().zip(&ours).zip(theirs.as_array().unwrap()) {
            to.compare(pair, ours, theirs);
        }
    }

    async fn compare_statements(&mut self, pairs: &[Pair], to: &mut Comparison) {
        let theirs: Vec<&str> = pairs.iter().map(|pair| pair.theirs.as_str()).collect();
        self.peer.send(&json!({ "statements": theirs }));
        let mut ours = Vec::new();
        for pair in pairs {
            ours.push(answered_statement(&self.query, &pair.ours).await);
        }
        let theirs = self.peer.answer();
        for ((pair, ours), theirs) in pairs.iter().zip(&ours).zip(theirs.as_array().unwrap()) {
            to.compare(pair, ours, theirs);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generated_expressions_and_statements_are_answered_as_duckdb_answers_them() {
    let Some(mut engines) = Engines::start().await else {
        return;
    };
    let cases = usize::try_from(number("FOREBAY_ORACLE_CASES", CASES_DEFAULT as u64)).unwrap();
    let mut generator = Generator::new(number("FOREBAY_ORACLE_SEED", 20_261_128));
    let mut comparison = Comparison::default();
    let mut batch = 0;
    while comparison.count < cases {
        batch += 1;
        if batch % STATEMENTS_EVERY == 0 {
            let pairs = generator.batch(BATCH, Generator::statement);
            engines.compare_statements(&pairs, &mut comparison).await;
            continue;
        }
        let (frame, pairs) = match batch % STATEMENTS_EVERY {
            1 => (&GROUPS, generator.batch(BATCH, Generator::aggregate)),
            2 => (&ROWS, generator.batch(BATCH, Generator::window)),
            _ => (&ROWS, generator.batch(BATCH, Generator::expression)),
        };
        engines
            .compare_expressions(frame, &pairs, &mut comparison)
            .await;
    }
    comparison.finish();
}

/// A predicate must choose the rows for which it is true, whatever is left out by bounds of files, row groups and pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn predicates_choose_the_rows_for_which_they_are_true() {
    let mut generator = Generator::new(number("FOREBAY_ORACLE_SEED", 7));
    let fixture = Fixture::new().await;
    let table = value::table();
    // A file for every two rows, so that there is something to leave out.
    for row in (0..table.num_rows()).step_by(2) {
        let rows = table.slice(row, 2.min(table.num_rows() - row));
        fixture.append(&[("a.t", &[], rows)]).await;
    }
    fixture.append(&[("a.u", &[], table)]).await;
    let query = fixture.query();
    for _ in 0..15 {
        let predicates: Vec<Pair> = (0..BATCH).map(|_| generator.predicate()).collect();
        let refs: Vec<&Pair> = predicates.iter().collect();
        let projected = answered(&query, &ROWS, &refs).await;
        for (pair, values) in predicates.iter().zip(&projected) {
            let Value::Array(values) = values else {
                continue;
            };
            let expected: Vec<usize> = values
                .iter()
                .enumerate()
                .filter(|(_, value)| *value == "true")
                .map(|(row, _)| row)
                .collect();
            for table in ["a.t", "a.u"] {
                let sql = format!("select id from {table} where {} order by id", pair.ours);
                let batches = query.execute(&sql).await.unwrap().collect().await;
                // Rows that are left out cannot fail; the others did not.
                let batches = batches.unwrap_or_else(|error| panic!("{sql}: {error}"));
                let found = value::ids(&batches);
                assert_eq!(found, expected, "{sql}");
            }
        }
    }
}
