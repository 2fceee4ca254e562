//! The statements of README and guides, run: each is the argument of a `forebay sql`.

use std::collections::BTreeSet;
use std::process::Command;

use forebay_testkit::{GuideLanguage, Reply, StubHttp, guide_blocks, variable};
use serde_json::json;

use crate::forebay::Project;
use crate::served::runtime;

/// The tables that the guides query, with a record of each.
const RECORDS: &[(&str, &str)] = &[
    (
        "quakes.events",
        r#"{"id": "a", "at": "2026-01-02T00:00:00Z", "mag": 4.5}"#,
    ),
    ("iot.readings", r#"{"device": "d1", "celsius": 21.5}"#),
    (
        "shop.orders",
        r#"{"id": 1, "ID": 2, "n": {"x": 3}, "n.x": 4, "price": 9.5}"#,
    ),
];

/// A project with these tables, and with `audit.requests`.
fn project() -> Project {
    let runtime = runtime();
    let _inside = runtime.enter();
    let project = Project::new();
    for (table, record) in RECORDS {
        let name = table.replace('.', "_");
        project.write(&format!("data/{name}.ndjson"), record);
        project.write(
            &format!("pipelines/{name}.yaml"),
            &format!(
                "pipeline: {name}\nsource: {{file: {{path: data/{name}.ndjson}}}}\nextract: {{json: {{lines: true, nested: keep}}}}\nload: {{iceberg: {{table: {table}}}}}\n"
            ),
        );
    }
    let page = json!([{"id": 1}]);
    let server = runtime.block_on(StubHttp::start(move |_| Reply::json(&page)));
    project.write(
        "pipelines/pulled.yaml",
        &format!(
            "pipeline: pulled\nsource: {{http: {{url: {}, allow_private: true}}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: a.pulled}}}}\n",
            server.url("/")
        ),
    );
    project.ok(&["run"]);
    project
}

/// The statements, but those that are cut short.
fn statements() -> BTreeSet<String> {
    let blocks = guide_blocks();
    let calls = blocks.iter().flat_map(|block| block.commands());
    let calls = calls.filter(|arguments| arguments[0] == "sql");
    let words = calls.flatten();
    words
        .filter(|word| word.to_lowercase().starts_with("select ") && !word.contains('…'))
        .collect()
}

#[test]
fn statements_of_the_guides_run() {
    let project = project();
    let now = project.value("SELECT max(at) FROM lake.commits");
    let statements = statements();
    assert!(statements.len() >= 5, "{statements:?}");
    for statement in statements {
        let (before, _) = statement.split_once("AS OF '").unwrap_or((&statement, ""));
        let statement = match before == statement {
            true => statement,
            false => format!("{before}AS OF '{now}'"),
        };
        project.ok(&["sql", &statement]);
    }
}

#[test]
fn python_of_the_guides_compiles() {
    let Some(python) = variable("FOREBAY_TEST_PYTHON") else {
        println!("skipped: FOREBAY_TEST_PYTHON is not set");
        return;
    };
    let blocks = guide_blocks();
    for block in blocks
        .iter()
        .filter(|one| one.language == GuideLanguage::Python)
    {
        let compiled = Command::new(&python)
            .args([
                "-c",
                "import sys; compile(sys.argv[1], 'guide', 'exec')",
                &block.text,
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{}: {said}", block.place);
    }
}

#[test]
fn an_error_code_is_explained() {
    let project = Project::new();
    let explained = project.ok(&["explain", "error[bad_url]"]).out;
    assert!(explained.contains("What to do: "), "{explained}");
    let rows = project.ok(&["explain", "--format", "ndjson"]).out;
    assert!(rows.lines().count() > 500);
    let wrong = project.run(&["explain", "bad_ulr"]);
    assert_eq!(wrong.code, 1);
    assert!(
        wrong.err.contains("did you mean `bad_url`?"),
        "{}",
        wrong.err
    );
}
