//! Branches and tags from the command line: the guide from its first command to its last, and what is refused.

use forebay_testkit::guide_blocks;

use crate::forebay::Project;

const PIPELINE: &str = "pipeline: orders\nsource:\n  file: {path: \"data/*.ndjson\"}\nextract:\n  json: {lines: true}\nload:\n  iceberg: {table: shop.orders}\n";

fn project() -> Project {
    let project = Project::new();
    project.write("pipelines/orders.yaml", PIPELINE);
    project.write("data/a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    project.ok(&["run"]);
    project
}

fn count(project: &Project, arguments: &[&str]) -> String {
    let statement = "SELECT count(*) FROM shop.orders";
    let fixed = ["sql", statement, "--format", "csv"];
    let said = project.ok(&[&fixed, arguments].concat()).out;
    said.lines().nth(1).unwrap().to_owned()
}

#[test]
fn the_guide_promotes_and_takes_back() {
    let project = project();
    project.write("data/b.ndjson", "{\"id\":3,\"note\":\"new\"}\n");
    let blocks = guide_blocks();
    let blocks = blocks
        .iter()
        .filter(|block| block.place.contains("branches.md"));
    let commands: Vec<Vec<String>> = blocks.flat_map(|block| block.commands()).collect();
    assert!(commands.len() >= 12, "{commands:?}");
    for command in commands {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let said = project.ok(&words);
        match words.as_slice() {
            ["branch", "diff", ..] => {
                assert!(
                    said.out.contains("shop.orders") && said.out.contains("fast-forward"),
                    "{}",
                    said.out
                );
                assert_eq!(count(&project, &[]), "2", "main is as it was");
            }
            ["branch", "merge", _] => {
                assert_eq!(count(&project, &[]), "3");
                project.ok(&["run"]);
                assert_eq!(count(&project, &[]), "3", "the position came along");
            }
            ["rollback", .., "--yes"] => assert_eq!(count(&project, &[]), "2"),
            _ => {}
        }
    }
    assert_eq!(count(&project, &["--branch", "release-1"]), "3");
    assert_eq!(count(&project, &["--as-of", "before-release"]), "2");
    project.ok(&["verify"]);
}

#[test]
fn a_conflict_is_listed_and_changes_nothing() {
    let project = project();
    project.ok(&["branch", "create", "staging"]);
    project.write("data/b.ndjson", "{\"id\":3}\n");
    project.ok(&["run", "--branch", "staging"]);
    project.ok(&["run"]);
    let dry = project.run(&[
        "branch",
        "merge",
        "staging",
        "--dry-run",
        "--format",
        "json",
    ]);
    assert_eq!(dry.code, 1, "{}", dry.err);
    let listed: serde_json::Value = serde_json::from_str(&dry.out).unwrap();
    let rows = listed.as_array().unwrap();
    let position = rows.iter().find(|row| row["kind"] == "position").unwrap();
    assert_eq!(position["merge"], "conflict");
    let merged = project.run(&["branch", "merge", "staging"]);
    assert!(merged.err.contains("merge_conflict"), "{}", merged.err);
    assert!(merged.err.contains("pipeline orders"), "{}", merged.err);
    assert_eq!(count(&project, &[]), "3");
    // The other way it is one too; a new branch has nothing to merge.
    let back = project.run(&["branch", "merge", "main", "--into", "staging"]);
    assert!(back.err.contains("merge_conflict"), "{}", back.err);
    project.ok(&["branch", "create", "next"]);
    let nothing = project.ok(&["branch", "merge", "next"]);
    assert!(nothing.err.contains("nothing to do"), "{}", nothing.err);
}

#[test]
fn statements_change_a_branch_alone_and_merge() {
    let project = project();
    project.ok(&["sql", "CREATE TABLE shop.notes AS SELECT 1 AS id"]);
    project.ok(&["branch", "create", "staging"]);
    for statement in [
        "INSERT INTO shop.notes VALUES (2)",
        "UPDATE shop.notes SET id = 10 WHERE id = 1",
        "ALTER TABLE shop.notes ADD COLUMN text varchar",
        "CREATE TABLE shop.more AS SELECT 5 AS id",
    ] {
        project.ok(&["sql", "--branch", "staging", statement]);
    }
    let tables = project
        .ok(&["tables", "--branch", "staging", "--format", "csv"])
        .out;
    assert!(tables.contains("shop.more"), "{tables}");
    assert_eq!(project.value("SELECT sum(id) FROM shop.notes"), "1");
    let diff = project
        .ok(&["branch", "diff", "staging", "--format", "csv"])
        .out;
    assert!(diff.contains("added column text: string"), "{diff}");
    project.ok(&["branch", "merge", "staging"]);
    assert_eq!(project.value("SELECT sum(id) FROM shop.notes"), "12");
    assert_eq!(project.value("SELECT sum(id) FROM shop.more"), "5");
}

#[test]
fn a_tag_never_moves() {
    let project = project();
    project.ok(&["tag", "create", "v1"]);
    for refused in [
        &["run", "--branch", "v1"][..],
        &[
            "sql",
            "--branch",
            "v1",
            "--force",
            "DELETE FROM shop.orders",
        ],
        &["branch", "merge", "main", "--into", "v1"],
        &["serve", "--branch", "v1", "--listen", "127.0.0.1:0"],
    ] {
        let said = project.run(refused);
        assert!(
            said.err.contains("tag_is_fixed"),
            "{refused:?}: {}",
            said.err
        );
    }
    let twice = project.run(&["branch", "create", "v1"]);
    assert!(twice.err.contains("branch_exists"), "{}", twice.err);
    for bad in [
        "Upper",
        "main",
        "a b",
        "a\u{7}b",
        "01jfz6v6q8k7g5r3m2n1p0qrst",
    ] {
        assert_ne!(project.run(&["tag", "create", bad]).code, 0, "{bad:?}");
    }
    project.write("data/b.ndjson", "{\"id\":3}\n");
    project.ok(&["run"]);
    assert_eq!(count(&project, &[]), "3");
    let of_tag = "SELECT count(*) FROM shop.orders FOR SYSTEM_TIME AS OF 'v1'";
    assert_eq!(project.value(of_tag), "2");
    let listed = project.ok(&["tag", "ls", "--format", "csv"]).out;
    assert!(
        listed.lines().nth(1).unwrap().starts_with("v1,"),
        "{listed}"
    );
    let branches = project.ok(&["branch", "ls", "--format", "csv"]).out;
    assert_eq!(branches.lines().count(), 2, "{branches}");
    let at = project.value("SELECT min(at) FROM lake.commits");
    project.ok(&["tag", "create", "first", "--at", &at]);
    project.ok(&["branch", "create", "old", "--from", "v1"]);
    assert_eq!(count(&project, &["--branch", "old"]), "2");
    let wrong = project.run(&["tag", "drop", "old"]);
    assert!(wrong.err.contains("no_such_tag"), "{}", wrong.err);
    project.ok(&["tag", "drop", "v1"]);
    let gone = project.run(&["sql", "--branch", "v1", "SELECT 1"]);
    assert!(gone.err.contains("no_such_branch"), "{}", gone.err);
}

#[test]
fn a_target_without_branches_is_refused_on_one() {
    let project = project();
    project.write(
        "pipelines/out.yaml",
        "pipeline: out\nsource:\n  file: {path: \"data/*.ndjson\"}\nextract:\n  json: {lines: true}\nload:\n  file: {path: out, format: parquet}\n",
    );
    project.ok(&["branch", "create", "staging"]);
    let said = project.run(&["run", "out", "--branch", "staging"]);
    assert!(said.err.contains("sink_on_branch"), "{}", said.err);
}
