//! Files as a target: a row is in the folder once, wherever a process died.

use std::path::PathBuf;

use crate::forebay::Project;

const EXPORT: &str = "pipeline: export\nsource:\n  file: {path: \"data/*.csv\"}\nextract:\n  csv: {}\nload:\n  file: {path: out, format: ndjson}\n";

/// A project after one run that has written a file.
fn exported() -> Project {
    let project = Project::new();
    project.write("pipelines/export.yaml", EXPORT);
    project.write("data/a.csv", "id\n1\n2\n");
    project.ok(&["run"]);
    project
}

fn files(project: &Project) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(project.path().join("out")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn lines(project: &Project) -> Vec<String> {
    let texts = files(project).into_iter().map(|file| {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    texts.flatten().collect()
}

/// The id of the newest run.
fn newest_run(project: &Project) -> String {
    let runs = project.ok(&["runs", "ls", "--format", "ndjson"]).out;
    let newest: serde_json::Value = serde_json::from_str(runs.lines().next().unwrap()).unwrap();
    newest["run"].as_str().unwrap().to_owned()
}

/// What a process that was killed before its commit leaves behind: a file, and one that it was writing.
fn leave_behind(project: &Project, run: &str) {
    let written = files(project).remove(0);
    let name = written.file_name().unwrap().to_str().unwrap();
    let split = name.split('-').nth(1).unwrap();
    project.write(
        &format!("out/part-{split}-0000000001-{run}-0001.ndjson"),
        "{\"id\":3}\n",
    );
    project.write(&format!("out/.part-{split}-{run}-0.tmp"), "{\"id\":");
}

#[test]
fn rows_of_a_run_that_died_before_its_commit_are_there_once() {
    let project = exported();
    // A run of this catalog that failed.
    project.write(
        "pipelines/export.yaml",
        &EXPORT.replace("data/*.csv", "gone.csv"),
    );
    assert_ne!(project.run(&["run"]).code, 0);
    leave_behind(&project, &newest_run(&project));
    project.write("pipelines/export.yaml", EXPORT);
    project.write("data/b.csv", "id\n3\n");
    project.ok(&["run"]);
    assert_eq!(lines(&project), ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"]);
    assert_eq!(files(&project).len(), 2);
    // Everything again, as new files.
    project.ok(&["run", "--full"]);
    assert_eq!(lines(&project).len(), 6);
}

#[test]
fn files_of_another_workspace_stay() {
    let project = exported();
    std::fs::remove_dir_all(project.path().join(".forebay")).unwrap();
    let before = files(&project);
    leave_behind(&project, "01jd0000000000000000000000");
    project.ok(&["run"]);
    let after = files(&project);
    assert_eq!(after.len(), before.len() + 3);
    assert!(before.iter().all(|file| after.contains(file)));
}
