//! Shapes at the column limit: additions that do not fit are rejected without checking all columns.

use super::*;

/// Records of one kind: many more than there would be time for, were all columns copied or counted for each.
const RECORDS: usize = 4_000;

/// A record with as many columns as may be.
fn widest() -> String {
    let keys: Vec<String> = (0..2_000).map(|i| format!("\"c{i}\":{i}")).collect();
    format!("{{{}}}\n", keys.join(","))
}

/// The rejects of `record`, repeated, after one of 2,000 columns.
fn refused(config: &Config, policy: &ContractPolicy, first: &str, record: &str) -> Extracted {
    let mut extraction = start(config, policy, None);
    let mut out = Extracted::default();
    extraction
        .push(&head(0), first.as_bytes(), &mut out)
        .unwrap();
    extraction.flush(&mut out).unwrap();
    let text = record.repeat(RECORDS);
    extraction
        .push(&head(0), text.as_bytes(), &mut out)
        .unwrap();
    extraction.end(&head(0), None, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    out
}

fn assert_all(out: &Extracted, code: &str) {
    assert_eq!(out.rejected.len(), RECORDS, "{code}");
    assert!(out.rejected.iter().all(|one| one.code == code), "{code}");
}

#[test]
fn a_column_too_many_is_refused_at_once() {
    let evolve = ContractPolicy::default();
    let deep = format!("{}1{}", "{\"c0\":".repeat(30), "}".repeat(30));
    for (record, code) in [
        ("{\"zz\":1}\n", "too_many_columns"),
        ("{\"c7\":\"x\"}\n", "too_many_columns"),
        ("{\"c7\":{\"a\":{\"b\":[1]}}}\n", "too_many_columns"),
        (&format!("{deep}\n"), "type_too_deep"),
    ] {
        let out = refused(&lines(), &evolve, &widest(), record);
        assert_all(&out, code);
    }
    let kept = refused(
        &with(Nested::Keep),
        &evolve,
        &widest(),
        "{\"l\":[{\"a\":1}]}\n",
    );
    assert_all(&kept, "too_many_columns");
}

#[test]
fn a_column_that_is_not_wanted_is_refused_at_once() {
    let policy = ContractPolicy {
        new_columns: NewColumns::Quarantine,
        ..ContractPolicy::default()
    };
    let out = refused(&lines(), &policy, &widest(), "{\"zz\":1}\n");
    assert_all(&out, "new_column");
}

#[test]
fn a_column_whose_name_is_taken_is_refused_at_once() {
    let keys: Vec<String> = (0..1_990).map(|i| format!("\"a__c{i}\":{i}")).collect();
    let first = format!("{{{}}}\n", keys.join(","));
    let record = "{\"a\":{\"c7\":1}}\n";
    let out = refused(&lines(), &ContractPolicy::default(), &first, record);
    assert_all(&out, "column_clash");
    let reason = &out.rejected[0].reason;
    assert_eq!(reason, "`a__c7` and `a.c7` would both be column `a__c7`");
}

#[test]
fn child_tables_are_counted_each_for_itself() {
    let config = with(Nested::Tables);
    // The list itself is one of those that a record adds.
    let widest = widest().replacen("\"c0\":0,", "", 1);
    let first = format!(
        "{{\"l\":[{}]}}\n{{\"l\":[{{\"c0\":0}}]}}\n",
        widest.trim_end()
    );
    let policy = ContractPolicy::default();
    let out = refused(&config, &policy, &first, "{\"l\":[{\"zz\":1}]}\n");
    assert_all(&out, "too_many_columns");
    // The main table has room.
    let out = refused(&config, &policy, &first, "{\"zz\":1}\n");
    assert!(out.rejected.is_empty());
}

#[test]
fn what_the_file_declares_fits_into_a_full_shape() {
    let policy = rule("zz", Some("long"), false);
    let out = refused(&lines(), &policy, &widest(), "{\"zz\":1}\n");
    assert!(out.rejected.is_empty());
    // A key that is known without a type brings its first column.
    let first = format!("{}{}", "{\"u\":null,\"c0\":1}\n", widest());
    let out = refused(&lines(), &policy, &first, "{\"u\":1}\n");
    assert_all(&out, "too_many_columns");
}

#[test]
fn rows_without_values_take_no_time() {
    let out = refused(&lines(), &ContractPolicy::default(), &widest(), "{}\n");
    assert!(out.rejected.is_empty());
    assert_eq!(out.rows(), RECORDS + 1);
}
