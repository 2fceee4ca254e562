//! Values that are inserted, and queries before a statement.

use crate::changes::run;
use crate::fixture::Fixture;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_value_is_fitted_to_its_column_by_itself() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            ("create table a.t (n bigint, d decimal(38, 4), f double, s text, at timestamptz, l bigint[], b boolean)", "CREATE TABLE"),
            ("insert into a.t (s) values (1), ('x'), (2.50), (true), (null)", "INSERT 0 5"),
            ("insert into a.t (n) values (9223372036854775807), (2.5), ('7'), (1e3)", "INSERT 0 4"),
            ("insert into a.t (d) values (1234567890123456789012345678901234.5678), (1e0), (9007199254740993), (1e30), (-1.5e-1), ('2.5')", "INSERT 0 6"),
            ("insert into a.t (f) values (0.1), (1), (1e300)", "INSERT 0 3"),
            ("insert into a.t (at) values ('2026-01-01'), (timestamp '2026-01-02 03:04'), (date '2026-01-03')", "INSERT 0 3"),
        ],
    )
    .await;
    fixture
        .check(&[
            (
                "select s from a.t where s is not null order by s",
                &["1", "2.50", "true", "x"],
            ),
            (
                "select n from a.t where n is not null order by n",
                &["3", "7", "1000", "9223372036854775807"],
            ),
            (
                "select d from a.t where d is not null order by d",
                &[
                    "-0.1500",
                    "1.0000",
                    "2.5000",
                    "9007199254740993.0000",
                    "1000000000000000000000000000000.0000",
                    "1234567890123456789012345678901234.5678",
                ],
            ),
            (
                "select f from a.t where f is not null order by f",
                &["0.1", "1.0", "1e300"],
            ),
            (
                "select at from a.t where at is not null order by at",
                &[
                    "2026-01-01T00:00:00Z",
                    "2026-01-02T03:04:00Z",
                    "2026-01-03T00:00:00Z",
                ],
            ),
        ])
        .await;
    run(
        &fixture,
        &[
            (
                "insert into a.t (l, b) values ([1, 2], 'yes'), ([3.0], false), (null, null)",
                "INSERT 0 3",
            ),
            ("update a.t set d = 1e30 where d = 1", "UPDATE 1"),
        ],
    )
    .await;
    fixture
        .check(&[
            (
                "select l, b from a.t where l is not null order by l",
                &["[1, 2] | true", "[3] | false"],
            ),
            (
                "select count(*) from a.t where d = '1e30'::decimal(38, 4)",
                &["2"],
            ),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_before_a_statement_are_named_in_it() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            ("create table a.t (id bigint, n bigint)", "CREATE TABLE"),
            ("with v as (select value as x from range(3)) insert into a.t select x, x * 10 from v", "INSERT 0 3"),
            ("with v(x) as (select 7) insert into a.t (id) with w as (select x + 1 as y from v) select y from w", "INSERT 0 1"),
            ("with v as (select 2 as id) update a.t set n = (select id from v) where id in (select id from v)", "UPDATE 1"),
            ("with v as (select 1 as id) delete from a.t where id = (select id from v)", "DELETE 1"),
            ("with v as (select 0 as id) merge into a.t using v on t.id = v.id when matched then update set n = -1", "MERGE 1 (0 inserted, 1 updated, 0 deleted)"),
        ],
    )
    .await;
    assert_eq!(
        fixture.rows("select id, n from a.t order by id").await,
        ["0 | -1", "2 | 2", "8 |"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_differ_in_case_only_are_columns_of_their_own() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            ("create table a.t as select 1 as id, 2 as \"ID\"", "SELECT 1"),
            ("insert into a.t values (3, 4)", "INSERT 0 1"),
            ("update a.t set \"ID_2\" = 5 where id = 1", "UPDATE 1"),
            ("alter table a.t add column note text", "ALTER TABLE"),
            ("merge into a.t using (select 3 as k) s on t.id = s.k when matched then update set \"ID_2\" = 6", "MERGE 1 (0 inserted, 1 updated, 0 deleted)"),
            ("alter table a.t rename column \"ID_2\" to other", "ALTER TABLE"),
            ("insert into a.t (id, other) values (7, 8)", "INSERT 0 1"),
        ],
    )
    .await;
    assert_eq!(
        fixture.rows("select * from a.t order by id").await,
        ["1 | 5 |", "3 | 6 |", "7 | 8 |"]
    );
}
