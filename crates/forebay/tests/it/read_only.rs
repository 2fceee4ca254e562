//! A workspace that this user may not write to: everything can be read, and what writes says why it cannot.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use forebay_testkit::on_s3;
use tempfile::TempDir;

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

/// Somebody who may only read, with a copy of the program: its own folder may be closed to other users.
struct Reader<'a> {
    project: &'a Project,
    folder: TempDir,
}

impl<'a> Reader<'a> {
    fn of(project: &'a Project) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = assert_cmd::cargo::cargo_bin("forebay");
        // Written by another process: a child that a test starts meanwhile would hold it open, and what is open is not run.
        let copied = Command::new("cp").arg(program).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        set_modes(folder.path(), 0o755, 0o755);
        Self { project, folder }
    }

    /// Code, answer and errors of a command.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(self.folder.path().join("forebay"));
        command.args(args).current_dir(self.project.path());
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
    let reader = Reader::of(&project);
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
        let (code, out, err) = reader.run(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        assert!(out.contains(expected), "{args:?}: {out} {err}");
    }
    let (code, _, err) = reader.run(&["branch", "create", "b"]);
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
    let (code, _, err) = reader.run(&["sql", "select 1"]);
    assert!(
        code != 0 && err.contains("store_read_only") && err.contains("write-ahead log"),
        "{code}: {err}"
    );
    set_modes(project.path(), 0o755, 0o644);
}
