//! `forebay tables clean`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use forebay_testkit::on_s3;

use crate::forebay::Project;
use crate::served::Server;

const PIPELINE: &str = "pipeline: orders\nsource:\n  file: {path: \"in/*.ndjson\"}\nextract:\n  json: {lines: true}\nload:\n  iceberg: {table: shop.orders}\n";

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn leftovers_are_told_then_deleted_and_nothing_else() {
    if on_s3() {
        println!("skipped: the age of an object in a bucket cannot be set");
        return;
    }
    let project = Project::new();
    project.write("pipelines/orders.yaml", PIPELINE);
    for n in 0..3 {
        project.write(&format!("in/{n}.ndjson"), "{\"id\":1}\n{\"id\":2}\n");
        project.ok(&["run"]);
    }
    let tables = project.path().join(".forebay/tables");
    let a_table = std::fs::read_dir(&tables)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let left = project.write_bytes(
        a_table.join("data/left.parquet").to_str().unwrap(),
        &[0; 1_000],
    );
    // Everything is old, what is needed too.
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let before = files(tables.clone());
    for file in &before {
        std::fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }

    let told = project.ok(&["tables", "clean", "--format", "csv"]);
    assert!(
        told.err.contains("would delete 1 files, 1000 B"),
        "{}",
        told.err
    );
    assert!(
        told.out.contains("shop.orders") && told.out.contains("raw.orders"),
        "{}",
        told.out
    );
    assert_eq!(files(tables.clone()), before);

    let done = project.ok(&["tables", "clean", "--delete"]);
    assert!(done.err.contains("deleted 1 files, 1000 B"), "{}", done.err);
    let after: Vec<_> = before
        .iter()
        .filter(|file| **file != left)
        .cloned()
        .collect();
    assert_eq!(files(tables), after);
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "6");

    // A server does the same by itself, when it is told to.
    project.write_bytes(left.to_str().unwrap(), &[0; 10]);
    let file = std::fs::File::options().write(true).open(&left);
    file.unwrap().set_modified(long_ago).unwrap();
    project.write("forebay.toml", "[lake]\nclean_every = \"1s\"\n");
    let server = Server::start(&project, "127.0.0.1:0");
    let waited = (0..100).take_while(|_| left.exists());
    waited.for_each(|_| std::thread::sleep(Duration::from_millis(100)));
    assert_eq!(server.stop(), Some(0));
    assert!(!left.exists());
    assert_eq!(project.value("SELECT count(*) FROM shop.orders"), "6");

    let hasty = project.run(&["tables", "clean", "--older-than", "1h"]);
    assert_eq!(hasty.code, 2);
    assert!(
        hasty.err.contains("unsafe_age") && hasty.err.contains("36 hours"),
        "{}",
        hasty.err
    );
    let greedy = project.run(&["tables", "clean", "--keep", "1s"]);
    assert!(
        greedy.code == 2 && greedy.err.contains("keep_too_short"),
        "{}",
        greedy.err
    );
    // An older lake than is kept is refused by name.
    let old = "SELECT * FROM shop.orders FOR SYSTEM_TIME AS OF '2020-01-01T00:00:00Z'";
    let refused = project.run(&["sql", old]);
    assert!(
        refused.code != 0 && refused.err.contains("expired"),
        "{}",
        refused.err
    );
}
