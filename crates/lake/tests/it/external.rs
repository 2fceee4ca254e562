//! Commits of other engines: what lands, what is refused, and what stays as it was.

use std::collections::BTreeMap;

use forebay_core::{Error, ErrorKind, RefName, Result};
use forebay_lake::{ExternalChange, ExternalCommit, Table, TableDefinition};
use object_store::ObjectStoreExt;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::{Site, append, id_rows, name};

const AUTHOR: &str = "another engine";

fn commit_of(changes: Vec<(&str, Value, Value)>) -> Result<ExternalCommit> {
    let list = |value: Value| value.as_array().unwrap().clone();
    let changes = changes
        .into_iter()
        .map(|(table, requirements, updates)| {
            ExternalChange::parse(name(table), list(requirements), list(updates))
        })
        .collect::<Result<_>>()?;
    Ok(ExternalCommit {
        branch: RefName::main(),
        author: AUTHOR.to_owned(),
        changes,
    })
}

async fn commit(site: &Site, changes: Vec<(&str, Value, Value)>) -> Result<Vec<Table>> {
    site.lake.commit_external(commit_of(changes)?).await
}

/// One change without requirements.
pub(crate) async fn change(site: &Site, table: &str, updates: Value) -> Result<Table> {
    let mut tables = commit(site, vec![(table, json!([]), updates)]).await?;
    Ok(tables.remove(0))
}

pub(crate) async fn create(site: &Site, table: &str, properties: &[(&str, &str)]) -> Result<Table> {
    let properties = properties.iter();
    let definition = TableDefinition {
        schema: json!({"type": "struct", "fields": [{"id": 7, "name": "id", "required": true, "type": "long"}]}),
        properties: properties
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        ..TableDefinition::default()
    };
    let planned = site
        .lake
        .plan_external_table(name(table), definition)
        .await?;
    let main = RefName::main();
    site.lake
        .create_external_table(&main, planned, AUTHOR)
        .await
}

/// The newest snapshot of a table as one that comes after it.
fn next_snapshot(table: &Table) -> Value {
    let metadata = table.metadata_json().unwrap();
    let mut snapshot = metadata["snapshots"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    snapshot["parent-snapshot-id"] = snapshot["snapshot-id"].clone();
    snapshot["snapshot-id"] = json!(snapshot["snapshot-id"].as_i64().unwrap() / 2 + 1);
    snapshot["sequence-number"] = json!(metadata["last-sequence-number"].as_i64().unwrap() + 1);
    snapshot
}

fn appended(snapshot: &Value) -> Value {
    json!([
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]},
    ])
}

fn code(result: Result<Table>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "done")
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_other_engines_have_folders_of_the_server_and_our_rows() {
    let site = Site::new().await;
    let table = create(&site, "a.t", &[("format-version", "2"), ("note", "x")])
        .await
        .unwrap();
    let metadata = table.metadata_json().unwrap();
    let folder = format!("{}/tables/{}", site.place.root, table.uuid());
    assert_eq!(metadata["location"], json!(folder));
    assert_eq!(metadata["properties"]["note"], "x");
    assert_eq!(metadata["properties"]["gc.enabled"], "false");
    assert_eq!(
        create(&site, "a.t", &[]).await.unwrap_err().code(),
        "table_exists"
    );
    append(&site.lake, "a.t", id_rows([1, 2])).await.unwrap();
    assert_eq!(site.ids("a.t").await, [1, 2]);
    let log = site.lake.store().log(&RefName::main(), 10).await.unwrap();
    assert_eq!(
        (log[1].author.as_str(), log[1].message.as_str()),
        (AUTHOR, "create a.t")
    );
    for (properties, code) in [
        (("forebay.owner", "x"), "update_refused"),
        (("write.data.path", "file:///tmp"), "update_refused"),
        (("write.metadata.path", "s3://x"), "update_refused"),
        (("gc.enabled", "true"), "update_refused"),
        (("format-version", "1"), "update_refused"),
        (("current-schema", "{}"), "bad_update"),
    ] {
        let error = create(&site, "a.u", &[properties]).await.unwrap_err();
        assert_eq!(error.code(), code, "{properties:?}");
    }
    assert_eq!(
        create(&site, "raw.t", &[]).await.unwrap_err().code(),
        "table_read_only"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_are_held_to_the_newest_state_and_positions_stay() {
    let site = Site::new().await;
    let mut draft = crate::site::drafted(&site.lake, "a.t", id_rows([1]))
        .await
        .unwrap();
    draft.set_property("forebay.position.p.all", "{\"at\":1}");
    site.commit(draft).await;
    let before = site.table("a.t").await;
    append(&site.lake, "a.t", id_rows([2])).await.unwrap();
    let stale = json!([{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": before.snapshot_id()}]);
    let update = json!([{"action": "set-properties", "updates": {"k": "v"}}]);
    let error = commit(&site, vec![("a.t", stale, update.clone())])
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Conflict, "requirement_failed")
    );
    assert!(
        error
            .message()
            .starts_with("Requirement failed: branch or tag main has changed")
    );
    let current = site.table("a.t").await;
    let fresh = json!([
        {"type": "assert-table-uuid", "uuid": current.uuid()},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": current.snapshot_id()},
    ]);
    commit(&site, vec![("a.t", fresh, update)]).await.unwrap();
    let table = site.table_elsewhere("a.t").await;
    assert_eq!(table.properties()["k"], "v");
    assert_eq!(table.properties()["forebay.position.p.all"], "{\"at\":1}");
    // The metadata file before is named, also by a table whose log was empty.
    let log = table.metadata_json().unwrap()["metadata-log"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        log.last().unwrap()["metadata-file"],
        current.metadata_location()
    );
    assert_eq!(site.ids("a.t").await, [1, 2]);
    let missing = change(&site, "a.none", json!([])).await;
    assert_eq!(code(missing), "no_such_table");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_keeps_the_file_before_in_the_log_of_the_metadata() {
    let site = Site::new().await;
    let first = create(&site, "a.t", &[]).await.unwrap();
    let set = |value: &str| json!([{"action": "set-properties", "updates": {"k": value}}]);
    let second = change(&site, "a.t", set("1")).await.unwrap();
    let third = change(&site, "a.t", set("2")).await.unwrap();
    let log = third.metadata_json().unwrap()["metadata-log"].clone();
    let files: Vec<&str> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["metadata-file"].as_str().unwrap())
        .collect();
    assert_eq!(
        files,
        [first.metadata_location(), second.metadata_location()]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_many_tables_lands_wholly_or_not_at_all() {
    let site = Site::new().await;
    for table in ["a.t", "a.u"] {
        append(&site.lake, table, id_rows([1])).await.unwrap();
    }
    let set = json!([{"action": "set-properties", "updates": {"k": "v"}}]);
    let wrong = json!([{"type": "assert-table-uuid", "uuid": Uuid::nil()}]);
    let half = vec![("a.t", json!([]), set.clone()), ("a.u", wrong, set.clone())];
    assert_eq!(
        commit(&site, half).await.unwrap_err().code(),
        "requirement_failed"
    );
    assert!(!site.table("a.t").await.properties().contains_key("k"));
    let both = vec![
        ("a.t", json!([]), set.clone()),
        ("a.u", json!([]), set.clone()),
    ];
    commit(&site, both).await.unwrap();
    let log = site.lake.store().log(&RefName::main(), 1).await.unwrap();
    assert_eq!(log[0].changes.len(), 2);
    let twice = vec![("a.t", json!([]), set.clone()), ("a.t", json!([]), set)];
    assert_eq!(commit(&site, twice).await.unwrap_err().code(), "bad_update");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_name_files_of_their_own_table_and_follow_the_others() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    append(&site.lake, "a.other", id_rows([9])).await.unwrap();
    let table = site.table("a.t").await;
    let good = next_snapshot(&table);
    let other = next_snapshot(&site.table("a.other").await);
    let folder = table.metadata_json().unwrap()["location"]
        .as_str()
        .unwrap()
        .to_owned();
    let list = good["manifest-list"].as_str().unwrap();
    let up = list.replace("/metadata/", "/metadata/../../x/");
    for (key, value, code) in [
        (
            "manifest-list",
            other["manifest-list"].clone(),
            "update_refused",
        ),
        ("manifest-list", json!("/etc/passwd"), "update_refused"),
        ("manifest-list", json!(folder), "update_refused"),
        (
            "manifest-list",
            json!(format!("{folder}-more/metadata/x.avro")),
            "update_refused",
        ),
        ("manifest-list", json!(up), "update_refused"),
        (
            "manifest-list",
            json!(format!("{folder}/metadata/none.avro")),
            "bad_update",
        ),
        (
            "manifest-list",
            json!(table.metadata_location()),
            "bad_update",
        ),
        ("sequence-number", json!(i64::MAX), "bad_update"),
        ("sequence-number", json!(1), "requirement_failed"),
        ("sequence-number", json!(-5), "requirement_failed"),
        ("parent-snapshot-id", json!(12345), "bad_update"),
        ("schema-id", json!(77), "bad_update"),
        ("timestamp-ms", json!(i64::MAX / 2), "bad_update"),
        ("timestamp-ms", json!(1_000), "bad_update"),
    ] {
        let mut snapshot = good.clone();
        snapshot[key] = value.clone();
        let refused = change(&site, "a.t", appended(&snapshot)).await;
        assert_eq!(self::code(refused), code, "{key}: {value}");
    }
    assert_eq!(
        site.table_elsewhere("a.t").await.metadata_location(),
        table.metadata_location()
    );
    change(&site, "a.t", appended(&good)).await.unwrap();
    assert_eq!(site.table("a.t").await.snapshots().len(), 2);
    append(&site.lake, "a.t", id_rows([2])).await.unwrap();
    assert_eq!(site.ids("a.t").await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_owns_cannot_be_changed() {
    let site = Site::new().await;
    let mut draft = crate::site::drafted(&site.lake, "a.t", id_rows([1]))
        .await
        .unwrap();
    draft.set_property("forebay.owner", "a.t");
    site.commit(draft).await;
    let table = site.table("a.t").await;
    let outside = format!(
        "{}/../x",
        table.metadata_json().unwrap()["location"].as_str().unwrap()
    );
    let current = table.snapshot_id();
    let spec = |transform: &str| json!({"action": "add-spec", "spec": {"fields": [{"source-id": 1, "name": "p", "transform": transform}]}});
    for (update, code) in [
        (
            json!({"action": "set-location", "location": "file:///etc"}),
            "update_refused",
        ),
        (
            json!({"action": "set-location", "location": outside}),
            "update_refused",
        ),
        (
            json!({"action": "assign-uuid", "uuid": Uuid::nil()}),
            "update_refused",
        ),
        (
            json!({"action": "set-properties", "updates": {"forebay.owner": "me"}}),
            "update_refused",
        ),
        (
            json!({"action": "set-properties", "updates": {"gc.enabled": "true"}}),
            "update_refused",
        ),
        (
            json!({"action": "set-properties", "updates": {"write.object-storage.path": "x"}}),
            "update_refused",
        ),
        (
            json!({"action": "remove-properties", "removals": ["forebay.owner"]}),
            "update_refused",
        ),
        (
            json!({"action": "upgrade-format-version", "format-version": 3}),
            "update_refused",
        ),
        (
            json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "tag", "snapshot-id": current}),
            "bad_update",
        ),
        (
            json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": current, "min-snapshots-to-keep": 0}),
            "bad_update",
        ),
        (
            json!({"action": "set-snapshot-ref", "ref-name": "x", "type": "tag", "snapshot-id": current, "max-ref-age-ms": -1}),
            "bad_update",
        ),
        (
            json!({"action": "remove-snapshots", "snapshot-ids": [current]}),
            "bad_update",
        ),
        (
            json!({"action": "set-current-schema", "schema-id": 99}),
            "bad_update",
        ),
        (
            json!({"action": "remove-schemas", "schema-ids": [0]}),
            "bad_update",
        ),
        (
            json!({"action": "set-snapshot-ref", "ref-name": "x", "type": "tag", "snapshot-id": 5}),
            "bad_update",
        ),
        (json!({"action": "fly-to-the-moon"}), "bad_update"),
        (spec("bucket[0]"), "bad_update"),
        (spec("truncate[0]"), "bad_update"),
        (spec("bucket[4294967295]"), "bad_update"),
        (
            json!({"action": "add-schema", "schema": {"type": "struct", "fields": [
            {"id": 1, "name": "id", "required": true, "type": "long"}, {"id": i32::MAX, "name": "x", "required": false, "type": "long"}]}}),
            "bad_update",
        ),
        (
            json!({"action": "set-statistics", "snapshot-id": current, "statistics": {"snapshot-id": current,
            "statistics-path": "/etc/passwd", "file-size-in-bytes": 1, "file-footer-size-in-bytes": 1, "blob-metadata": []}}),
            "update_refused",
        ),
    ] {
        let refused = change(&site, "a.t", json!([update])).await;
        assert_eq!(self::code(refused), code, "{update}");
    }
    // What it has already may be said again.
    let same = json!([
        {"action": "set-properties", "updates": {"forebay.owner": "a.t", "gc.enabled": "false"}},
        {"action": "set-location", "location": table.metadata_json().unwrap()["location"]},
        {"action": "assign-uuid", "uuid": table.uuid()},
    ]);
    change(&site, "a.t", same).await.unwrap();
    assert_eq!(site.table("a.t").await.properties()["forebay.owner"], "a.t");
    let many = vec![json!({"action": "set-location", "location": "x"}); 1_001];
    let error: Error = commit_of(vec![("a.t", json!([]), json!(many))]).unwrap_err();
    assert_eq!(error.code(), "bad_update");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_table_takes_no_other_folder() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let victim = site.table("a.t").await;
    let root = &site.place.root;
    let uuid = Uuid::new_v4();
    let create = json!([{"type": "assert-create"}]);
    let updates = |uuid: Uuid, location: String| {
        json!([
            {"action": "assign-uuid", "uuid": uuid},
            {"action": "upgrade-format-version", "format-version": 2},
            {"action": "add-schema", "schema": {"type": "struct", "fields": [{"id": 1, "name": "id", "required": true, "type": "long"}]}},
            {"action": "set-current-schema", "schema-id": -1},
            {"action": "add-spec", "spec": {"fields": [{"source-id": 1, "name": "b", "transform": "bucket[4]"}]}},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "add-sort-order", "sort-order": {"order-id": 1, "fields": [{"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]}},
            {"action": "set-default-sort-order", "sort-order-id": -1},
            {"action": "set-location", "location": location},
        ])
    };
    for (uuid, location) in [
        (uuid, "file:///etc".to_owned()),
        (uuid, format!("{root}/raw")),
        (uuid, format!("{root}/tables/{}", victim.uuid())),
        (victim.uuid(), format!("{root}/tables/{}", victim.uuid())),
        (uuid, format!("{root}/tables/../tables/{uuid}")),
    ] {
        let change = ("a.n", create.clone(), updates(uuid, location.clone()));
        let error = commit(&site, vec![change]).await.unwrap_err();
        assert_eq!(error.code(), "update_refused", "{location}");
    }
    let location = format!("{root}/tables/{uuid}");
    let change = ("a.n", create.clone(), updates(uuid, location.clone()));
    let made = commit(&site, vec![change]).await.unwrap().remove(0);
    let metadata = made.metadata_json().unwrap();
    assert_eq!(
        (&metadata["location"], made.uuid()),
        (&json!(location), uuid)
    );
    assert_eq!(
        (
            &metadata["default-spec-id"],
            &metadata["default-sort-order-id"]
        ),
        (&json!(0), &json!(1))
    );
    assert_eq!(metadata["schemas"].as_array().unwrap().len(), 1);
    let again = ("a.n", create, updates(uuid, location));
    assert_eq!(
        commit(&site, vec![again]).await.unwrap_err().code(),
        "requirement_failed"
    );
    append(&site.lake, "a.n", id_rows([1])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_registered_renamed_and_dropped() {
    let site = Site::new().await;
    let main = RefName::main();
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let location = site.table("a.t").await.metadata_location().to_owned();
    let lake = &site.lake;
    let twice = lake
        .register_external(&main, &name("a.again"), &location, AUTHOR)
        .await;
    assert_eq!(code(twice), "already_registered");
    lake.rename_external(&main, &name("a.t"), &name("b.u"), AUTHOR)
        .await
        .unwrap();
    assert_eq!(
        (site.ids("a.t").await.len(), site.ids("b.u").await),
        (0, vec![1])
    );
    append(lake, "b.u", id_rows([2])).await.unwrap();
    let newest = site.table("b.u").await.metadata_location().to_owned();
    let metadata = site.table("b.u").await.metadata_json().unwrap();
    lake.drop_external(&main, &name("b.u"), AUTHOR)
        .await
        .unwrap();
    lake.register_external(&main, &name("c.v"), &newest, AUTHOR)
        .await
        .unwrap();
    assert_eq!(site.ids("c.v").await, [1, 2]);
    let taken = lake
        .register_external(&main, &name("c.v"), &newest, AUTHOR)
        .await;
    assert_eq!(code(taken), "table_exists");
    for (location, code) in [
        ("file:///etc/passwd.metadata.json", "outside_lake"),
        ("/etc/passwd", "outside_lake"),
    ] {
        let refused = lake
            .register_external(&main, &name("c.w"), location, AUTHOR)
            .await;
        assert_eq!(self::code(refused), code, "{location}");
    }
    lake.drop_external(&main, &name("c.v"), AUTHOR)
        .await
        .unwrap();
    for (key, value, code) in [
        ("last-sequence-number", json!(i64::MAX), "bad_update"),
        ("last-updated-ms", json!(i64::MAX), "bad_update"),
        ("last-column-id", json!(i32::MAX), "bad_update"),
        (
            "location",
            json!(format!("{}/raw", site.place.root)),
            "update_refused",
        ),
        ("location", json!(site.place.root), "outside_lake"),
        ("table-uuid", json!(Uuid::new_v4()), "update_refused"),
        (
            "properties",
            json!({"forebay.owner": "a.t"}),
            "update_refused",
        ),
    ] {
        let mut metadata = metadata.clone();
        metadata[key] = value;
        let (folder, _) = newest.rsplit_once('/').unwrap();
        let location = format!("{folder}/0-{}.metadata.json", Uuid::new_v4());
        let path = location.strip_prefix(&site.place.root).unwrap().to_owned();
        let bytes = serde_json::to_vec(&metadata).unwrap().into();
        site.place
            .objects
            .put(&path.trim_start_matches('/').into(), bytes)
            .await
            .unwrap();
        let refused = lake
            .register_external(&main, &name("c.w"), &location, AUTHOR)
            .await;
        assert_eq!(self::code(refused), code, "{key}");
    }
    let none = format!("{}/tables/x/metadata/1.metadata.json", site.place.root);
    let refused = lake
        .register_external(&main, &name("c.w"), &none, AUTHOR)
        .await;
    assert_eq!(code(refused), "bad_update");
}

/// The files of a table must stay readable, and mean here what they mean in the other engine.
#[tokio::test(flavor = "multi_thread")]
async fn columns_change_only_as_files_can_be_read() {
    let site = Site::new().await;
    create(&site, "a.t", &[]).await.unwrap();
    append(&site.lake, "a.t", id_rows([1])).await.unwrap();
    let becomes = |fields: Value| {
        let schema = json!({"type": "struct", "fields": fields});
        json!([
            {"action": "add-schema", "schema": schema},
            {"action": "set-current-schema", "schema-id": -1},
        ])
    };
    let table = site.table("a.t").await;
    let id = table.metadata_json().unwrap()["schemas"][0]["fields"][0].clone();
    let number = id["id"].as_i64().unwrap();
    let more = |field: Value| becomes(json!([id, field]));
    let typed = |kind: &str| {
        becomes(json!([{"id": number, "name": "id", "required": false, "type": kind}]))
    };
    for (updates, expected) in [
        (typed("string"), "bad_update"),
        (typed("int"), "bad_update"),
        (
            more(json!({"id": 90, "name": "z", "required": true, "type": "int"})),
            "bad_update",
        ),
        (
            more(
                json!({"id": 90, "name": "z", "required": false, "type": "int", "initial-default": 5}),
            ),
            "update_refused",
        ),
        (
            more(json!({"id": 90, "name": "z", "required": false, "type": "int"})),
            "done",
        ),
    ] {
        assert_eq!(
            code(change(&site, "a.t", updates.clone()).await),
            expected,
            "{updates}"
        );
    }
}
