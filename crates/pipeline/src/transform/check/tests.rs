use std::collections::BTreeMap;

use super::*;
use crate::transform::fixture;

fn built(text: &str) -> Result<Box<dyn Transform>> {
    Kind.build(
        &Document::from_yaml(text).expect("the text is YAML"),
        &fixture::engine(),
    )
}

fn shown(rejected: &[Rejected]) -> Vec<String> {
    let line = |r: &Rejected| {
        let record = String::from_utf8_lossy(&r.record).into_owned();
        let payload = r.payload.unwrap_or(0);
        format!(
            "{} {}@{:?} {}: {} {record}",
            r.stage, payload, r.offset, r.code, r.reason
        )
    };
    rejected.iter().map(line).collect()
}

#[tokio::test]
async fn rows_that_break_a_rule_are_refused_with_its_name_and_the_others_go_on() {
    let check =
        built("[{name: small, where: n < 30}, {name: tiny, where: n < 10}]").expect("it is built");
    let made = check
        .apply(fixture::batch(), "transform[2]")
        .await
        .expect("it runs");
    assert_eq!(made.batch.records.num_rows(), 1);
    assert_eq!(
        made.batch.origins.map(|origins| origins.offsets),
        Some(vec![0])
    );
    assert_eq!(
        shown(&made.rejected),
        [
            r#"transform[2] 7@Some(200) check_failed: rule `small` is not met: n < 30 {"n":null,"name":"c"}"#,
            r#"transform[2] 7@Some(300) check_failed: rule `small` is not met: n < 30 {"n":40,"name":null}"#,
            r#"transform[2] 7@Some(100) check_failed: rule `tiny` is not met: n < 10 {"n":20,"name":"b"}"#,
        ]
    );
}

#[tokio::test]
async fn a_rule_that_fails_the_run_says_how_many_rows_and_shows_one() {
    let check = built("[{name: some, where: n < 100}, {name: tiny, where: n < 10, on_fail: fail}]")
        .expect("it is built");
    let error = check
        .apply(fixture::batch(), "transform[0]")
        .await
        .expect_err("two rows break it");
    assert_eq!(
        (error.kind(), error.code()),
        (forebay_core::ErrorKind::Data, "check_failed")
    );
    assert_eq!(
        error.to_string(),
        r#"rule `tiny` is not met by 2 of 3 rows: n < 10; the first is {"n":20,"name":"b"} (stage transform[0])"#
    );
}

#[test]
fn a_rule_is_checked_before_any_row_comes() {
    for (text, code) in [
        (
            "[{name: a, where: n < 1}, {name: a, where: n < 2}]",
            "name_taken",
        ),
        ("[{name: a, where: n is small}]", "bad_sql"),
        ("[{name: a}]", "bad_value"),
    ] {
        assert_eq!(built(text).expect_err("it is wrong").code(), code, "{text}");
    }
}

fn columns(rules: &[(&str, bool, Option<&str>)]) -> ColumnChecks {
    let rule = |required, check: Option<&str>| ColumnRule {
        r#type: None,
        required,
        check: check.map(str::to_owned),
    };
    let columns: BTreeMap<String, ColumnRule> = rules
        .iter()
        .map(|(name, required, check)| ((*name).to_owned(), rule(*required, *check)))
        .collect();
    ColumnChecks::new(
        &ContractPolicy {
            columns,
            ..ContractPolicy::default()
        },
        &fixture::engine(),
    )
}

#[tokio::test]
async fn a_check_of_a_column_sees_its_value_and_passes_null() {
    let made = columns(&[("n", false, Some("value < 30"))])
        .apply(fixture::batch())
        .await
        .expect("it runs");
    assert_eq!(made.batch.records.num_rows(), 3);
    assert_eq!(
        shown(&made.rejected),
        [
            r#"extract 7@Some(300) check_failed: `n` does not meet its check: value < 30 {"n":40,"name":null}"#
        ]
    );
}

#[tokio::test]
async fn a_required_column_refuses_null_and_absence() {
    let made = columns(&[("n", true, None), ("name", true, None)])
        .apply(fixture::batch())
        .await
        .expect("it runs");
    let offsets: Vec<Option<u64>> = made
        .rejected
        .iter()
        .map(|rejected| rejected.offset)
        .collect();
    assert_eq!(offsets, [Some(200), Some(300)]);
    assert!(
        made.rejected
            .iter()
            .all(|rejected| rejected.code == "required_missing")
    );
    let made = columns(&[("other", true, None)])
        .apply(fixture::batch())
        .await
        .expect("it runs");
    assert_eq!((made.batch.records.num_rows(), made.rejected.len()), (0, 4));
    let made = columns(&[("other", false, Some("value < 1"))])
        .apply(fixture::batch())
        .await
        .expect("it runs");
    assert_eq!(made.batch.records.num_rows(), 4);
    assert!(columns(&[("n", false, None)]).is_empty());
}

#[tokio::test]
async fn child_tables_pass_unchanged() {
    let batch = Batch {
        child: "items".to_owned(),
        ..fixture::batch()
    };
    let made = columns(&[("other", true, None)])
        .apply(batch)
        .await
        .expect("it runs");
    assert_eq!((made.batch.records.num_rows(), made.rejected.len()), (4, 0));
}

#[test]
fn a_condition_is_checked_fully_when_the_type_is_known() {
    let engine = fixture::engine();
    assert!(check_value(&engine, Some(ColumnType::Long), "value < 3").is_ok());
    assert!(check_value(&engine, Some(ColumnType::Long), "other < 3").is_err());
    assert!(check_value(&engine, None, "other < 3").is_ok());
    assert!(check_value(&engine, None, "value is small").is_err());
}
