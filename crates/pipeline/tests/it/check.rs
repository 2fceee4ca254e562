//! `forebay check`: what a user sees of a wrong pipeline file.

mod corpus;
mod engine;
mod examples;
mod hostile;

use forebay_config::{Diagnostics, Variables};
use forebay_pipeline::spec::{PipelineSpec, parse};

pub(crate) struct Set;

impl Variables for Set {
    fn env(&self, name: &str) -> Option<String> {
        (name == "HOST").then(|| "example.org".to_owned())
    }

    fn secret(&self, name: &str) -> Option<String> {
        match name {
            "token" => Some("hunter2 hunter2 hunter2".to_owned()),
            "warehouse" => Some("postgres://me:hunter2@db/shop".to_owned()),
            _ => None,
        }
    }

    fn param(&self, name: &str) -> Option<String> {
        (name == "rows").then(|| "500".to_owned())
    }
}

pub(crate) fn check(text: &str) -> Result<PipelineSpec, Diagnostics> {
    parse("pipelines/quakes.yaml", text, &Set, &engine::shared())
}

fn errors(text: &str) -> Diagnostics {
    check(text).expect_err("the file is wrong")
}

#[test]
fn a_lake_table_goes_with_its_extractor_and_pushes_replace_nothing() {
    const FILE: &str = "pipeline: out\nsource: SOURCE\nextract: EXTRACT\nload:\n  postgres: {url: \"${secret:warehouse}\", table: a.b, mode: replace}\n";
    let file =
        |source: &str, extract: &str| FILE.replace("SOURCE", source).replace("EXTRACT", extract);
    let table = "{table: {name: a.b}}";
    assert!(check(&file(table, "{table: {}}")).is_ok_and(|spec| !spec.is_continuous()));
    for (source, extract, code) in [
        (table, "{json: {}}", "extract_does_not_fit"),
        ("{push: {}}", "{table: {}}", "extract_does_not_fit"),
        ("{push: {}}", "{json: {}}", "replace_without_end"),
    ] {
        let found = errors(&file(source, extract));
        assert!(found.0.iter().any(|one| one.code == code), "{found}");
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }
    let own = "pipeline: a\nsource: {table: {name: a.b}}\nextract: {table: {}}\nload: {iceberg: {table: a.b}}\n";
    assert!(errors(own).0.iter().any(|one| one.code == "endless_table"));
}

/// The engine of these tests finds no tables in a query; which modes fit it is tested with the real one.
#[test]
fn rows_of_the_lake_need_no_extractor() {
    let load = "load: {iceberg: {table: a.b, mode: replace}}\n";
    let query = "pipeline: a\nsource: {query: SELECT 1 AS one FROM a.c}\n";
    assert!(check(&format!("{query}{load}")).is_ok_and(|spec| spec.is_continuous()));
    assert!(check(&format!("{query}extract: {{query: {{}}}}\n{load}")).is_ok());
    assert!(
        check(&format!(
            "pipeline: a\nsource: {{table: {{name: a.c}}}}\n{load}"
        ))
        .is_ok()
    );
    for (text, code) in [
        (
            format!("{query}extract: {{json: {{}}}}\n{load}"),
            "extract_does_not_fit",
        ),
        (
            format!("pipeline: a\nsource: {{push: {{}}}}\nextract: {{query: {{}}}}\n{load}"),
            "extract_does_not_fit",
        ),
        (
            format!("pipeline: a\nsource: {{file: {{path: a.csv}}}}\n{load}"),
            "missing_key",
        ),
        (
            format!("pipeline: a\nsource: {{query: {{sql: SELECT 1, new: all}}}}\n{load}"),
            "unknown_key",
        ),
    ] {
        let found = errors(&text);
        assert!(
            found.0.iter().any(|one| one.code == code),
            "{text}: {found}"
        );
    }
}

#[test]
fn a_name_that_leases_of_journals_have_is_refused() {
    let file = "pipeline: journal_writers\nsource: {push: {}}\nextract: {json: {}}\nload: {iceberg: {table: a.b}}\n";
    let found = errors(file);
    assert_eq!(
        (found.0[0].code, found.0[0].place.line),
        ("reserved_name", 1),
        "{found}"
    );
    assert!(check(&file.replace("journal_", "")).is_ok());
}

/// The file of the blueprint, as far as it can run.
const QUAKES: &str = r#"pipeline: quakes
source:
  http:
    url: https://${env:HOST}/query
    params: {format: geojson, orderby: time-asc}
    auth: {bearer: {token: "${secret:token}"}}
    paginate: {offset: {param: offset, limit_param: limit, limit: 1000, start: 1}}
    cursor: {field: properties.updated, param: updatedafter, start: 2026-01-01T00:00:00Z, lag: 5m}
    rate: {requests: 10, per: 1s}
    records: features
extract:
  json: {nested: flatten}
schema:
  new_columns: evolve
  columns: {id: {type: string, required: true}, properties__mag: {type: double, check: "value BETWEEN -2 AND 10"}}
transform:
  - sql: SELECT id, properties__mag AS magnitude FROM input
buffer: {rows: 100_000, bytes: 64MiB, time: 10s}
load:
  iceberg: {table: quakes.events, partition: [day(at)]}
"#;

#[test]
fn the_file_of_the_blueprint_is_valid() {
    let spec = check(QUAKES).unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(
        (spec.name.as_str(), spec.records.as_deref()),
        ("quakes", Some("features"))
    );
    assert_eq!((spec.buffer.rows, spec.buffer.bytes.0), (100_000, 64 << 20));
    assert_eq!(spec.transform.len(), 1);
    assert_eq!(
        (
            spec.transform[0].name.as_str(),
            spec.load.describe().as_str()
        ),
        ("transform[0]", "quakes.events")
    );
    assert_eq!(spec.digest.len(), 64);
    assert!(!format!("{spec:?}").contains("hunter2"));
}

#[test]
fn every_fault_of_a_file_comes_in_one_pass() {
    let text = QUAKES
        .replace("paginate:", "paginat:")
        .replace("per: 1s", "per: 1 parsec")
        .replace("new_columns: evolve", "new_columns: evolv")
        .replace("SELECT id", "SELEC id")
        .replace("table: quakes.events", "table: raw.events");
    insta::assert_snapshot!(errors(&text), @"
    error[unknown_key]: unknown key `paginat` in `source.http`
     --> pipelines/quakes.yaml:7:5
      |
    7 |     paginat: {offset: {param: offset, limit_param: limit, limit: 1000, start: 1}}
      |     ^^^^^^^
      = help: did you mean `paginate`?

    error[bad_unit]: `source.http.rate.per` must be a length of time with its unit, not `1 parsec`
     --> pipelines/quakes.yaml:9:31
      |
    9 |     rate: {requests: 10, per: 1 parsec}
      |                               ^^^^^^^^
      = help: write a number and one of `us`, `ms`, `s`, `m`, `h`, `d`, `w` or `y`

    error[bad_choice]: `schema.new_columns` cannot be `evolv`
      --> pipelines/quakes.yaml:14:16
       |
    14 |   new_columns: evolv
       |                ^^^^^
       = help: did you mean `evolve`?

    error[bad_sql]: SQL 1:1: syntax error: found SELEC
      --> pipelines/quakes.yaml:17:10
       |
    17 |   - sql: SELEC id, properties__mag AS magnitude FROM input
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error[reserved_namespace]: the namespace `raw` belongs to Forebay itself: choose another
      --> pipelines/quakes.yaml:20:20
       |
    20 |   iceberg: {table: raw.events, partition: [day(at)]}
       |                    ^^^^^^^^^^

    5 errors in pipelines/quakes.yaml
    ");
}

#[test]
fn a_file_without_its_stages_says_which() {
    insta::assert_snapshot!(errors("pipeline: quakes\nsource: {htp: {url: https://example.org}}\nload: {stdout: {}, file: {}}\n"), @"
    error[missing_key]: missing key `extract` in the file
     --> pipelines/quakes.yaml:1:1
      |
    1 | pipeline: quakes
      | ^
      = help: `extract`: How payloads become rows.

    error[unknown_choice]: unknown choice `htp` for `source`
     --> pipelines/quakes.yaml:2:10
      |
    2 | source: {htp: {url: https://example.org}}
      |          ^^^
      = help: did you mean `http`?

    error[two_choices]: `load` takes one choice and has two, `stdout` and `file`
     --> pipelines/quakes.yaml:3:20
      |
    3 | load: {stdout: {}, file: {}}
      |                    ^^^^
      = help: remove one, or mind the indentation

    3 errors in pipelines/quakes.yaml
    ");
}

#[test]
fn references_that_stand_for_nothing_are_reported_once() {
    let text = QUAKES
        .replace("rows: 100_000", "rows: \"${param:row}\"")
        .replace("${env:HOST}", "${env:HOTS}");
    let found = errors(&text);
    let codes: Vec<(usize, usize, &str)> = found
        .0
        .iter()
        .map(|d| (d.place.line, d.place.column, d.code))
        .collect();
    assert_eq!(
        codes,
        [
            (4, 18, "unresolved_reference"),
            (18, 17, "unresolved_reference")
        ],
        "{found}"
    );
}

#[test]
fn a_secret_never_stands_in_an_error() {
    for (from, to) in [
        ("url: https://${env:HOST}/query", "url: \"${secret:token}\""),
        ("format: geojson", "format: \"${secret:token}\""),
        ("token: \"${secret:token}\"", "token: hunter3"),
        (
            "offset: {param: offset",
            "offset: {param: \"${secret:token}\"",
        ),
    ] {
        let text = QUAKES.replace(from, to);
        assert_ne!(text, QUAKES);
        let shown = errors(&text).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(
            shown.contains("secret_misplaced") || shown.contains("secret_inline"),
            "{shown}"
        );
    }
}

#[test]
fn conditions_are_checked_before_the_first_row() {
    let text = QUAKES.replace("value BETWEEN -2 AND 10", "SELEC value");
    let found = errors(&text);
    assert_eq!(found.0.len(), 1, "{found}");
    assert_eq!((found.0[0].code, found.0[0].place.line), ("bad_sql", 15));
}

#[test]
fn mistakes_in_several_steps_and_rules_are_all_reported() {
    let steps = "transform:
  - sql: SELEC id FROM input
  - check:
      - {name: a, where: SELEC id}
      - {name: a, where: id > 1}
      - {name: b, where: SELEC mag}
  - sql: SELEC mag FROM input
load:";
    let (before, _) = QUAKES.split_once("transform:").unwrap();
    let (_, after) = QUAKES.split_once("load:").unwrap();
    let text = format!("{before}{steps}{after}");
    let first = before.lines().count() + 2;
    let expected = [
        ("bad_sql", first),
        ("bad_sql", first + 2),
        ("name_taken", first + 3),
        ("bad_sql", first + 4),
        ("bad_sql", first + 5),
    ];
    let mut found = faults(&text);
    found.retain(|(code, _)| *code != "no_column");
    assert_eq!(found, expected);
}

/// The codes of the faults of a file, with their lines.
fn faults(text: &str) -> Vec<(&'static str, usize)> {
    let found = check(text).err().unwrap_or_default();
    let faults = found.0.iter();
    faults.map(|one| (one.code, one.place.line)).collect()
}

#[test]
fn what_every_run_would_refuse_is_found_with_its_place() {
    const FILE: &str = "pipeline: a\nsource: SOURCE\nextract: EXTRACT\nschema: {columns: {at: {type: timestamp}}}\ntransform:\n  - STEP\nload: {iceberg: {table: a.b}}\n";
    let file = |source: &str, extract: &str, step: &str| {
        let text = FILE.replace("SOURCE", source).replace("EXTRACT", extract);
        text.replace("STEP", step)
    };
    let (files, csv) = ("{file: {path: a}}", "{csv: {}}");
    let plain = "sql: SELECT id FROM input";
    assert_eq!(faults(&file(files, csv, plain)), []);
    for (step, code) in [
        ("sql: SELECT now() AS n FROM input", "not_deterministic"),
        (
            "check: [{name: a, where: 'at < now()'}]",
            "not_deterministic",
        ),
        ("sql: SELECT at - at AS d -- INTERVAL", "unsupported_type"),
    ] {
        assert_eq!(faults(&file(files, csv, step)), [(code, 6)], "{step}");
    }
    let http = |more: &str| format!("{{http: {{url: 'https://example.org', {more}}}}}");
    let misfit = [("extract_does_not_fit", 2)];
    for more in [
        "paginate: {page: {param: p}}",
        "paginate: {next: {path: next}}",
        "cursor: {field: at, param: after}",
    ] {
        assert_eq!(faults(&file(&http(more), csv, plain)), misfit, "{more}");
        let json = faults(&file(&http(more), "{json: {}}", plain));
        assert_eq!(json, [], "{more}");
    }
    let linked = http("paginate: {link_header: {}}");
    assert_eq!(faults(&file(&linked, csv, plain)), []);
}

#[test]
fn a_declared_column_that_the_transform_makes_is_told() {
    const FILE: &str = "pipeline: a\nsource: {file: {path: a}}\nextract: {csv: {}}\nschema:\n  columns:\n    made: {type: double}\ntransform:\n  - sql: SELECT b * 2 AS made FROM input\nload: {iceberg: {table: a.b}}\n";
    assert_eq!(faults(FILE), [("column_made", 6)]);
    for (from, to) in [
        ("made: {type: double}", "other: {type: double}"),
        // The record has to have it, whatever becomes of it.
        ("{type: double}", "{type: double, required: true}"),
        ("schema:\n", "schema:\n  new_columns: quarantine\n"),
        ("AS made", "AS more"),
    ] {
        assert_eq!(faults(&FILE.replace(from, to)), [], "{to}");
    }
}
