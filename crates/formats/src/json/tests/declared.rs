//! Declared columns: in the table before a record has them, and widened by a new declaration.

use arrow::datatypes::DataType;

use super::*;

fn declared(columns: &[(&str, &str)]) -> ContractPolicy {
    let rules = columns
        .iter()
        .flat_map(|(name, kind)| rule(name, Some(kind), false).columns);
    ContractPolicy {
        columns: rules.collect(),
        ..ContractPolicy::default()
    }
}

/// The columns of a table's only batch.
fn types(out: &Extracted, child: &str) -> Vec<(String, DataType)> {
    let mut batches = out.batches.iter().filter(|batch| batch.child == child);
    let schema = batches.next().unwrap().records.schema();
    let fields = schema.fields().iter();
    fields
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect()
}

fn names(out: &Extracted, child: &str) -> Vec<String> {
    types(out, child)
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn declared_columns_are_there_before_a_record_shows_them() {
    let policy = declared(&[("a", "long"), ("at", "timestamptz"), ("p__mag", "double")]);
    let out = ruled(&policy, "{\"a\":1}\n");
    let at = DataType::Timestamp(
        arrow::datatypes::TimeUnit::Microsecond,
        Some("+00:00".into()),
    );
    let known = [
        ("a", DataType::Int64),
        ("at", at),
        ("p__mag", DataType::Float64),
    ];
    assert_eq!(
        types(&out, ""),
        known.map(|(name, kind)| (name.to_owned(), kind))
    );
    assert_eq!(rows(&out, ""), [json!({"a": 1})]);
    let out = ruled(&policy, "{\"a\":1,\"p\":{\"mag\":2}}\n");
    assert_eq!(names(&out, ""), ["a", "p__mag", "at"]);
}

#[test]
fn declared_columns_of_a_list_belong_to_its_child_table() {
    let policy = declared(&[
        ("items__price", "decimal(9, 2)"),
        ("items__subs__n", "int"),
        ("items__tags__value", "string"),
        ("note", "string"),
    ]);
    let text = "{\"id\":1,\"items\":[{\"sku\":\"a\",\"subs\":[{\"x\":1}],\"tags\":[\"t\"]}]}\n";
    let out = extract(&with(Nested::Tables), &policy, &[text.as_bytes()]);
    assert_eq!(names(&out, ""), ["_fb_id", "id", "note"]);
    let items = names(&out, "items");
    assert_eq!(items[items.len() - 2..], ["sku", "price"]);
    assert_eq!(names(&out, "items__subs").last().unwrap(), "n");
    assert_eq!(names(&out, "items__tags").last().unwrap(), "value");
    // As columns with structure they come with their values.
    for nested in [Nested::Flatten, Nested::Keep] {
        let out = extract(&with(nested), &policy, &[text.as_bytes()]);
        assert_eq!(names(&out, ""), ["id", "items", "note"]);
    }
}

#[test]
fn a_declared_type_may_grow_and_nothing_else() {
    let first = declared(&[("i", "int"), ("f", "float"), ("d", "decimal(5, 2)")]);
    let text = "{\"i\":1,\"f\":0.5,\"d\":1.25,\"n\":1,\"l\":[1],\"day\":\"x\"}\n";
    let mut extraction = start(&lines(), &first, None);
    let mut out = Extracted::default();
    extraction
        .push(&head(0), text.as_bytes(), &mut out)
        .unwrap();
    extraction.flush(&mut out).unwrap();
    let contract = extraction.contract();

    let wider = declared(&[
        ("i", "long"),
        ("f", "double"),
        ("d", "decimal(9, 2)"),
        ("n", "long"),
    ]);
    let mut extraction = start(&lines(), &wider, Some(contract.clone()));
    let text = "{\"i\":3000000000,\"f\":0.1,\"d\":1234567.25}\n";
    let mut out = Extracted::default();
    extraction
        .push(&head(0), text.as_bytes(), &mut out)
        .unwrap();
    extraction.flush(&mut out).unwrap();
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    assert_eq!(
        types(&out, "")[..3],
        [
            ("i", DataType::Int64),
            ("f", DataType::Float64),
            ("d", DataType::Decimal128(9, 2))
        ]
        .map(|(name, kind)| (name.to_owned(), kind))
    );
    for (name, kind) in [
        ("i", "date"),
        ("n", "int"),
        ("n", "double"),
        ("f", "int"),
        ("d", "decimal(9, 3)"),
        ("d", "decimal(4, 2)"),
        ("l", "string"),
        ("day", "date"),
    ] {
        let json = Json::new(lines()).unwrap();
        let refused = json.start(Some(contract.clone()), &declared(&[(name, kind)]), None);
        let error = refused.err().unwrap_or_else(|| panic!("{name} as {kind}"));
        assert_eq!(error.code(), "column_type_changed", "{name} as {kind}");
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("can only widen"))
        );
    }
}

#[test]
fn an_empty_list_or_object_is_no_null_to_a_declared_type_whatever_came_before() {
    let empty = ["[]", "{}", "[null]", "[[]]", "[{}]", "{\"a\":null}"];
    for (kind, empty) in ["long", "string", "decimal(9, 2)", "timestamptz"]
        .iter()
        .flat_map(|kind| empty.map(|empty| (kind, empty)))
    {
        for (name, record) in [
            ("n", format!("{{\"id\":1,\"n\":{empty}}}\n")),
            ("o__n", format!("{{\"id\":1,\"o\":{{\"n\":{empty}}}}}\n")),
            (
                "o__n",
                format!("{{\"id\":1,\"o\":{{\"x\":1,\"n\":{empty}}}}}\n"),
            ),
        ] {
            let policy = declared(&[("id", "long"), (name, kind)]);
            for before in [
                "",
                "{\"id\":0}\n",
                "{\"id\":0,\"n\":null,\"o\":{\"x\":2}}\n",
            ] {
                let out = ruled(&policy, &format!("{before}{record}"));
                assert_eq!(codes(&out), ["bad_value"], "{kind} {before}{record}");
            }
        }
    }
    let policy = declared(&[("f__value", "double")]);
    for before in ["", "{\"f\":[1.5]}\n"] {
        let out = ruled(&policy, &format!("{before}{{\"f\":[null,[]]}}\n"));
        assert_eq!(codes(&out), ["bad_value"], "{before}");
    }
    let policy = declared(&[("n", "json"), ("id", "long")]);
    let out = ruled(
        &policy,
        "{\"id\":1,\"n\":[]}\n{\"id\":2,\"n\":{}}\n{\"id\":3,\"n\":null}\n",
    );
    let known = [
        json!({"id": 1, "n": "[]"}),
        json!({"id": 2, "n": "{}"}),
        json!({"id": 3}),
    ];
    assert_eq!(rows(&out, ""), known);
}
