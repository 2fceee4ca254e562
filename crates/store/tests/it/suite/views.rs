use forebay_core::RefName;

use super::*;

#[tokio::test]
async fn iceberg_clients_find_main_where_the_jdbc_catalog_would_have_it() {
    let Some(world) = world().await else {
        return;
    };
    let (main, dev) = (RefName::main(), branch("dev"));
    world
        .commit(&main, &[set("a.t", None, "t1"), set("b.u", None, "u1")])
        .await
        .unwrap();
    world
        .commit(
            &main,
            &[set("a.t", Some("t1"), "t2"), drop_table("b.u", "u1")],
        )
        .await
        .unwrap();
    world.store.create_branch(&dev, &main).await.unwrap();
    world
        .commit(
            &dev,
            &[set("a.t", Some("t2"), "d1"), set("c.w", None, "w1")],
        )
        .await
        .unwrap();
    let tables = rows(
        &world.url,
        "SELECT catalog_name, table_namespace, table_name, metadata_location, previous_metadata_location, iceberg_type
         FROM iceberg_tables",
    );
    let row = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| Some((*text).to_owned()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        tables.await.unwrap(),
        [row(&["forebay", "a", "t", "t2", "t1", "TABLE"])]
    );
    let namespaces = rows(
        &world.url,
        "SELECT catalog_name, namespace, property_key, property_value FROM iceberg_namespace_properties",
    );
    assert_eq!(
        namespaces.await.unwrap(),
        [row(&["forebay", "a", "exists", "true"])]
    );
    for write in [
        "UPDATE iceberg_tables SET metadata_location = 'x'",
        "DELETE FROM iceberg_tables",
    ] {
        assert!(
            rows(&world.url, write).await.is_err(),
            "other clients only read"
        );
    }
}
