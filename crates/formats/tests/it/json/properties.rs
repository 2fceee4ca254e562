//! Properties, against a plain reader of the same records.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use forebay_formats::json::Nested;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{extract, lines, tables};

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1000..1000).prop_map(|quarter| json!(f64::from(quarter) / 4.0)),
        "[a-z\"\\\\\n é😀]{0,20}".prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner).prop_map(Value::Object)
        ]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec(("[a-d]", inner), 0..4).prop_map(|entries| entries.into_iter().collect())
}

fn records() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(object(value()).prop_map(Value::Object), 1..12)
}

fn has_value(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => list.iter().any(has_value),
        Value::Object(object) => object.values().any(has_value),
        _ => true,
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}__{key}")
    }
}

/// A name without the marks of kinds.
fn plain(name: &str) -> String {
    let parts = name
        .split("__")
        .filter(|part| !part.starts_with("v_") && !part.starts_with("e_"));
    parts.collect::<Vec<_>>().join("__")
}

/// Table, column and value of every scalar of a record, and the rows that it has in each table.
#[derive(Debug, Default, PartialEq)]
struct Facts {
    values: BTreeMap<(String, String, String), usize>,
    rows: BTreeMap<String, usize>,
}

impl Facts {
    /// `path` tells lists apart whose tables have the same plain name: `a.b` and `a[].b`.
    fn read(&mut self, value: &Value, place: (&str, &str), path: &str, lists: &BTreeSet<String>) {
        let (table, column) = place;
        match value {
            Value::Null => {}
            Value::Object(object) => {
                for (key, value) in object {
                    self.read(
                        value,
                        (table, &join(column, key)),
                        &format!("{path}.{key}"),
                        lists,
                    );
                }
            }
            Value::Array(list) if lists.contains(path) => {
                let child = join(table, if column.is_empty() { "value" } else { column });
                *self.rows.entry(child.clone()).or_default() += list.len();
                for value in list {
                    self.read(value, (&child, ""), &format!("{path}[]"), lists);
                }
            }
            Value::Array(_) => {}
            scalar => self.add(
                table,
                if column.is_empty() { "value" } else { column },
                scalar,
            ),
        }
    }

    fn add(&mut self, table: &str, column: &str, scalar: &Value) {
        let text = scalar
            .as_f64()
            .map_or_else(|| scalar.to_string(), |number| format!("{number:?}"));
        *self
            .values
            .entry((table.to_owned(), column.to_owned(), text))
            .or_default() += 1;
    }
}

/// The paths of the lists that have a value in any record.
fn known_lists(value: &Value, path: &str, lists: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                known_lists(value, &format!("{path}.{key}"), lists);
            }
        }
        Value::Array(list) if has_value(value) => {
            lists.insert(path.to_owned());
            for value in list {
                known_lists(value, &format!("{path}[]"), lists);
            }
        }
        _ => {}
    }
}

fn to_lines(records: &[Value]) -> Vec<u8> {
    records
        .iter()
        .flat_map(|record| format!("{record}\n").into_bytes())
        .collect()
}

/// What the tables say of each record, by the key of its main row; checks the keys on the way.
fn facts_of_tables(tables: &BTreeMap<String, Vec<Value>>) -> Vec<Facts> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let main: HashMap<String, usize> = tables[""]
        .iter()
        .enumerate()
        .map(|(i, row)| (text(row, "_fb_id"), i))
        .collect();
    let mut facts: Vec<Facts> = tables[""].iter().map(|_| Facts::default()).collect();
    let mut roots: HashMap<String, String> =
        main.keys().map(|id| (id.clone(), id.clone())).collect();
    // Parents have shorter names than children, so they come first.
    let mut names: Vec<&String> = tables.keys().collect();
    names.sort_by_key(|name| name.len());
    for name in names {
        let mut places = HashSet::new();
        for row in &tables[name] {
            let id = text(row, "_fb_id");
            if !name.is_empty() {
                let (parent, root) = (text(row, "_fb_parent_id"), text(row, "_fb_root_id"));
                assert_eq!(roots[&parent], root, "a child's root is its parent's");
                assert!(
                    places.insert((parent, row["_fb_index"].as_i64())),
                    "two children at one place"
                );
                assert!(
                    roots.insert(id.clone(), root).is_none(),
                    "a key is there twice"
                );
            }
            let fact = &mut facts[main[&roots[&id]]];
            *fact.rows.entry(plain(name)).or_default() += usize::from(!name.is_empty());
            for (column, value) in row
                .as_object()
                .unwrap()
                .iter()
                .filter(|(column, _)| !column.starts_with("_fb_"))
            {
                fact.add(&plain(name), &plain(column), value);
            }
        }
    }
    facts
        .iter_mut()
        .for_each(|facts| facts.rows.retain(|_, rows| *rows > 0));
    facts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_value_lands_in_its_column_and_every_element_in_its_table(records in records()) {
        let out = extract(&lines(Nested::Tables), &[vec![&to_lines(&records)]]);
        if !records.iter().any(has_value) {
            prop_assert_eq!(out.rows(), 0);
            return Ok(());
        }
        prop_assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let mut lists = BTreeSet::new();
        records.iter().for_each(|record| known_lists(record, "", &mut lists));
        let expected: Vec<Facts> = records
            .iter()
            .map(|record| {
                let mut facts = Facts::default();
                facts.read(record, ("", ""), "", &lists);
                facts.rows.retain(|_, rows| *rows > 0);
                facts
            })
            .collect();
        prop_assert_eq!(facts_of_tables(&tables(&out)), expected);
    }

    #[test]
    fn kept_records_hold_the_scalars_of_the_records(records in records()) {
        fn scalars(value: &Value, out: &mut Vec<String>) {
            match value {
                Value::Null => {}
                Value::Array(list) => list.iter().for_each(|value| scalars(value, out)),
                Value::Object(object) => object.values().for_each(|value| scalars(value, out)),
                scalar => out.push(scalar.as_f64().map_or_else(|| scalar.to_string(), |number| format!("{number:?}"))),
            }
        }
        for nested in [Nested::Keep, Nested::Flatten] {
            let out = extract(&lines(nested), &[vec![&to_lines(&records)]]);
            if records.iter().any(has_value) {
                prop_assert!(out.rejected.is_empty(), "{:?}", out.rejected);
                for (row, record) in tables(&out)[""].iter().zip(&records) {
                    let (mut found, mut expected) = (Vec::new(), Vec::new());
                    scalars(row, &mut found);
                    scalars(record, &mut expected);
                    found.sort();
                    expected.sort();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn how_the_bytes_are_cut_changes_nothing(
        parts in prop::collection::vec(prop_oneof![
            4 => object(value()).prop_map(|record| Value::Object(record).to_string().into_bytes()),
            1 => Just(b"{\"a\":".to_vec()),
            1 => Just(b"  \r".to_vec()),
            1 => Just(b"{\"a\":1e999}".to_vec()),
            1 => Just(b"{\"b\":\"\xFF\"}".to_vec()),
            1 => Just(b"{\"c\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}".to_vec()),
        ], 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ends in any::<bool>(),
        is_lines in any::<bool>(),
    ) {
        let mut text = if is_lines { parts.join(&b'\n') } else { [&b"["[..], &parts.join(&b','), b"]"].concat() };
        if ends {
            text.push(b'\n');
        }
        let mut config = lines(Nested::Tables);
        config.lines = Some(is_lines);
        config.limits.record = "80B".parse().unwrap();
        config.limits.document = "400B".parse().unwrap();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let (whole, cut) = (extract(&config, &[vec![&text]]), extract(&config, &[chunks]));
        prop_assert_eq!(&whole.rejected, &cut.rejected);
        prop_assert_eq!(whole.batches.len(), cut.batches.len());
        for (one, other) in whole.batches.iter().zip(&cut.batches) {
            prop_assert_eq!(&one.records, &other.records);
            prop_assert_eq!(&one.origins, &other.origins);
        }
    }
}
