//! The branch `main` of a table, which every commit goes to: engines may remove it, as when they replace the table.

use forebay_core::RefName;
use forebay_lake::{ExternalChange, ExternalCommit};
use serde_json::json;

use crate::site::{Site, append, id_rows, name};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_its_branch_is_empty_and_takes_rows() {
    let site = Site::new().await;
    // The removal is dated by the real clock.
    let lake = site.another_in_real_time().await;
    append(&lake, "a.t", id_rows([1])).await.unwrap();
    let removed = json!({"action": "remove-snapshot-ref", "ref-name": "main"});
    let change = ExternalChange::parse(name("a.t"), Vec::new(), vec![removed]).unwrap();
    let commit = ExternalCommit {
        branch: RefName::main(),
        author: "another engine".to_owned(),
        changes: vec![change],
    };
    lake.commit_external(commit).await.unwrap();
    assert!(site.ids("a.t").await.is_empty());
    append(&lake, "a.t", id_rows([2])).await.unwrap();
    assert_eq!(site.ids("a.t").await, [2]);
}
