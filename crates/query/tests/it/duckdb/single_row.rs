//! Random subqueries that are used as a value, of no, one or several rows, in every clause: both engines fail, or give the same rows.

use forebay_core::ErrorKind;
use forebay_query::ChangeStatement;
use serde_json::{Value, json};

use super::generate::Generator;
use super::peer::Peer;
use super::{answered_statement, number, variable};
use crate::fixture::Fixture;

/// Statements of one run in CI.
const STATEMENTS_DEFAULT: u64 = 400;
/// Deepest nesting of queries in each other.
const DEPTH_MAX: usize = 3;

const READING: [&str; 13] = [
    "select ({})",
    "select ({}) is null, coalesce(({}), -1)",
    "select id, ({}) from a.t",
    "select id from a.t where id = ({})",
    "select id from a.t where id < ({}) or n is null",
    "select count(*) from a.t where ({}) is null",
    "select id, case when id > 1 then ({}) else 0 end from a.t",
    "select id from a.t group by id having id >= ({})",
    "select n, sum(({})) from a.t group by n",
    "select x.id from a.t x join a.t y on x.id = y.id and x.id <= ({})",
    "select id + 0 from a.t order by ({}), id",
    "select id from a.t where id in (1, ({}))",
    "select id from a.t where id between 0 and ({})",
];

const CHANGING: [&str; 6] = [
    "delete from a.t where id = ({})",
    "delete from a.t where id > ({}) and n is not null",
    "update a.t set n = ({})",
    "update a.t set n = id where id = ({})",
    "insert into a.t values (({}), 7), (5, 8)",
    "insert into a.t select id + 10, ({}) from a.t where id < 3",
];

const TABLE: [&str; 3] = [
    "drop table if exists a.t",
    "create table a.t (id bigint, n bigint)",
    "insert into a.t values (1, 1), (2, 2), (3, null), (4, 2)",
];

impl Generator {
    fn constant(&mut self) -> usize {
        self.below(5)
    }

    /// A query with one column `x` and any number of rows.
    fn value_rows(&mut self, depth: usize) -> String {
        let one = self.constant();
        let two = self.constant();
        if depth == 0 {
            return match self.below(9) {
                0 | 1 => format!("select {one} as x"),
                2 => format!("select {one} as x where false"),
                3 => format!("select * from (values ({one})) v(x)"),
                4 => format!("select * from (values ({one}), ({two})) v(x)"),
                5 => format!("select id as x from a.t where id = {one}"),
                6 => format!("select n as x from a.t where n = {one}"),
                7 => format!("select max(id) as x from a.t where id > {one}"),
                _ => "select cast(null as bigint) as x".to_owned(),
            };
        }
        let inner = self.value_rows(depth - 1);
        match self.below(13) {
            0..=3 => {
                let other = self.value_rows(depth - 1);
                let operator = self.one(&["union", "union all", "intersect", "except"]);
                // The parser takes a query that begins with a parenthesis for an expression.
                format!("select x from ({inner}) v(x) {operator} ({other})")
            }
            4 => format!("select x from ({inner}) v(x) order by x limit {one} offset {two}"),
            5 => format!("select x from ({inner}) v(x) order by x limit 1"),
            6 => format!("with c as ({inner}) select * from c"),
            7 => format!("select distinct x from ({inner}) v(x)"),
            8 => format!("select x from ({inner}) v(x) where x <> {one}"),
            9 => format!("select max(x) as x from ({inner}) v(x) group by x"),
            10 => format!("select max(x) as x from ({inner}) v(x) having count(*) > {one}"),
            11 => {
                let other = self.value_rows(depth - 1);
                let join = self.one(&["left", "right", "full", "inner"]);
                format!(
                    "select coalesce(v.x, w.x) as x from ({inner}) v(x) {join} join ({other}) w(x) on v.x = w.x"
                )
            }
            _ => format!("({inner})"),
        }
    }

    fn with_value(&mut self, frames: &[&'static str]) -> String {
        let depth = self.below(DEPTH_MAX + 1);
        let rows = self.value_rows(depth);
        self.one(frames).replace("{}", &rows)
    }
}

/// Whether both fail, or give the same rows. A fault of this engine is none of them.
fn compare(sql: &str, ours: &Value, theirs: &Value, wrong: &mut Vec<String>) {
    let has_failed = |answer: &Value| answer.get("error").is_some();
    if has_failed(ours) != has_failed(theirs) || (!has_failed(ours) && ours != theirs) {
        wrong.push(format!("{sql}\n  ours {ours}\n  theirs {theirs}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_of_several_rows_fail_in_every_clause() {
    let Some(python) = variable("FOREBAY_TEST_PYTHON") else {
        println!("SKIPPED: FOREBAY_TEST_PYTHON is not set: nothing was compared with DuckDB");
        return;
    };
    let fixture = Fixture::new().await;
    let session = fixture.changes();
    let mut peer = Peer::start(&python);
    peer.ask(&json!({ "setup": ["create schema a"] }));
    let renewed = async |peer: &mut Peer| {
        for sql in TABLE {
            let statement = ChangeStatement::parse(sql).unwrap().unwrap();
            session.run(&statement, sql).await.unwrap();
        }
        peer.ask(&json!({ "setup": TABLE }));
    };
    renewed(&mut peer).await;
    let mut generator = Generator::new(number("FOREBAY_ORACLE_SEED", 20_261_201));
    let mut wrong = Vec::new();
    let mut failed = 0;
    for at in 0..number("FOREBAY_ORACLE_VALUES", STATEMENTS_DEFAULT) {
        if at % 4 > 0 {
            let sql = generator.with_value(&READING);
            let theirs = peer.ask(&json!({ "statements": [sql] }));
            let ours = answered_statement(&fixture.query(), &sql).await;
            failed += usize::from(ours.get("error").is_some());
            compare(&sql, &ours, &theirs[0], &mut wrong);
            continue;
        }
        let sql = generator.with_value(&CHANGING);
        let statement = ChangeStatement::parse(&sql).unwrap().unwrap();
        let done = session.run(&statement, &sql).await;
        let all = "select id, n from a.t";
        let theirs = peer.ask(&json!({ "statements": [sql, all] }));
        let ours = answered_statement(&fixture.query(), all).await;
        compare(&sql, &ours, &theirs[1], &mut wrong);
        let ours = match done {
            Ok(_) => json!([]),
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::Bug, "{sql}: {error}");
                failed += 1;
                json!({ "error": error.to_string() })
            }
        };
        let theirs = match theirs[0].get("error") {
            Some(_) => theirs[0].clone(),
            None => json!([]),
        };
        compare(&sql, &ours, &theirs, &mut wrong);
        renewed(&mut peer).await;
    }
    println!("{failed} statements failed in both");
    assert!(failed > 0);
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}
