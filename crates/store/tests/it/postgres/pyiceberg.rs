//! What Iceberg clients with a JDBC catalog see of `main`.

use std::process::Command;

use forebay_core::RefName;

use crate::world::*;

const READ: &str = "
import sys
from pyiceberg.catalog.sql import SqlCatalog
catalog = SqlCatalog('forebay', uri=sys.argv[1], init_catalog_tables='false')
names = [name for namespace in catalog.list_namespaces() for name in catalog.list_tables(namespace)]
print(sorted('.'.join(name) for name in names))
";

#[tokio::test]
async fn pyiceberg_lists_the_tables_of_main() {
    let (Some(world), Some(python)) = (
        World::on_server().await,
        std::env::var_os("FOREBAY_TEST_PYTHON"),
    ) else {
        println!(
            "skipped: FOREBAY_TEST_PYTHON is not set (test.sh does): this test has checked nothing"
        );
        return;
    };
    let main = RefName::main();
    let heads = [
        set("a.t", None, "t1"),
        set("b.u", None, "u1"),
        set("b.v", None, "v1"),
    ];
    world.commit(&main, &heads).await.unwrap();
    world
        .commit(&main, &[drop_table("b.v", "v1")])
        .await
        .unwrap();
    let (server, schema) = world.url.split_once("&schema=").unwrap();
    let uri = server.replace("postgres://", "postgresql+psycopg2://");
    let uri = format!("{uri}&options=-csearch_path%3D{schema}");
    let read = Command::new(python)
        .args(["-c", READ, &uri])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stdout);
    assert_eq!(
        said.trim(),
        "['a.t', 'b.u']",
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
}
