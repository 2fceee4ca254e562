use std::collections::HashMap;
use std::sync::Arc;

use ::arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema, TimeUnit};
use forebay_core::data_type::with_learned_order;
use iceberg::spec::Schema;
use proptest::prelude::*;

use super::*;

fn arrow_schema(fields: Vec<Field>) -> ArrowSchema {
    ArrowSchema::new(fields)
}

fn list(element: Field) -> DataType {
    DataType::List(Arc::new(element))
}

fn structure(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

/// `path id type required` of every field at every depth, by Iceberg's own names.
fn shown(schema: &Schema) -> Vec<String> {
    let mut ids: Vec<i32> = schema.field_id_to_name_map().keys().copied().collect();
    ids.sort_unstable();
    let line = |id| {
        let field = schema.field_by_id(id)?;
        let optional = if field.required { "" } else { "?" };
        let kind = field
            .field_type
            .as_primitive_type()
            .map_or("-".to_owned(), ToString::to_string);
        Some(format!(
            "{id} {} {kind}{optional}",
            schema.name_by_field_id(id)?
        ))
    };
    ids.into_iter().filter_map(line).collect()
}

fn last_id(schema: &Schema) -> i32 {
    schema.highest_field_id()
}

#[test]
fn arrow_types_become_table_types() {
    let schema = arrow_schema(vec![
        Field::new("a", DataType::Int8, false),
        field("b", DataType::UInt32),
        field("c", DataType::UInt64),
        field("d", DataType::LargeUtf8),
        field("e", DataType::Utf8View),
        field(
            "f",
            DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into())),
        ),
        field("g", DataType::Timestamp(TimeUnit::Second, None)),
        field("h", DataType::Decimal128(20, 4)),
        field(
            "i",
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ),
        field(
            "j",
            structure(vec![
                field("k", DataType::Boolean),
                field("l", list(field("item", DataType::Date32))),
            ]),
        ),
        field("m", DataType::BinaryView),
    ]);
    let table = to_iceberg(&schema).unwrap();
    assert_eq!(
        shown(&table),
        [
            "1 a int",
            "2 b long?",
            "3 c decimal(20, 0)?",
            "4 d string?",
            "5 e string?",
            "6 f timestamptz?",
            "7 g timestamp?",
            "8 h decimal(20, 4)?",
            "9 i string?",
            "10 j -?",
            "11 j.k boolean?",
            "12 j.l -?",
            "13 j.l.element date?",
            "14 m binary?",
        ]
    );
}

#[test]
fn a_table_is_read_with_plain_types_and_ids_at_every_depth() {
    let schema = arrow_schema(vec![
        field(
            "at",
            DataType::Timestamp(TimeUnit::Millisecond, Some("Z".into())),
        ),
        field(
            "items",
            DataType::LargeList(Arc::new(field(
                "x",
                structure(vec![field("sku", DataType::Utf8View)]),
            ))),
        ),
    ]);
    let read = to_arrow(&to_iceberg(&schema).unwrap()).unwrap();
    let with_id = |field: Field, id: &str| {
        field.with_metadata(HashMap::from([(
            "PARQUET:field_id".to_owned(),
            id.to_owned(),
        )]))
    };
    let sku = with_id(field("sku", DataType::Utf8), "4");
    let element = with_id(field("element", structure(vec![sku])), "3");
    let at = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let expected = arrow_schema(vec![
        with_id(field("at", at), "1"),
        with_id(field("items", list(element)), "2"),
    ]);
    assert_eq!(*read, expected);
}

#[test]
fn types_without_a_place_and_twin_names_are_refused() {
    let code = |fields| to_iceberg(&arrow_schema(fields)).map_err(|e| e.code());
    assert_eq!(
        code(vec![field("a", DataType::Null)]).err(),
        Some("unsupported_type")
    );
    assert_eq!(
        code(vec![field("a", DataType::Duration(TimeUnit::Second))]).err(),
        Some("unsupported_type")
    );
    let twins = structure(vec![
        field("x", DataType::Int32),
        field("x", DataType::Utf8),
    ]);
    assert_eq!(
        code(vec![field("a", twins)]).err(),
        Some("duplicate_column")
    );
}

#[test]
fn a_table_grows_at_every_depth() {
    let start = to_iceberg(&arrow_schema(vec![
        Field::new("id", DataType::Int32, false),
        field(
            "items",
            list(field(
                "item",
                structure(vec![Field::new("sku", DataType::Utf8, false)]),
            )),
        ),
        field("place", structure(vec![field("lat", DataType::Float32)])),
        Field::new("gone", DataType::Utf8, false),
    ]))
    .unwrap();
    let item = structure(vec![
        field("price", DataType::Decimal128(9, 2)),
        field("sku", DataType::Utf8),
    ]);
    let incoming = arrow_schema(vec![
        field("note", DataType::Utf8),
        field(
            "place",
            structure(vec![
                field("lon", DataType::Float64),
                field("lat", DataType::Float64),
            ]),
        ),
        field("items", list(field("item", item))),
        Field::new("id", DataType::Int64, false),
    ]);
    let (grown, changes) = evolve(&start, last_id(&start), &incoming).unwrap();
    assert_eq!(
        changes,
        [
            "widened column id from int to long",
            "made column items[].sku optional",
            "added column items[].price: decimal(9, 2)",
            "widened column place.lat from float to double",
            "added column place.lon: double",
            "made column gone optional",
            "added column note: string",
        ]
    );
    let expected = [
        "1 id long",
        "2 items -?",
        "3 items.element -?",
        "4 items.element.sku string?",
        "5 place -?",
        "6 place.lat double?",
        "7 gone string?",
        "8 items.element.price decimal(9, 2)?",
        "9 place.lon double?",
        "10 note string?",
    ];
    assert_eq!(shown(&grown), expected);
}

#[test]
fn a_name_cannot_forge_a_line_of_what_is_printed() {
    let start = to_iceberg(&arrow_schema(vec![field("a", DataType::Int32)])).unwrap();
    let incoming = arrow_schema(vec![
        field("a", DataType::Int32),
        field("b\nwarning: \u{1b}[31m\0", DataType::Int32),
    ]);
    let (_, changes) = evolve(&start, last_id(&start), &incoming).unwrap();
    assert_eq!(changes, [r"added column b\nwarning: \u{1b}[31m\u{0}: int"]);
}

#[test]
fn ids_of_dropped_columns_are_not_used_again() {
    let start = to_iceberg(&arrow_schema(vec![field("a", DataType::Int32)])).unwrap();
    let incoming = arrow_schema(vec![
        field("a", DataType::Int32),
        field("b", DataType::Int32),
    ]);
    let (grown, _) = evolve(&start, 7, &incoming).unwrap();
    assert_eq!(shown(&grown), ["1 a int?", "8 b int?"]);
}

#[test]
fn a_column_widens_only_where_nothing_is_lost() {
    use DataType::{Binary, Boolean, Date32, Decimal128, Float32, Float64, Int32, Int64, Utf8};
    let naive = DataType::Timestamp(TimeUnit::Microsecond, None);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    for (current, incoming, expected) in [
        (Int32, Int64, Some("long")),
        (Int64, Int32, Some("long")),
        (Int64, DataType::UInt64, None),
        (Int64, Float64, None),
        (Int32, Float64, None),
        (Float32, Float64, Some("double")),
        (Float64, Float32, Some("double")),
        (Float64, Int32, Some("double")),
        (Float64, Int64, Some("double")),
        (Float32, Int32, None),
        (Decimal128(9, 2), Decimal128(12, 2), Some("decimal(12, 2)")),
        (Decimal128(12, 2), Decimal128(9, 2), Some("decimal(12, 2)")),
        (Decimal128(9, 2), Decimal128(9, 1), Some("decimal(10, 2)")),
        (Decimal128(9, 2), Decimal128(9, 3), None),
        (Decimal128(9, 2), Int64, Some("decimal(21, 2)")),
        (Decimal128(38, 30), Int64, None),
        (Utf8, Int32, None),
        (Int32, Utf8, None),
        (Binary, DataType::FixedSizeBinary(4), Some("binary")),
        (Utf8, Binary, None),
        (naive.clone(), utc.clone(), None),
        (utc, naive, None),
        (Date32, Int32, None),
        (Boolean, DataType::Null, Some("boolean")),
        (Utf8, list(field("item", Utf8)), None),
        (Utf8, structure(vec![field("x", Utf8)]), None),
        (list(field("item", Utf8)), Utf8, None),
    ] {
        let table = to_iceberg(&arrow_schema(vec![field("x", current.clone())])).unwrap();
        let grown = evolve(
            &table,
            last_id(&table),
            &arrow_schema(vec![field("x", incoming.clone())]),
        );
        let shown = grown.map(|(schema, _)| {
            schema
                .field_by_id(1)
                .map(|x| x.field_type.to_string())
                .unwrap()
        });
        let shown = shown.map_err(|e| e.code());
        let expected = expected.map(str::to_owned).ok_or("incompatible_type");
        assert_eq!(shown, expected, "{current} with {incoming}");
    }
}

fn any_kind() -> impl Strategy<Value = DataType> {
    let leaf = prop_oneof![
        Just(DataType::Int32),
        Just(DataType::Int64),
        Just(DataType::Float32),
        Just(DataType::Float64),
        Just(DataType::Utf8),
        Just(DataType::Date32),
        (4..12_u8).prop_map(|digits| DataType::Decimal128(digits, 2)),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let entries = inner.clone().prop_map(|value| {
            let entries = structure(vec![Field::new("k", DataType::Utf8, false), field("v", value)]);
            DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
        });
        prop_oneof![
            2 => any_fields(inner.clone()).prop_map(structure),
            2 => (inner, any::<bool>()).prop_map(|(kind, null)| list(Field::new("item", kind, null))),
            1 => entries,
        ]
    })
}

/// A few of a few names, so that two schemas share some.
fn any_fields(
    kind: impl Strategy<Value = DataType> + Clone + 'static,
) -> impl Strategy<Value = Vec<Field>> {
    let names = prop::sample::subsequence(vec!["a", "b", "c", "d"], 1..=4).prop_shuffle();
    names.prop_flat_map(move |names| {
        let fields: Vec<_> = names
            .into_iter()
            .map(|name| {
                (kind.clone(), any::<bool>())
                    .prop_map(move |(kind, null)| Field::new(name, kind, null))
            })
            .collect();
        fields
    })
}

fn any_schema() -> impl Strategy<Value = ArrowSchema> {
    any_fields(any_kind().boxed()).prop_map(arrow_schema)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn growth_is_idempotent_and_never_moves_an_id(first in any_schema(), second in any_schema()) {
        let table = to_iceberg(&first).unwrap();
        let (same, changes) = evolve(&table, last_id(&table), &first).unwrap();
        prop_assert!(changes.is_empty() && same == table, "its own schema fits: {changes:?}");
        let Ok((grown, changes)) = evolve(&table, last_id(&table), &second) else { return Ok(()) };
        prop_assert_eq!(changes.is_empty(), grown == table, "changes are reported: {:?}", changes);
        for (id, name) in table.field_id_to_name_map() {
            prop_assert_eq!(grown.name_by_field_id(*id), Some(name.as_str()), "fields stay");
            let required = |schema: &Schema| schema.field_by_id(*id).is_some_and(|field| field.required);
            prop_assert!(required(&table) || !required(&grown), "{} became required", name);
        }
        for (id, name) in grown.field_id_to_name_map() {
            prop_assert!(table.field_by_id(*id).is_some() || *id > last_id(&table), "{} took a used id", name);
        }
        for schema in [&first, &second] {
            let (again, changes) = evolve(&grown, last_id(&grown), schema).unwrap();
            prop_assert!(changes.is_empty() && again == grown, "both fit: {:?}", changes);
        }
    }

    #[test]
    fn a_schema_survives_the_way_to_iceberg_and_back(schema in any_schema()) {
        let table = to_iceberg(&schema).unwrap();
        let read = to_arrow(&table).unwrap();
        prop_assert_eq!(shown(&to_iceberg(&read).unwrap()), shown(&table));
    }
}

/// The names that columns of `batches`, one after the other, have in a table in the end.
fn names_after(batches: &[ArrowSchema]) -> Vec<String> {
    let mut schema = None;
    for incoming in batches {
        let named = assign(schema.as_ref(), incoming).unwrap();
        schema = Some(match &schema {
            None => to_iceberg(&named).unwrap(),
            Some(schema) => evolve(schema, last_id(schema), &named).unwrap().0,
        });
    }
    let schema = schema.unwrap();
    let mut ids: Vec<i32> = schema.field_id_to_name_map().keys().copied().collect();
    ids.sort_unstable();
    let name = |id| schema.name_by_field_id(id).unwrap().to_owned();
    ids.into_iter().map(name).collect()
}

#[test]
fn names_that_differ_in_case_only_are_numbered_and_stay_so() {
    let long = |name: &str| field(name, DataType::Int64);
    let one = |name: &str| arrow_schema(vec![long(name)]);
    assert_eq!(
        names_after(&[one("id"), one("ID"), one("Id"), one("ID"), one("id")]),
        ["id", "ID_2", "Id_3"]
    );
    assert_eq!(
        names_after(&[
            arrow_schema(vec![long("Id"), long("id")]),
            one("id"),
            one("ID")
        ]),
        ["Id", "id_2", "ID_3"]
    );
    // A key that is called so itself is another column.
    assert_eq!(
        names_after(&[one("a"), one("A"), one("A_2"), one("a_2"), one("A")]),
        ["a", "A_2", "A_2_2", "a_2_3"]
    );
    assert_eq!(
        names_after(&[one("straße"), one("STRASSE"), one("É"), one("é")]),
        ["straße", "STRASSE", "É", "é_2"]
    );
    let inner = |name: &str| arrow_schema(vec![field("n", structure(vec![long(name)]))]);
    assert_eq!(
        names_after(&[inner("x"), inner("X"), inner("x")]),
        ["n", "n.x", "n.X_2"]
    );
}

#[test]
fn names_do_not_depend_on_how_many_columns_come_at_once() {
    let learned = |name: &str, kind: DataType, order: u32| {
        with_learned_order(Field::new(name, kind, true), order)
    };
    let long = |name: &str, order: u32| learned(name, DataType::Int64, order);
    // {"n": {"x": 1}, "n.x": 2}, then {"n": {"X": 3}}
    let first = vec![
        learned("n", structure(vec![long("x", 2)]), 1),
        long("n.x", 3),
    ];
    let both = vec![
        learned("n", structure(vec![long("x", 2), long("X", 4)]), 1),
        long("n.x", 3),
    ];
    let apart = names_after(&[arrow_schema(first), arrow_schema(both.clone())]);
    assert_eq!(apart, ["n", "n.x", "n.x_2", "n.X_3"]);
    let mut joined = names_after(&[arrow_schema(both)]);
    joined.sort();
    let mut apart = apart;
    apart.sort();
    assert_eq!(joined, apart);
    // {"n": {"y": 1}}, then {"n.x": 2}, then {"n": {"x": 3}}
    let joined = names_after(&[arrow_schema(vec![
        learned(
            "n",
            list(field("item", structure(vec![long("y", 2), long("x", 4)]))),
            1,
        ),
        long("n.element.x", 3),
    ])]);
    assert!(joined.contains(&"n.element.x".to_owned()), "{joined:?}");
    assert!(joined.contains(&"n.element.x_2".to_owned()), "{joined:?}");
}

#[test]
fn dotted_names_beside_nested_ones_are_numbered() {
    let long = |name: &str| field(name, DataType::Int64);
    let nested = || field("n", structure(vec![long("x")]));
    assert_eq!(
        names_after(&[arrow_schema(vec![nested(), long("n.x")])]),
        ["n", "n.x", "n.x_2"]
    );
    assert_eq!(
        names_after(&[
            arrow_schema(vec![long("n.X")]),
            arrow_schema(vec![nested()])
        ]),
        ["n.X", "n", "n.x_2"]
    );
    let listed = || field("a", list(long("element")));
    assert_eq!(
        names_after(&[
            arrow_schema(vec![listed()]),
            arrow_schema(vec![long("a.element")])
        ]),
        ["a", "a.element", "a.element_2"]
    );
    // The element of a list has no name of its own, so the list gives way.
    assert_eq!(
        names_after(&[
            arrow_schema(vec![long("a.element")]),
            arrow_schema(vec![listed()])
        ]),
        ["a.element", "a_2", "a_2.element"]
    );
    let entries = structure(vec![long("keys"), long("values")]);
    let map = field(
        "m",
        DataType::Map(Arc::new(Field::new("entries", entries, false)), false),
    );
    assert_eq!(
        names_after(&[arrow_schema(vec![long("m.value"), map])]),
        ["m.value", "m_2", "m_2.key", "m_2.value"]
    );
    let members = structure(vec![field("y", structure(vec![long("z")])), long("y.z")]);
    assert_eq!(
        names_after(&[arrow_schema(vec![field("x", list(field("item", members)))])]),
        [
            "x",
            "x.element",
            "x.element.y",
            "x.element.y.z",
            "x.element.y.z_2"
        ]
    );
}

#[test]
fn types_are_bounded_in_depth_where_a_table_grows() {
    let deep = |levels: usize| {
        let mut kind = DataType::Int64;
        for level in 1..levels {
            kind = match level % 2 {
                0 => list(field("element", kind)),
                _ => structure(vec![field("a", kind)]),
            };
        }
        arrow_schema(vec![field("a", kind)])
    };
    let fits = to_iceberg(&assign(None, &deep(TYPE_DEPTH_MAX)).unwrap()).unwrap();
    let text = serde_json::to_vec(&fits).unwrap();
    // With the enclosing metadata.
    assert!(forebay_core::json::nesting(&text) + 8 < 110);
    let error = assign(None, &deep(TYPE_DEPTH_MAX + 1)).unwrap_err();
    assert_eq!(error.code(), "type_too_deep");
    let error = assign(Some(&fits), &deep(TYPE_DEPTH_MAX + 2)).unwrap_err();
    assert_eq!(error.code(), "type_too_deep");
    // A table that is deeper than that, from before, stays readable and writable.
    let older = to_iceberg(&deep(60)).unwrap();
    assert!(assign(Some(&older), &deep(60)).is_ok());
}
