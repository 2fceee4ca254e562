//! What is true of a key in which period, and what was believed when: corrections, late records, deletes, refusals, and other engines.

use crate::forebay::Project;
use crate::kafka::rows;
use crate::peers::run_peers;

fn project(load: &str) -> Project {
    let project = Project::new();
    project.write(
        "pipelines/rates.yaml",
        &format!(
            "pipeline: rates\nsource: {{file: {{path: \"in/*.ndjson\"}}}}\nextract: {{json: {{nested: keep}}}}\n\
             load: {{iceberg: {{table: bonds.rates, mode: bitemporal, key: [bond], valid_from: effective, valid_to: until{load}}}}}\n"
        ),
    );
    project
}

/// Loads records; returns the system time of their commit.
fn load(project: &Project, file: &str, records: &str) -> String {
    project.write(&format!("in/{file}.ndjson"), records);
    project.ok(&["run", "--quiet"]);
    project.value("SELECT max(system_from) FROM bonds.rates")
}

const ROWS: &str =
    "SELECT rate, to_char(valid_from, '%m-%d'), to_char(valid_to, '%Y-%m-%d') FROM bonds.rates";

#[test]
fn a_correction_changes_what_is_believed_and_nothing_that_was() {
    let project = project(", partition: [month(system_to)]");
    let first = load(
        &project,
        "1",
        "{\"bond\": \"A\", \"rate\": 3.0, \"effective\": \"2026-01-01\"}\n",
    );
    let second = load(
        &project,
        "2",
        "{\"bond\": \"A\", \"rate\": 3.5, \"effective\": \"2026-03-01\"}\n",
    );
    let before = project.value(&february(&second));
    let third = load(
        &project,
        "3",
        "{\"bond\": \"A\", \"rate\": 2.9, \"effective\": \"2026-01-01T00:00:00Z\", \"until\": \"2026-02-15\"}\n",
    );
    assert!(first < second && second < third, "{first} {second} {third}");
    assert_eq!(before, "3.0");
    assert_eq!(project.value(&february(&first)), "3.0");
    assert_eq!(project.value(&february(&second)), "3.0");
    assert_eq!(project.value(&february(&third)), "2.9");
    assert_eq!(project.value("SELECT count(*) FROM bonds.rates"), "5");
    let current = format!("{ROWS}__current ORDER BY valid_from");
    assert_eq!(
        rows(&project, &current),
        [
            "2.9,01-01,2026-02-15",
            "3.0,02-15,2026-03-01",
            "3.5,03-01,9999-12-31"
        ]
    );
    assert_eq!(rows(&project, "SELECT rate FROM bonds.rates__now"), ["3.5"]);
    let newest = project.value("SELECT max(at) FROM lake.commits WHERE message LIKE 'rates%'");
    assert_eq!(newest, third, "the system time is that of the commit");
    run_peers(
        &project,
        "bitemporal_reader.py",
        &["bonds.rates", "2.9,3.0,3.5"],
    );
    let rebuilt = project.ok(&["rebuild", "bonds.rates", "--adopt"]);
    assert!(rebuilt.err.contains("equal, 5 rows"), "{}", rebuilt.err);
    assert_eq!(project.value(&february(&second)), "3.0");
    assert_eq!(rows(&project, &current).len(), 3);
}

fn february(system: &str) -> String {
    format!(
        "SELECT rate FROM bonds.rates FOR SYSTEM_TIME AS OF '{system}' FOR VALID_TIME AS OF '2026-02-01'"
    )
}

#[test]
fn spans_of_time_and_views_choose_rows() {
    let project = project("");
    let first = load(
        &project,
        "1",
        "{\"bond\": \"A\", \"rate\": 1, \"effective\": \"2026-01-01\"}\n{\"bond\": \"A\", \"rate\": 2, \"effective\": \"2026-02-01\"}\n",
    );
    let second = load(
        &project,
        "2",
        "{\"bond\": \"A\", \"rate\": 3, \"effective\": \"2026-02-01\"}\n{\"bond\": \"B\", \"rate\": 9, \"effective\": \"9000-01-01\"}\n",
    );
    let all = |clauses: &str| {
        rows(
            &project,
            &format!("SELECT rate FROM bonds.rates {clauses} ORDER BY rate"),
        )
    };
    assert_eq!(all(""), ["1", "2", "3", "9"]);
    assert_eq!(
        all(&format!("FOR SYSTEM_TIME FROM '{first}' TO '{second}'")),
        ["1", "2"]
    );
    assert_eq!(
        all(&format!("FOR SYSTEM_TIME BETWEEN '{first}' AND '{second}'")),
        ["1", "2", "3", "9"]
    );
    let valid = |clause: &str| {
        all(&format!(
            "FOR SYSTEM_TIME AS OF '{second}' FOR VALID_TIME {clause}"
        ))
    };
    assert_eq!(valid("FROM '2026-01-01' TO '2026-02-01'"), ["1"]);
    assert_eq!(valid("BETWEEN '2026-01-01' AND '2026-02-01'"), ["1", "3"]);
    assert_eq!(valid("FROM '2026-02-01' TO '2026-02-01'"), [""; 0]);
    assert_eq!(
        rows(&project, "SELECT rate FROM bonds.rates__now ORDER BY rate"),
        ["3"]
    );
    assert_eq!(
        rows(
            &project,
            "SELECT rate FROM bonds.rates__current FOR VALID_TIME AS OF '2026-01-15'"
        ),
        ["1"]
    );
    let joined = "SELECT r.rate, rates__now.rate FROM bonds.rates FOR VALID_TIME AS OF '2026-01-15' r, bonds.rates__now WHERE r.system_to > now()";
    assert_eq!(rows(&project, joined), ["1,3"]);
    let commit = project
        .value("SELECT id FROM lake.commits WHERE message LIKE 'rates%' ORDER BY at LIMIT 1");
    assert_eq!(
        all(&format!("FOR SYSTEM_TIME AS OF '{commit}'")),
        ["1", "2"]
    );
    for wrong in [
        "lake.commits FOR VALID_TIME AS OF '2026-01-01'",
        "raw.rates FOR SYSTEM_TIME FROM '1' TO '2'",
    ] {
        let refused = project.run(&["sql", &format!("SELECT * FROM {wrong}")]);
        assert!(refused.err.contains("not_bitemporal"), "{}", refused.err);
    }
}

#[test]
fn records_apply_by_their_operation_and_order() {
    let project = project(", operation: op, order: n");
    load(
        &project,
        "1",
        "{\"bond\": \"A\", \"n\": 2, \"rate\": 2, \"effective\": \"2026-01-01\"}\n\
         {\"bond\": \"A\", \"n\": 1, \"rate\": 1, \"effective\": \"2026-01-01\"}\n\
         {\"bond\": \"B\", \"rate\": 5, \"effective\": \"2026-01-01\"}\n\
         {\"bond\": \"C\", \"rate\": 7, \"effective\": \"2026-01-01\", \"until\": \"9999-12-31T23:59:59Z\"}\n",
    );
    load(
        &project,
        "2",
        "{\"bond\": \"A\", \"op\": \"delete\", \"effective\": \"2026-02-01\", \"until\": \"2026-03-01\"}\n\
         {\"bond\": \"B\", \"op\": \"delete\"}\n\
         {\"bond\": \"C\", \"op\": \"upsert\", \"rate\": 7, \"effective\": \"2026-05-01\"}\n",
    );
    assert_eq!(
        rows(
            &project,
            "SELECT bond, rate, to_char(valid_from, '%m'), to_char(valid_to, '%m') FROM bonds.rates__current ORDER BY bond, valid_from"
        ),
        ["A,2,01,02", "A,2,03,12", "C,7,01,12"]
    );
    // What says nothing new writes nothing.
    assert_eq!(
        project.value("SELECT count(*) FROM bonds.rates WHERE bond = 'C'"),
        "1"
    );
}

#[test]
fn a_record_without_a_sound_period_is_refused_and_the_others_land() {
    let project = project(", operation: op");
    load(
        &project,
        "1",
        "{\"bond\": \"A\", \"rate\": 1, \"effective\": \"2026-01-01\"}\n\
         {\"bond\": \"B\", \"rate\": 1}\n\
         {\"bond\": \"C\", \"rate\": 1, \"effective\": \"soon\"}\n\
         {\"bond\": \"D\", \"rate\": 1, \"effective\": \"2026-02-01\", \"until\": \"2026-02-01\"}\n\
         {\"rate\": 1, \"effective\": \"2026-01-01\"}\n\
         {\"bond\": \"E\", \"rate\": 1, \"effective\": \"2026-01-01\", \"op\": \"merge\"}\n\
         {\"bond\": \"F\", \"rate\": 1, \"effective\": \"2026-01-01\", \"system_to\": \"2026-01-01\"}\n",
    );
    assert_eq!(rows(&project, "SELECT bond FROM bonds.rates"), ["A"]);
    assert_eq!(
        rows(&project, "SELECT code FROM quarantine.rates ORDER BY code"),
        [
            "bad_operation",
            "bad_period",
            "bad_period",
            "bad_period",
            "null_key",
            "reserved_column"
        ]
    );
    let refused = project.run(&["quarantine", "replay", "rates"]);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("bitemporal"), "{}", refused.err);
}

#[test]
fn other_modes_leave_a_bitemporal_table_alone() {
    let project = project("");
    load(
        &project,
        "1",
        "{\"bond\": \"A\", \"rate\": 1, \"effective\": \"2026-01-01\"}\n",
    );
    let text = std::fs::read_to_string(project.path().join("pipelines/rates.yaml")).unwrap();
    for load in ["", ", mode: upsert, key: [bond]"] {
        let (head, _) = text.split_once("load:").unwrap();
        project.write(
            "pipelines/rates.yaml",
            &format!("{head}load: {{iceberg: {{table: bonds.rates{load}}}}}\n"),
        );
        project.write(
            "in/2.ndjson",
            "{\"bond\": \"A\", \"rate\": 2, \"effective\": \"2026-02-01\"}\n",
        );
        let refused = project.run(&["run", "--quiet"]);
        assert!(
            refused.err.contains("table_is_bitemporal"),
            "{}",
            refused.err
        );
    }
    project.write("pipelines/rates.yaml", &text);
    project.ok(&["run", "--quiet"]);
    assert_eq!(
        rows(
            &project,
            "SELECT rate FROM bonds.rates__current ORDER BY rate"
        ),
        ["1", "2"]
    );
}

#[test]
fn a_rebuild_knows_when_rows_came_or_says_that_it_does_not() {
    let project = project("");
    let text = std::fs::read_to_string(project.path().join("pipelines/rates.yaml")).unwrap();
    project.write(
        "pipelines/rates.yaml",
        &format!("{text}buffer: {{rows: 2}}\n"),
    );
    let records = |from: u32| {
        let record = |n: u32| {
            format!("{{\"bond\": \"A\", \"rate\": {n}, \"effective\": \"2026-01-{n:02}\"}}\n")
        };
        (from..from + 2).map(record).collect::<String>()
    };
    for file in 1..6 {
        load(&project, &file.to_string(), &records(file));
    }
    let rebuilt = project.ok(&["rebuild", "bonds.rates"]);
    assert!(rebuilt.err.contains("equal"), "{}", rebuilt.err);
    load(
        &project,
        "6",
        &(1..5).map(|from| records(from * 2)).collect::<String>(),
    );
    let refused = project.run(&["rebuild", "bonds.rates"]);
    assert!(
        refused.err.contains("rebuild_unsupported"),
        "{}",
        refused.err
    );
}

#[test]
fn columns_may_come_later_and_values_of_another_kind_are_refused() {
    let project = project(", operation: op, order: n");
    load(
        &project,
        "1",
        "{\"bond\": \"A\", \"n\": 1, \"rate\": 1, \"effective\": \"2026-01-01\", \"until\": \"2026-03-01\"}\n",
    );
    load(
        &project,
        "2",
        "{\"bond\": \"A\", \"n\": 2, \"rate\": 2, \"effective\": \"2026-02-01\", \"note\": \"x\", \"deep\": {\"a\": 1}}\n\
         {\"bond\": \"B\", \"n\": 3, \"rate\": 2, \"effective\": \"2026-02-01\", \"until\": 20260301}\n\
         {\"bond\": \"C\", \"n\": 4, \"rate\": 2, \"effective\": false}\n\
         {\"bond\": \"D\", \"n\": 5, \"rate\": 2, \"effective\": \"2026-02-01\", \"op\": 1}\n\
         {\"bond\": \"E\", \"n\": \"6\", \"rate\": 2, \"effective\": \"2026-02-01\"}\n\
         {\"bond\": 7, \"n\": 6, \"rate\": 2, \"effective\": \"2026-02-01\"}\n",
    );
    load(
        &project,
        "3",
        "{\"bond\": \"A\", \"n\": 7, \"rate\": 3, \"effective\": \"2026-04-01\", \"deep\": {\"a\": 1, \"b\": true}}\n",
    );
    assert_eq!(
        rows(
            &project,
            "SELECT rate, to_char(valid_from, '%m'), note FROM bonds.rates__current ORDER BY valid_from"
        ),
        ["1,01,", "2,02,x", "3,04,"]
    );
    assert_eq!(
        rows(&project, "SELECT code FROM quarantine.rates ORDER BY code"),
        [
            "bad_operation",
            "bad_period",
            "bad_period",
            "other_kind",
            "other_kind"
        ]
    );
    let columns = project.value("SELECT count(*) FROM information_schema.columns WHERE table_name = 'rates' AND table_schema = 'bonds' AND column_name LIKE '%__v_%'");
    assert_eq!(columns, "0");
    let tables = "SELECT string_agg(table_name || ' ' || table_type, '; ' ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'bonds'";
    assert_eq!(
        project.value(tables),
        "rates BASE TABLE; rates__current VIEW; rates__now VIEW"
    );
    let of_view =
        "SELECT count(*) > 4 FROM information_schema.columns WHERE table_name = 'rates__now'";
    assert_eq!(project.value(of_view), "true");
    for change in ["DELETE FROM bonds.rates", "DROP TABLE bonds.rates"] {
        let refused = project.run(&["sql", "--force", change]);
        assert!(
            refused.err.contains("table_is_bitemporal"),
            "{}",
            refused.err
        );
    }
}

#[test]
fn a_first_load_of_nothing_but_refused_records_says_why() {
    for mode in ["bitemporal, valid_from: at", "upsert"] {
        let project = Project::new();
        project.write(
            "pipelines/p.yaml",
            &format!("pipeline: p\nsource: {{file: {{path: \"in/*.ndjson\"}}}}\nextract: {{json: {{nested: keep}}}}\nload: {{iceberg: {{table: a.b, key: [k], mode: {mode}}}}}\n"),
        );
        project.write("in/1.ndjson", "{\"x\": 1, \"at\": \"2026-01-01\"}\n");
        let refused = project.run(&["run", "--quiet"]);
        assert!(
            refused.err.contains("1 record was refused"),
            "{}",
            refused.err
        );
        assert!(
            refused.err.contains("load corrected records"),
            "{}",
            refused.err
        );
        assert_eq!(
            rows(&project, "SELECT code FROM quarantine.p"),
            ["null_key"]
        );
        project.write(
            "in/2.ndjson",
            "{\"k\": 1, \"x\": 1, \"at\": \"2026-01-01\"}\n",
        );
        project.ok(&["run", "--quiet"]);
        assert_eq!(rows(&project, "SELECT k FROM a.b"), ["1"]);
    }
}

#[test]
fn a_dropped_table_is_read_as_it_was_believed() {
    let project = project("");
    load(
        &project,
        "1",
        "{\"bond\": \"A\", \"rate\": 1, \"effective\": \"2026-01-01\"}\n",
    );
    let second = load(
        &project,
        "2",
        "{\"bond\": \"A\", \"rate\": 2, \"effective\": \"2026-02-01\"}\n",
    );
    let then =
        format!("SELECT rate FROM bonds.rates FOR SYSTEM_TIME AS OF '{second}' ORDER BY rate");
    assert_eq!(rows(&project, &then), ["1", "2"]);
    project.ok(&["tables", "drop", "bonds.rates", "--force", "--yes"]);
    assert_eq!(rows(&project, &then), ["1", "2"]);
    let february = format!(
        "SELECT rate FROM bonds.rates__current FOR SYSTEM_TIME AS OF '{second}' FOR VALID_TIME AS OF '2026-02-15'"
    );
    assert_eq!(rows(&project, &february), ["2"]);
    load(
        &project,
        "3",
        "{\"bond\": \"A\", \"rate\": 3, \"effective\": \"2026-03-01\"}\n",
    );
    assert_eq!(rows(&project, &then), ["1", "2"]);
    assert_eq!(rows(&project, "SELECT rate FROM bonds.rates"), ["3"]);
    let missing = project.run(&[
        "sql",
        "SELECT * FROM bonds.rate FOR VALID_TIME AS OF '2026-01-01'",
    ]);
    assert!(
        missing.err.contains("no table bonds.rate"),
        "{}",
        missing.err
    );
    let misplaced = project.run(&[
        "sql",
        "SELECT * FROM bonds.rates r FOR VALID_TIME AS OF '2026-01-01'",
    ]);
    assert!(
        misplaced.err.contains("before its alias"),
        "{}",
        misplaced.err
    );
}

#[test]
fn a_first_run_without_rows_leaves_a_bitemporal_table() {
    for schema in [
        "",
        "schema: {columns: {bond: {type: string}}}\n",
        "schema: {columns: {rate: {type: double}, effective: {type: date}}}\n",
    ] {
        for first in [
            "",
            "{\"bond\": \"A\", \"rate\": 1.5, \"effective\": \"never\"}\n",
        ] {
            let project = Project::new();
            project.write(
                "pipelines/rates.yaml",
                &format!(
                    "pipeline: rates\nsource: {{file: {{path: \"in/*.ndjson\"}}}}\nextract: {{json: {{}}}}\n{schema}\
                     load: {{iceberg: {{table: bonds.rates, mode: bitemporal, key: [bond], valid_from: effective}}}}\n"
                ),
            );
            project.write("in/1.ndjson", first);
            project.run(&["run", "--quiet"]);
            load(
                &project,
                "2",
                "{\"bond\": \"A\", \"rate\": 3.5, \"effective\": \"2026-01-01\"}\n",
            );
            let now = "SELECT bond, rate, to_char(valid_from, '%m-%d') FROM bonds.rates__now";
            assert_eq!(rows(&project, now), ["A,3.5,01-01"], "{schema} {first}");
        }
    }
}

#[test]
fn a_model_without_rows_makes_a_bitemporal_table_and_one_that_never_had_rows_becomes_one() {
    let project = Project::new();
    project.write(
        "pipelines/h.yaml",
        "pipeline: h\nsource: {query: \"SELECT id, v, d FROM x.s\"}\nload: {iceberg: {table: c.h, mode: bitemporal, key: [id], valid_from: d}}\n",
    );
    project.ok(&["sql", "CREATE TABLE x.s (id bigint, v bigint, d date)"]);
    project.ok(&["run", "h", "--quiet"]);
    project.ok(&["sql", "INSERT INTO x.s VALUES (1, 1, DATE '2026-01-01')"]);
    project.ok(&["run", "h", "--quiet"]);
    assert_eq!(rows(&project, "SELECT id, v FROM c.h__now"), ["1,1"]);
    // As earlier versions left it: the columns without the mark.
    let periods = ["valid_from", "valid_to", "system_from", "system_to"];
    let periods = periods.map(|name| format!("{name} timestamptz")).join(", ");
    project.write(
        "pipelines/g.yaml",
        "pipeline: g\nsource: {query: \"SELECT id, v, d FROM x.s\"}\nload: {iceberg: {table: c.g, mode: bitemporal, key: [id], valid_from: d}}\n",
    );
    project.ok(&["sql", &format!("CREATE TABLE c.g (id bigint, {periods})")]);
    project.ok(&["run", "g", "--quiet"]);
    assert_eq!(rows(&project, "SELECT id, v FROM c.g__now"), ["1,1"]);
    for view in ["now", "current"] {
        let made = project.run(&["sql", &format!("CREATE TABLE c.g__{view} (a bigint)")]);
        assert!(made.err.contains("view_name_taken"), "{}", made.err);
    }
    project.ok(&["sql", "CREATE TABLE c.k__now (a bigint)"]);
    project.write(
        "pipelines/k.yaml",
        "pipeline: k\nsource: {query: \"SELECT id, v, d FROM x.s\"}\nload: {iceberg: {table: c.k, mode: bitemporal, key: [id], valid_from: d}}\n",
    );
    let refused = project.run(&["run", "k", "--quiet"]);
    assert!(refused.err.contains("view_name_taken"), "{}", refused.err);
}
