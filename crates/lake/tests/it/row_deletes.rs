//! Deletes of rows in tables of version 3 of the format, which readers would ignore: every way is refused and nothing is written.

use forebay_core::Error;
use forebay_lake::bitemporal::{Bitemporal, Until};
use futures::TryStreamExt;
use object_store::ObjectStore;
use roaring::RoaringTreemap;
use serde_json::json;

use crate::external::{change, create};
use crate::site::{Site, drafted, id_rows, name, request};

const CODE: &str = "row_deletes_unsupported";

async fn delete_files(site: &Site) -> usize {
    let all: Vec<_> = site.place.objects.list(None).try_collect().await.unwrap();
    let is_file = |file: &&object_store::ObjectMeta| {
        file.location.as_ref().contains("/data/") || file.location.as_ref().ends_with(".avro")
    };
    all.iter().filter(is_file).count()
}

/// A draft that replaces rows of the ids 1 and 3.
async fn upserted(site: &Site) -> Result<forebay_lake::Draft, Error> {
    let mut keyed = site.draft("a.t").await;
    keyed.upsert_by(&["id".to_owned()], None)?;
    let mut writer = keyed.writer(forebay_lake::WriterOptions::default())?;
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&id_rows([1, 3]))?;
        writer.finish()
    });
    keyed.append(written.await.unwrap()?);
    Ok(keyed)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_deletes_rows_of_a_table_of_version_3() {
    let site = Site::new().await;
    create(&site, "a.t", &[("format-version", "3")])
        .await
        .unwrap();
    let rows = drafted(&site.lake, "a.t", id_rows([1, 2])).await.unwrap();
    site.commit(rows).await;
    let before = delete_files(&site).await;

    let table = site.table("a.t").await;
    let file = table.scan(None).await.unwrap().files.remove(0);
    let mut deleting = site.draft("a.t").await;
    deleting.delete_rows(&file, RoaringTreemap::from_iter([0]));
    let refused = site.lake.commit(request(vec![deleting], Vec::new())).await;
    assert_eq!(refused.unwrap_err().code(), CODE);

    assert_eq!(upserted(&site).await.unwrap_err().code(), CODE);
    let mut child = site.draft("a.t").await;
    let refused = child.follow_rows(&name("a.parent"), "id", "id");
    assert_eq!(refused.unwrap_err().code(), CODE);
    let rules = Bitemporal {
        key: vec!["id".to_owned()],
        order: None,
        until: Until::Next,
        coalesce: true,
    };
    let refused = site.draft("a.t").await.bitemporal_by(&rules);
    assert_eq!(refused.unwrap_err().code(), CODE);
    assert_eq!(site.ids("a.t").await, [1, 2]);
    assert_eq!(delete_files(&site).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_upgraded_meanwhile_keeps_its_rows() {
    let site = Site::new().await;
    create(&site, "a.t", &[]).await.unwrap();
    let rows = drafted(&site.lake, "a.t", id_rows([1, 2])).await.unwrap();
    site.commit(rows).await;
    let keyed = upserted(&site).await.unwrap();
    let upgrade = json!([{"action": "upgrade-format-version", "format-version": 3}]);
    change(&site, "a.t", upgrade).await.unwrap();
    let refused = site.lake.commit(request(vec![keyed], Vec::new())).await;
    assert_eq!(refused.unwrap_err().code(), CODE);
    assert_eq!(site.ids("a.t").await, [1, 2]);
}
