//! Random sequences of statements that change a table: after each of them the lake has the rows that DuckDB has.

use forebay_query::{ChangeSession, ChangeStatement, Query};
use serde_json::{Value, json};

use super::peer::Peer;
use super::{answered_statement, number, variable};
use crate::fixture::Fixture;

/// Statements of one run in CI.
const STATEMENTS_DEFAULT: u64 = 60;

/// A generator of numbers (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn condition(&mut self) -> String {
        let (a, b) = (self.below(12), self.below(40));
        match self.below(9) {
            0 => format!("id = {b}"),
            1 => format!("n > {a}"),
            2 => format!("n is null or id % 7 = {}", a % 7),
            3 => format!("s like '%{a}'"),
            4 => format!("id in (select max(id) from a.t where n <> {a})"),
            5 => format!("n = (select min(n) from a.t) and id > {b}"),
            6 => format!(
                "not exists (select 1 from a.t o where o.n = x.n and o.id <> x.id) and n <> {a}"
            ),
            7 => format!("id between {b} and {}", b + 9),
            _ => "null".to_owned(),
        }
    }

    fn statement(&mut self) -> String {
        let (a, b) = (self.below(12), self.below(40));
        match self.below(9) {
            0 => format!(
                "insert into a.t values ({b}, {a}, 's{a}'), ({}, null, null)",
                b + 1
            ),
            1 => format!("insert into a.t (s, id) values ('only {a}', {b})"),
            2 => format!(
                "insert into a.t select id + 50, n, s || 'c' from a.t where n > {a} and id < 60"
            ),
            3 => format!(
                "insert into a.t values ((select coalesce(max(id), 0) + 1 from a.t), {a}, 'q')"
            ),
            4 | 5 => format!("delete from a.t as x where {}", self.condition()),
            6 => format!("update a.t as x set n = n + {a} where {}", self.condition()),
            7 => format!(
                "update a.t as x set s = coalesce(s, '-') || '{}', n = {a} where {}",
                a % 3,
                self.condition()
            ),
            _ => format!(
                "update a.t as x set n = (select max(o.n) from a.t o where o.id < {b}), id = id where {}",
                self.condition()
            ),
        }
    }
}

/// Runs a statement on both sides and compares the table.
async fn compare(session: &ChangeSession, query: &Query, peer: &mut Peer, sql: &str) {
    let statement = ChangeStatement::parse(sql)
        .unwrap()
        .expect("it changes a table");
    let done = session.run(&statement, sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let all = "select id, n, s from a.t";
    let theirs = peer.ask(&json!({ "statements": [sql, all] }));
    assert!(theirs[0].get("error").is_none(), "{sql}: {}", theirs[0]);
    let ours = answered_statement(query, all).await;
    assert_eq!(ours, theirs[1], "{sql}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_changes_leave_the_rows_that_duckdb_has() {
    let Some(python) = variable("FOREBAY_TEST_PYTHON") else {
        println!("SKIPPED: FOREBAY_TEST_PYTHON is not set: nothing was compared with DuckDB");
        return;
    };
    let fixture = Fixture::new().await;
    let session = fixture.changes();
    let mut peer = Peer::start(&python);
    peer.ask(&json!({ "setup": ["create schema a"] }));
    let create = "create table a.t (id bigint, n int, s text)";
    compare(&session, &fixture.query(), &mut peer, create).await;
    let mut chance = Chance(number("FOREBAY_ORACLE_SEED", 20_261_201));
    for _ in 0..number("FOREBAY_ORACLE_CHANGES", STATEMENTS_DEFAULT) {
        let sql = chance.statement();
        compare(&session, &fixture.query(), &mut peer, &sql).await;
    }
    let rows = answered_statement(&fixture.query(), "select count(*) from a.t").await;
    assert_ne!(rows, Value::Null);
}
