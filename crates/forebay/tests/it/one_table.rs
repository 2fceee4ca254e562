//! Pipelines that load into one table.

use crate::forebay::Project;
use crate::kafka::rows;

fn pipeline(project: &Project, name: &str, extract: &str) {
    project.write(
        &format!("pipelines/{name}.yaml"),
        &format!(
            "pipeline: {name}\nsource: {{file: {{path: \"{name}/*\"}}}}\nextract: {extract}\nload: {{iceberg: {{table: s.o}}}}\n"
        ),
    );
}

#[test]
fn a_column_that_another_pipeline_has_with_a_type_of_its_own_refuses_its_records_alone() {
    let project = Project::new();
    pipeline(&project, "a", "{json: {lines: true}}");
    pipeline(&project, "b", "{json: {lines: true}}");
    pipeline(&project, "c", "{csv: {}}");
    project.write("a/1", "{\"id\":1,\"c\":true,\"o\":{\"x\":1}}\n");
    project.ok(&["run", "a", "--quiet"]);
    project.write(
        "b/1",
        "{\"id\":2,\"c\":\"x\"}\n{\"id\":3}\n{\"id\":4,\"c\":\"y\",\"note\":\"n\"}\n{\"id\":5,\"o__x\":[1]}\n",
    );
    project.ok(&["run", "b", "--quiet"]);
    project.write("b/2", "{\"id\":6}\n");
    project.ok(&["run", "b", "--quiet"]);
    project.write("c/1.csv", "id,c\n7,\n8,text\n");
    project.ok(&["run", "c", "--quiet"]);
    assert_eq!(
        rows(&project, "SELECT id FROM s.o ORDER BY id"),
        ["1", "3", "6", "7"]
    );
    let refused = "SELECT reason FROM quarantine.b WHERE code = 'incompatible_type'";
    let refused = rows(&project, refused);
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(
        refused[0].contains("column c is boolean and cannot hold string"),
        "{refused:?}"
    );
    assert!(refused[0].contains("schema: columns"), "{refused:?}");
    // A column that only refused records have is not in the table.
    let columns = project.ok(&["tables", "describe", "s.o"]);
    assert!(!columns.out.contains("note"), "{}", columns.out);
}

#[test]
fn a_table_of_nothing_but_such_records_keeps_the_pipeline_going() {
    let project = Project::new();
    pipeline(&project, "a", "{json: {lines: true}}");
    pipeline(&project, "b", "{json: {lines: true}}");
    project.write("a/1", "{\"c\":true}\n");
    project.ok(&["run", "a", "--quiet"]);
    project.write("b/1", "{\"c\":\"x\"}\n");
    let all = project.run(&["run", "b", "--quiet"]);
    assert_eq!(all.code, 1, "{}", all.err);
    assert!(all.err.contains("all_records_refused"), "{}", all.err);
    project.write("b/2", "{\"c\":\"x\"}\n{\"d\":1}\n");
    project.ok(&["run", "b", "--quiet"]);
    assert_eq!(rows(&project, "SELECT d FROM s.o WHERE d = 1"), ["1"]);
}
