//! A catalog that came back without all that it knew.

use std::path::Path;

use forebay_core::{CommitId, RefName, SystemClock, Timestamp};
use forebay_store::{AsOf, Change, Commit, HeadChange, Store};

use crate::forebay::Project;

const PIPELINE: &str = "pipeline: orders\nsource:\n  file: {path: \"in/*.ndjson\"}\nextract:\n  json: {lines: true}\nload:\n  iceberg: {table: shop.orders}\n";

/// The same tables in a new catalog, as somebody makes it who only has the tables.
async fn without_positions(project: &Project) {
    let folder = project.path().join(".forebay");
    let (old, new) = (folder.join("store.db"), folder.join("new.db"));
    let store = Store::open(&old, SystemClock::shared()).await.unwrap();
    let heads = store.heads(&AsOf::Head(RefName::main())).await.unwrap();
    store.close().await;
    let store = Store::open(&new, SystemClock::shared()).await.unwrap();
    let heads = heads.into_iter().map(|head| HeadChange {
        table: head.table,
        uuid: head.uuid,
        expected: None,
        change: Change::Set(head.metadata_location),
    });
    let commit = Commit {
        id: CommitId::new(Timestamp(1), 1),
        branch: RefName::main(),
        author: "somebody".to_owned(),
        message: "restored".to_owned(),
        run: None,
        at: None,
        heads: heads.collect(),
        positions: Vec::new(),
    };
    store.commit(commit).await.unwrap();
    store.close().await;
    std::fs::rename(new, old).unwrap();
    // With the mark of the old one beside it the new catalog would be refused.
    std::fs::rename(folder.join("new.db-mark"), folder.join("store.db-mark")).unwrap();
}

#[test]
fn what_was_loaded_is_not_loaded_again_because_the_position_is_lost() {
    let project = Project::new();
    project.write("pipelines/orders.yaml", PIPELINE);
    project.write("in/a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    project.ok(&["run"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(without_positions(&project));
    let refused = project.run(&["run"]);
    assert_ne!(refused.code, 0);
    for word in ["position_lost", "raw.orders", "restore the catalog"] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "2");
    // Who asks for it gets it.
    project.ok(&["run", "--full"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "4");
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "4");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &copy),
            false => std::fs::copy(entry.path(), copy).map(drop).unwrap(),
        }
    }
}

/// The project in another folder, and the one before gone.
fn moved(project: Project) -> Project {
    let copy = Project::new();
    copy_folder(project.path(), copy.path());
    copy
}

#[test]
fn a_workspace_works_in_the_folder_that_it_was_copied_to() {
    let mut project = Project::new();
    project.write("pipelines/orders.yaml", PIPELINE);
    project.write("in/0.ndjson", "{\"id\":0}\n[]\n");
    project.ok(&["run"]);
    for n in 1..=2 {
        project = moved(project);
        assert_eq!(
            project.value("SELECT count(*) FROM shop.orders"),
            n.to_string()
        );
        project.write(&format!("in/{n}.ndjson"), &format!("{{\"id\":{n}}}\n"));
        project.ok(&["run"]);
        assert_eq!(
            project.value("SELECT count(*) FROM shop.orders"),
            (n + 1).to_string(),
            "each file is loaded once"
        );
        assert_eq!(
            project.value("SELECT count(*) FROM raw.orders"),
            (n + 1).to_string()
        );
        assert_eq!(project.value("SELECT count(*) FROM quarantine.orders"), "1");
        project.ok(&["verify"]);
        project.ok(&["tables", "clean"]);
        project.ok(&["rebuild", "shop.orders"]);
    }
    project.ok(&["verify"]);
}
