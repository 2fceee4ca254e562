//! What runs and queries keep on the local disk for a while: gone with the process that made it, however that ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_testkit::gzip;
use parquet::arrow::ArrowWriter;
use rustix::process::{Pid, Signal, kill_process};

use crate::forebay::Project;
use crate::served::until;

const ROWS: i64 = 2_000_000;

/// A Parquet file that takes a while to be read.
fn parquet() -> Vec<u8> {
    let column = |factor: i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            (0..ROWS).map(|n| n.wrapping_mul(factor)),
        ))
    };
    let columns = [
        ("id", column(1)),
        ("value", column(0x9E37_79B9_7F4A_7C15_u64.cast_signed())),
    ];
    let records = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    writer.into_inner().unwrap()
}

fn folders(spill: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(spill) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

/// A run that is stopped while it reads a decompressed payload.
fn stopped_run(project: &Project, spill: &Path) -> Child {
    let child = Command::new(assert_cmd::cargo::cargo_bin("forebay"))
        .args(["run", "rows"])
        .current_dir(project.path())
        .envs(project.environment())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("a payload is decompressed", || {
        folders(spill)
            .iter()
            .any(|folder| folder.join("payload").exists())
    });
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    child
}

#[test]
fn a_killed_run_leaves_its_payload_to_the_next_and_nobody_else_takes_it_away() {
    let project = Project::new();
    project.write("pipelines/rows.yaml", "pipeline: rows\nsource: {file: {path: \"in/*\"}}\nextract: {parquet: {}}\nload: {iceberg: {table: spilled.rows}}\n");
    project.write_bytes("in/a.parquet.gz", &gzip(&parquet()));
    let spill = project.path().join(".forebay/spill");
    let mut run = stopped_run(&project, &spill);
    let used = folders(&spill);
    assert_eq!(used.len(), 1, "{used:?}");
    project.ok(&["sql", "SELECT 1"]);
    assert_eq!(folders(&spill), used, "a query leaves it alone");
    run.kill().unwrap();
    run.wait().unwrap();
    assert_eq!(folders(&spill), used, "a killed process cannot tidy up");
    project.ok(&["run", "rows"]);
    assert_eq!(folders(&spill), Vec::<PathBuf>::new());
    let count = project.value("SELECT count(DISTINCT id) FROM spilled.rows");
    assert_eq!(count, ROWS.to_string());

    // Payloads lie in the workspace that was named, wherever the tables are.
    let elsewhere = project.path().join("elsewhere");
    let storage = format!("[storage]\nurl = \"{}\"\n", elsewhere.display());
    project.write("forebay.toml", &storage);
    let workspace = project.path().join("other");
    let run = project.run(&["run", "rows", "--workspace", workspace.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(workspace.join("spill").exists());
    assert!(!elsewhere.join("spill").exists());
}
