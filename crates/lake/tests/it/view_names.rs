//! Names of the views beside a bitemporal table: no table gets one, whichever of the two comes first.

use arrow::datatypes::{DataType, Field, Schema};
use forebay_core::{Error, RefName};
use forebay_lake::bitemporal::{Bitemporal, Until, table_schema};
use forebay_store::{Change, HeadChange};

use crate::external::create;
use crate::site::{Site, append, head, id_rows, name, request};

const CODE: &str = "view_name_taken";

async fn bitemporal(site: &Site, table: &str) -> Result<(), Error> {
    let mut draft = site.draft(table).await;
    if !draft.exists() {
        let rows = Schema::new(vec![Field::new("k", DataType::Int64, true)]);
        draft.create(&table_schema(&rows), &[])?;
    }
    draft.bitemporal_by(&Bitemporal {
        key: vec!["k".to_owned()],
        order: None,
        until: Until::Next,
        coalesce: true,
    })?;
    site.lake.commit(request(vec![draft], Vec::new())).await?;
    Ok(())
}

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "done")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_hides_no_view() {
    let site = Site::new().await;
    bitemporal(&site, "a.t").await.unwrap();
    for view in ["a.t__now", "a.t__current"] {
        assert_eq!(code(append(&site.lake, view, id_rows([1])).await), CODE);
        assert_eq!(code(create(&site, view, &[]).await), CODE);
    }
    append(&site.lake, "a.other", id_rows([1])).await.unwrap();
    let main = RefName::main();
    let (from, to) = (name("a.other"), name("a.t__now"));
    let renamed = site.lake.rename_external(&main, &from, &to, "me").await;
    assert_eq!(code(renamed), CODE);
    let table = site.table("a.other").await;
    site.lake.drop_external(&main, &from, "me").await.unwrap();
    let location = table.metadata_location();
    let registered = site.lake.register_external(&main, &to, location, "me");
    assert_ne!(code(registered.await), "done");
    let back = HeadChange {
        table: to,
        uuid: table.uuid(),
        expected: None,
        change: Change::Set(location.to_owned()),
    };
    assert_eq!(
        code(site.lake.check_new_heads(&head(), &[back]).await),
        CODE
    );
    // The names are free beside any other table.
    append(&site.lake, "a.u", id_rows([1])).await.unwrap();
    append(&site.lake, "a.u__now", id_rows([1])).await.unwrap();
    append(&site.lake, "b.t__now", id_rows([1])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_table_becomes_bitemporal_beside_one_with_the_name_of_its_view() {
    let site = Site::new().await;
    append(&site.lake, "a.t__current", id_rows([1]))
        .await
        .unwrap();
    assert_eq!(code(bitemporal(&site, "a.t").await), CODE);
    bitemporal(&site, "a.x").await.unwrap();
    let main = RefName::main();
    let (from, to) = (name("a.x"), name("a.t"));
    let renamed = site.lake.rename_external(&main, &from, &to, "me").await;
    assert_eq!(code(renamed), CODE);
    // One without periods may become bitemporal as long as it never had a row.
    let schema = Schema::new(vec![Field::new("k", DataType::Int64, true)]);
    let mut plain = site.draft("a.t").await;
    plain.create(&table_schema(&schema), &[]).unwrap();
    site.commit(plain).await;
    assert_eq!(code(bitemporal(&site, "a.t").await), CODE);
    site.lake
        .drop_external(&main, &name("a.t__current"), "me")
        .await
        .unwrap();
    bitemporal(&site, "a.t").await.unwrap();
    assert!(site.draft("a.t").await.is_bitemporal());
}
