//! `MERGE`: its rows, its commit, its counts. The generator of `duckdb/merges.rs` compares the rest.

use forebay_query::ChangeStatement;

use crate::changes::{change, failure, run};
use crate::fixture::{Fixture, shown};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_is_one_commit_and_counts_its_rows() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            ("create table a.t (id bigint not null, n decimal(10, 2), s struct<a bigint, b text>)", "CREATE TABLE"),
            ("insert into a.t values (1, 1, {'a': 1, 'b': 'x'}), (2, 2, null), (3, 3, null)", "INSERT 0 3"),
            ("create table a.u as select * from (values (1, 10.5, 'p'), (4, 40, 'q')) v(id, n, s)", "SELECT 2"),
        ],
    )
    .await;
    let commits = fixture.rows("select count(*) from lake.commits").await;
    let sql = "merge into a.t using a.u on t.id = u.id
        when matched and u.n > 100 then delete
        when matched then update set t.n = u.n, s = {'b': u.s, 'a': t.s.a + 1}
        when not matched then insert (id, n, s) values (id, n, {'a': 0, 'b': u.s})
        when not matched by source and t.id = 2 then delete";
    run(
        &fixture,
        &[(sql, "MERGE 3 (1 inserted, 1 updated, 1 deleted)")],
    )
    .await;
    assert_eq!(
        fixture
            .rows("select id, n, s.a, s.b from a.t order by id")
            .await,
        ["1 | 10.50 | 2 | p", "3 | 3.00 |  |", "4 | 40.00 | 0 | q"]
    );
    let after = fixture.rows("select count(*) from lake.commits").await;
    assert_eq!(commits, ["3"]);
    assert_eq!(after, ["4"]);
    let none = "merge into a.t using a.u on false when matched then delete";
    run(
        &fixture,
        &[(none, "MERGE 0 (0 inserted, 0 updated, 0 deleted)")],
    )
    .await;
    assert_eq!(
        fixture.rows("select count(*) from lake.commits").await,
        after
    );
    // A field that the column lacks would be lost.
    let sql = "merge into a.t using a.u on t.id = u.id when matched then update set s = {'a': 1, 'c': 'x'} when not matched then insert (id) values (u.id)";
    assert_eq!(failure(&fixture, sql).await.code(), "bad_sql");
    let sql = "explain merge into a.t using a.u on t.id = u.id when matched then delete";
    let statement = ChangeStatement::parse(sql).unwrap().unwrap();
    let plan = fixture.changes().explain(&statement, sql).await.unwrap();
    assert!(!shown(&plan.collect().await.unwrap()).is_empty());
}

/// Two processes merge at the same time: each counts once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_of_two_processes_that_meet_are_planned_again() {
    let fixture = Fixture::new().await;
    let other = fixture.another().await;
    run(
        &fixture,
        &[("create table a.t as select 1 as id, 0 as n", "SELECT 1")],
    )
    .await;
    let count = async |fixture: &Fixture, first: i64| {
        let session = fixture.changes();
        for step in 0..5 {
            let row = first + step;
            let sql = format!(
                "merge into a.t using (values (1), ({row})) as s(id) on t.id = s.id when matched then update set n = n + 1 when not matched then insert values (id, 0)"
            );
            change(&session, &sql).await.unwrap();
        }
    };
    tokio::join!(count(&fixture, 100), count(&other, 200));
    assert_eq!(fixture.rows("select n from a.t where id = 1").await, ["10"]);
    assert_eq!(fixture.rows("select count(*) from a.t").await, ["11"]);
}

/// Two processes add the same keys at the same time: a row that is there is not added again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_adds_no_row_that_another_process_has_added() {
    let fixture = Fixture::new().await;
    let other = fixture.another().await;
    run(
        &fixture,
        &[("create table a.t (id bigint, n bigint)", "CREATE TABLE")],
    )
    .await;
    let add = async |fixture: &Fixture| {
        let session = fixture.changes();
        for id in 0..8 {
            let sql = format!(
                "merge into a.t using (select {id} as id) s on t.id = s.id when not matched then insert (id) values (id)"
            );
            change(&session, &sql).await.unwrap();
        }
    };
    tokio::join!(add(&fixture), add(&other));
    let rows = "select count(*), count(distinct id) from a.t";
    assert_eq!(fixture.rows(rows).await, ["8 | 8"]);
}
