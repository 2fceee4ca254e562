//! More files than a position lists itself: the objects that it names, through death, damage and cleaning.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use forebay_testkit::on_s3;

use crate::forebay::Project;

const PIPELINE: &str = "pipeline: orders\nsource:\n  file: {path: \"in/*.ndjson\"}\nextract:\n  json: {lines: true}\nload:\n  iceberg: {table: shop.orders}\n";

/// More than a position lists itself.
const FILES: usize = 600;

fn project(files: usize) -> Project {
    let project = Project::new();
    project.write("pipelines/orders.yaml", PIPELINE);
    add(&project, 0, files);
    project
}

fn add(project: &Project, from: usize, to: usize) {
    for n in from..to {
        project.write(&format!("in/{n:05}.ndjson"), &format!("{{\"id\":{n}}}\n"));
    }
}

/// Every object of a position, sorted.
fn objects(project: &Project) -> Vec<PathBuf> {
    let children = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let runs = children(&project.path().join(".forebay/positions"));
    let mut objects: Vec<PathBuf> = runs.iter().flat_map(|run| children(run)).collect();
    objects.sort();
    objects
}

/// As if the file had been there for years.
fn age(path: &Path) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(long_ago).unwrap();
}

fn check(project: &Project, files: usize) {
    let rows = project.value("SELECT count(*) || ' ' || count(DISTINCT id) FROM shop.orders");
    assert_eq!(rows, format!("{files} {files}"));
}

#[test]
fn thousands_of_files_are_loaded_once_and_positions_stay_small() {
    let project = project(FILES);
    project.ok(&["run"]);
    add(&project, FILES, 2 * FILES);
    project.ok(&["run"]);
    project.ok(&["run"]);
    check(&project, 2 * FILES);
    let longest = project.value("SELECT max(length(position)) FROM raw.orders");
    assert!(longest.parse::<usize>().unwrap() < 32 << 10, "{longest}");
    project.ok(&["verify"]);
    let rebuilt = project.ok(&["rebuild", "shop.orders"]);
    assert!(rebuilt.err.contains("equal"), "{}", rebuilt.err);
}

#[test]
fn objects_without_a_position_are_cleaned_and_those_with_one_are_checked() {
    if on_s3() {
        println!("skipped: the age of an object in a bucket cannot be set");
        return;
    }
    let project = project(FILES);
    project.ok(&["run"]);
    project.ok(&["branch", "create", "before"]);
    add(&project, FILES, 2 * FILES);
    project.ok(&["run"]);
    let named = objects(&project);
    assert!(named.len() >= 2, "{named:?}");
    // What a process leaves that dies before its commit: of a run of this catalog, and of another one's.
    let orphan = named[0].with_file_name("01arz3ndektsv4rrffq69g5fav.zst");
    std::fs::copy(&named[0], &orphan).unwrap();
    let foreign = project.write_bytes(
        ".forebay/positions/01ARZ3NDEKTSV4RRFFQ69G5FAV/01arz3ndektsv4rrffq69g5fav.zst",
        b"x",
    );
    let young = project.ok(&["tables", "clean", "--delete"]);
    assert!(young.err.contains("deleted 0 files"), "{}", young.err);
    objects(&project).iter().for_each(|path| age(path));
    let told = project.ok(&["tables", "clean"]);
    assert!(told.err.contains("would delete 1 files"), "{}", told.err);
    let done = project.ok(&["tables", "clean", "--delete"]);
    assert!(
        done.err.contains("belong to no run of this catalog"),
        "{}",
        done.err
    );
    assert!(!orphan.exists() && foreign.exists());
    assert!(named.iter().all(|path| path.exists()), "all are needed");

    // The branch stands where it was made, and reads its own.
    let branched = project.ok(&["run", "--branch", "before"]);
    assert!(branched.err.contains("600"), "{}", branched.err);
    project.ok(&["verify"]);
    let damaged = named.last().unwrap();
    let mut bytes = std::fs::read(damaged).unwrap();
    bytes[30] ^= 1;
    project.write_bytes(damaged.to_str().unwrap(), &bytes);
    let found = project.run(&["verify"]);
    let name = damaged.file_name().unwrap().to_str().unwrap();
    assert!(found.code == 1 && found.err.contains(name), "{}", found.err);
    let refused = project.run(&["run"]);
    assert!(
        refused.code != 0 && refused.err.contains("damaged_position"),
        "{}",
        refused.err
    );
    check(&project, 2 * FILES);
}

#[test]
fn killed_at_any_moment_every_file_is_there_once() {
    const KILLS: u64 = 8;
    let project = project(3 * FILES);
    project.write(
        "pipelines/orders.yaml",
        &PIPELINE.replace("load:", "buffer: {rows: 200}\nload:"),
    );
    for n in 0..KILLS {
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("forebay"))
            .current_dir(project.path())
            .arg("run")
            .envs(project.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300 + n * 150));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    project.ok(&["run"]);
    check(&project, 3 * FILES);
    project.ok(&["verify"]);
}
