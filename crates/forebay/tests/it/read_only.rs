//! A workspace that this user may not write to: everything can be read, and what writes says why it cannot.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use forebay_testkit::on_s3;

use crate::forebay::Project;

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

fn set_modes(path: &Path, folder: u32, file: u32) {
    let is_folder = path.is_dir();
    let mode = if is_folder { folder } else { file };
    let permissions = std::fs::Permissions::from_mode(mode);
    if is_folder {
        for entry in std::fs::read_dir(path).unwrap() {
            set_modes(&entry.unwrap().path(), folder, file);
        }
    }
    std::fs::set_permissions(path, permissions).unwrap();
}

/// Code, answer and errors of a command of somebody who may only read.
fn reader(project: &Project, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("forebay"));
    command.args(args).current_dir(project.path());
    command
        .env("HOME", "/nonexistent")
        .env_remove("FOREBAY_WORKSPACE");
    // The modes of files mean nothing to root.
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn who_may_only_read_can_ask_everything_and_is_told_what_cannot_be_written() {
    if on_s3() {
        return;
    }
    let project = Project::new();
    project.write("forebay.toml", "");
    project.write("data/a.csv", "id\n1\n2\n");
    project.write(
        "pipelines/f.yaml",
        "pipeline: f\nsource: {file: {path: \"data/*.csv\"}}\nextract: {csv: {}}\nload: {iceberg: {table: k.f}}\n",
    );
    project.ok(&["run"]);
    set_modes(project.path(), 0o555, 0o444);
    for (args, expected) in [
        (
            &["sql", "select count(*) from k.f", "--format", "csv"][..],
            "2",
        ),
        (&["verify"], ""),
        (&["tables"], "k.f"),
        (&["runs", "ls"], "f"),
        (&["quarantine", "ls"], ""),
    ] {
        let (code, out, err) = reader(&project, args);
        assert_eq!(code, 0, "{args:?}: {err}");
        assert!(out.contains(expected), "{args:?}: {out} {err}");
    }
    let (code, _, err) = reader(&project, &["branch", "create", "b"]);
    assert!(
        code != 0 && err.contains("store_read_only") && err.contains("read-only"),
        "{code}: {err}"
    );
    // Commits that wait in the log cannot be left out of what is read.
    set_modes(project.path(), 0o755, 0o644);
    project.write(
        ".forebay/store.db-wal",
        "commits that are not in the file yet",
    );
    set_modes(project.path(), 0o555, 0o444);
    let (code, _, err) = reader(&project, &["sql", "select 1"]);
    assert!(
        code != 0 && err.contains("store_read_only") && err.contains("write-ahead log"),
        "{code}: {err}"
    );
    set_modes(project.path(), 0o755, 0o644);
}
