//! What somebody meets in the first hour: generated pipelines, names in the wrong place, runs without rows.

use forebay_testkit::{Reply, StubHttp};
use serde_json::json;

use crate::forebay::Project;
use crate::served::runtime;

#[test]
fn a_generated_pipeline_runs() {
    for (file, bytes, question) in [
        (
            "api.json",
            &b"{\"count\": 2, \"results\": [{\"n\": 1}, {\"n\": 2}]}"[..],
            "SELECT sum(n) FROM main.api",
        ),
        (
            "names.csv",
            b"name,n\nM\xfcller,1\nMuster,2\n",
            "SELECT sum(n) FROM main.names WHERE name IN ('Müller', 'Muster')",
        ),
        (
            "titled.csv",
            b"Names, by country\n\n'name';'n'\n'a; b';'1'\n'c';'2'\n",
            "SELECT sum(n) FROM main.titled WHERE name IN ('a; b', 'c')",
        ),
        (
            "wide.csv",
            b"n\0;\0a\0\n\x001\0;\0x\0\n\x002\0;\0y\0\n\0",
            "SELECT sum(n) FROM main.wide",
        ),
    ] {
        let project = Project::new();
        project.write_bytes(file, bytes);
        project.ok(&["init", "--from", file]);
        project.ok(&["check"]);
        project.ok(&["run"]);
        assert_eq!(project.value(question), "3", "{file}");
    }
}

#[test]
fn a_generated_pipeline_for_a_url_runs() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let server = runtime.block_on(StubHttp::start(|request| match request.path.as_str() {
        "/v1/orders" => Reply::json(&json!({"count": 2, "rows": [{"n": 1}, {"n": 2}]})),
        "/v1/names" => Reply::status(200).body("name;n\na;1\nb;2\n"),
        "/v1/paged" => match request.param("page").as_deref() {
            None => Reply::json(&json!({"rows": [{"n": 1}], "next": "/v1/paged?page=2"})),
            _ => Reply::json(&json!({"rows": [{"n": 2}], "next": null})),
        },
        "/v1/linked" => {
            let reply = Reply::status(200).body("\u{feff}{\"n\": 1}\n{\"n\": 0}\n");
            match request.param("page").as_deref() {
                None => reply.header("link", "</v1/linked?page=2>; rel=next"),
                _ => Reply::status(200).body("{\"n\": 2}\n{\"n\": 0}\n"),
            }
        }
        "/v1/counted" => {
            let offset: u64 = request
                .param("offset")
                .map_or(0, |offset| offset.parse().unwrap());
            let rows = (offset..2).take(1).map(|n| json!({"n": n + 1}));
            let rows: Vec<_> = rows.collect();
            Reply::json(&json!({"rows": rows, "total": 2, "offset": offset, "limit": 1}))
        }
        _ => Reply::status(401),
    }));
    for name in ["orders", "names", "paged", "linked", "counted"] {
        let project = Project::new();
        project.ok(&["init", "--from", &server.url(&format!("/v1/{name}"))]);
        project.ok(&["check"]);
        project.ok(&["run"]);
        let sum = format!("SELECT sum(n) FROM main.{name}");
        assert_eq!(project.value(&sum), "3", "{name}");
    }
    let project = Project::new();
    let said = project.ok(&["init", "--from", &server.url("/v1/secret")]);
    assert!(said.err.contains("could not be read"), "{}", said.err);
    let refused = project.run(&["init", "--from", "http://169.254.169.254/x"]);
    assert!(refused.err.contains("address_refused"), "{}", refused.err);
}

#[test]
fn a_check_reads_the_settings_that_a_run_reads() {
    let project = Project::new();
    project.ok(&["init"]);
    let without = |args: &[&str]| {
        let mut command = project.command(args);
        for name in [
            "AWS_ALLOW_HTTP",
            "AWS_ENDPOINT_URL_S3",
            "FOREBAY__STORAGE__URL",
        ] {
            command.env_remove(name);
        }
        command
    };
    let said = |mut command: assert_cmd::Command| {
        let output = command.output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let storage =
        "[storage]\nurl = \"s3://b/lake\"\n[storage.s3]\nendpoint = \"http://127.0.0.1:9\"\n";
    for (settings, code) in [
        (storage.to_owned(), "bad_s3_options"),
        (
            "[storage]\nurl = \"gs://b\"\n".to_owned(),
            "bad_storage_url",
        ),
        ("[lake]\nkeep = \"5m\"\n".to_owned(), "keep_too_short"),
    ] {
        project.write("forebay.toml", &settings);
        let (is_good, text) = said(without(&["check"]));
        assert!(!is_good && text.contains(code), "{settings}: {text}");
    }
    for (settings, variable) in [
        (format!("{storage}allow_http = true\n"), "X"),
        (storage.to_owned(), "AWS_ALLOW_HTTP"),
        (storage.to_owned(), "FOREBAY__STORAGE__S3__ALLOW_HTTP"),
    ] {
        project.write("forebay.toml", &settings);
        let mut command = without(&["check"]);
        command.env(variable, "true");
        let (is_good, text) = said(command);
        assert!(is_good, "{settings}: {text}");
    }
}

#[test]
fn a_name_in_the_place_of_another_leads_on() {
    let project = Project::new();
    project.ok(&["init"]);
    let none = project.run(&["runs", "show", "orders"]);
    assert!(none.err.contains("no_such_run"), "{}", none.err);
    project.ok(&["run"]);
    project.ok(&["run"]);
    let runs = project.ok(&["runs", "ls", "--format", "csv"]).out;
    let newest = runs.lines().nth(1).and_then(|line| line.split(',').next());
    let shown = project.ok(&["runs", "show", "orders"]);
    assert!(shown.err.contains(newest.unwrap()), "{}", shown.err);
    for command in [
        &["rebuild", "orders"][..],
        &["tables", "describe", "orders"],
    ] {
        let wrong = project.run(command);
        assert!(
            wrong.err.contains("its table is shop.orders"),
            "{}",
            wrong.err
        );
    }
    let unlike = project.run(&["run", "customers"]);
    assert!(
        unlike.err.contains("the pipelines are orders"),
        "{}",
        unlike.err
    );
}

#[test]
fn a_run_without_rows_says_why() {
    let project = Project::new();
    let yaml = "pipeline: a\nsource:\n  file: {path: a.csv}\nextract:\n  csv: {}\ntransform:\n  - sql: SELECT * FROM input WHERE id > 5\nload:\n  iceberg: {table: s.a}\n";
    project.write("pipelines/a.yaml", yaml);
    for (content, why) in [
        ("id,name\n", "a header without further lines"),
        ("id,name\n1,x\n", "none is left after the transforms"),
    ] {
        project.write("a.csv", content);
        let run = project.ok(&["run"]);
        assert!(
            run.err.contains("0 rows") && run.err.contains(why),
            "{}",
            run.err
        );
    }
    let again = project.ok(&["run"]);
    assert!(again.err.contains("nothing new"), "{}", again.err);
}
