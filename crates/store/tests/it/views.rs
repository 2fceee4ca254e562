use forebay_core::RefName;
use sqlx::{Connection, SqliteConnection};

use crate::world::*;

#[tokio::test]
async fn iceberg_clients_find_main_where_the_jdbc_catalog_would_have_it() {
    let world = world().await;
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
    let mut sql = SqliteConnection::connect(&format!("sqlite://{}", world.path.display()))
        .await
        .unwrap();
    type Row = (String, String, String, String, Option<String>, String);
    let tables: Vec<Row> = sqlx::query_as(
        "SELECT catalog_name, table_namespace, table_name, metadata_location, previous_metadata_location, iceberg_type
         FROM iceberg_tables",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    let row = ["forebay", "a", "t", "t2", "t1", "TABLE"].map(str::to_owned);
    let [catalog, namespace, name, location, previous, kind] = row;
    assert_eq!(
        tables,
        [(catalog, namespace, name, location, Some(previous), kind)]
    );
    let namespaces: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT catalog_name, namespace, property_key, property_value FROM iceberg_namespace_properties",
    )
    .fetch_all(&mut sql)
    .await
    .unwrap();
    assert_eq!(
        namespaces,
        [("forebay".into(), "a".into(), "exists".into(), "true".into())]
    );
    let written = sqlx::query("UPDATE iceberg_tables SET metadata_location = 'x'")
        .execute(&mut sql)
        .await;
    assert!(written.is_err(), "other clients only read");
}
