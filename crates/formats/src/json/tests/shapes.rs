//! Extraction of objects, lists and kinds.

use super::*;

#[test]
fn objects_are_flattened_and_lists_stay() {
    let out = flat(r#"{"a":{"b":1,"c":{"d":"x"}},"l":[1,2],"o":[{"x":true},{"y":1.5}]}"#);
    assert_eq!(
        rows(&out, ""),
        [json!({"a__b": 1, "a__c__d": "x", "l": [1, 2], "o": [{"x": true}, {"y": 1.5}]})]
    );
    assert_eq!(out.batches[0].origins.as_ref().unwrap().lengths, [64]);
}

#[test]
fn kept_objects_are_structs() {
    let text = "{\"a\":{\"b\":1}}\n{\"a\":null}\n{\"a\":{}}\n{\"a\":{\"b\":null}}\n";
    let out = extract(
        &with(Nested::Keep),
        &ContractPolicy::default(),
        &[text.as_bytes()],
    );
    assert_eq!(
        rows(&out, ""),
        [
            json!({"a": {"b": 1}}),
            json!({}),
            json!({"a": {}}),
            json!({"a": {}})
        ]
    );
}

#[test]
fn lists_become_tables_that_join_up() {
    let text = "{\"id\":1,\"items\":[{\"sku\":\"a\",\"tags\":[\"x\",\"y\"]},{\"sku\":\"b\"}]}\n{\"id\":2,\"items\":[]}\n{\"id\":3,\"items\":[{\"tags\":[null]}],\"m\":[[1],[2,3]]}\n";
    let out = extract(
        &with(Nested::Tables),
        &ContractPolicy::default(),
        &[text.as_bytes()],
    );
    let main = rows(&out, "");
    let items = rows(&out, "items");
    assert_eq!(main.len(), 3);
    assert_eq!(
        items
            .iter()
            .map(|row| row["_fb_index"].clone())
            .collect::<Vec<_>>(),
        [json!(0), json!(1), json!(0)]
    );
    assert_eq!(
        (&items[0]["_fb_parent_id"], &items[2]["_fb_parent_id"]),
        (&main[0]["_fb_id"], &main[2]["_fb_id"])
    );
    let tags = rows(&out, "items__tags");
    assert_eq!(
        tags.iter()
            .map(|row| row.get("value").cloned())
            .collect::<Vec<_>>(),
        [Some(json!("x")), Some(json!("y")), None]
    );
    assert_eq!(
        (&tags[1]["_fb_parent_id"], &tags[1]["_fb_root_id"]),
        (&items[0]["_fb_id"], &main[0]["_fb_id"])
    );
    let inner = rows(&out, "m__value");
    assert_eq!(
        inner
            .iter()
            .map(|row| row["value"].clone())
            .collect::<Vec<_>>(),
        [json!(1), json!(2), json!(3)]
    );
    assert_eq!(inner[2]["_fb_parent_id"], rows(&out, "m")[1]["_fb_id"]);
    let parents: Vec<&str> = out
        .batches
        .iter()
        .map(|batch| batch.child.as_str())
        .collect();
    assert_eq!(parents, ["", "items", "items__tags", "m", "m__value"]);
}

#[test]
fn keys_are_the_same_in_a_replay_and_differ_between_equal_records() {
    let text = b"{\"a\":[1]}\n{\"a\":[1]}\n";
    let ids = |chunks: &[&[u8]]| {
        let out = extract(&with(Nested::Tables), &ContractPolicy::default(), chunks);
        (rows(&out, ""), rows(&out, "a"))
    };
    let (main, children) = ids(&[text]);
    assert_eq!(
        (main.clone(), children.clone()),
        ids(&[&text[..3], &text[3..]])
    );
    assert_ne!(main[0]["_fb_id"], main[1]["_fb_id"]);
    assert_ne!(children[0]["_fb_id"], children[1]["_fb_id"]);
}

#[test]
fn a_key_of_several_kinds_has_a_column_for_each() {
    let out = flat("{\"a\":\"x\"}\n{\"a\":1}\n{\"a\":{\"b\":true}}\n{\"a\":[1]}\n{\"a\":false}\n");
    assert_eq!(
        rows(&out, ""),
        [
            json!({"a": "x"}),
            json!({"a__v_long": 1}),
            json!({"a__v_object__b": true}),
            json!({"a__v_list": [1]}),
            json!({"a__v_boolean": false})
        ]
    );
}

#[test]
fn a_list_of_several_kinds_is_a_list_for_each() {
    let out = flat("{\"a\":[1,\"x\",null,[true]]}\n");
    assert_eq!(
        rows(&out, ""),
        [
            json!({"a": [1, null, null, null], "a__e_string": [null, "x", null, null], "a__e_list": [null, null, null, [true]]})
        ]
    );
}

#[test]
fn a_list_without_an_element_of_a_kind_is_null_as_before_the_kind_was_known() {
    let out = flat("{\"a\":[1]}\n{\"a\":[\"x\",2]}\n{\"a\":[]}\n{\"a\":[[3]]}\n");
    assert_eq!(
        rows(&out, ""),
        [
            json!({"a": [1]}),
            json!({"a": [null, 2], "a__e_string": ["x", null]}),
            json!({"a": []}),
            json!({"a": [null], "a__e_list": [[3]]}),
        ]
    );
}

#[test]
fn a_column_comes_with_its_first_value() {
    let out = flat("{\"a\":null,\"b\":{},\"c\":[],\"d\":[null,{}],\"e\":1}\n");
    assert_eq!(rows(&out, ""), [json!({"e": 1})]);
    assert_eq!(typed_columns(&out), 1);
    assert_eq!(
        codes(&flat("{}\n{\"a\":null}\n")),
        ["no_values", "no_values"]
    );
}

#[test]
fn columns_foretold_are_those_emitted() {
    let text = r#"{"a":{"b":[{"c":1,"d":[[2]]},"x"]},"e":[1,"y",{"z":{"w":1}}],"f":{"g":1}}"#;
    for nested in [Nested::Keep, Nested::Flatten, Nested::Tables] {
        let mut extraction = start(&with(nested), &ContractPolicy::default(), None);
        let mut out = Extracted::default();
        extraction
            .push(&head(0), text.as_bytes(), &mut out)
            .unwrap();
        extraction.end(&head(0), None, &mut out).unwrap();
        extraction.flush(&mut out).unwrap();
        let stored =
            shape::from_contract(extraction.contract(), nested, &ContractPolicy::default());
        let columns = stored.unwrap().root.columns(nested);
        let mut foretold: Vec<(&str, &str)> = columns
            .iter()
            .filter(|column| column.table != "\n" && !column.name.contains('\n'))
            .map(|column| (column.table.as_str(), column.name.as_str()))
            .collect();
        let mut emitted: Vec<(String, String)> = Vec::new();
        for batch in &out.batches {
            let names = batch
                .records
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect::<Vec<_>>();
            emitted.extend(
                names
                    .into_iter()
                    .filter(|name| !name.starts_with("_fb_"))
                    .map(|name| (batch.child.clone(), name)),
            );
        }
        foretold.sort_unstable();
        emitted.sort_unstable();
        let emitted: Vec<(&str, &str)> = emitted
            .iter()
            .map(|(table, name)| (table.as_str(), name.as_str()))
            .collect();
        assert_eq!(foretold, emitted, "{nested:?}");
    }
}
