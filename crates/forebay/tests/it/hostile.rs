//! Payloads that are made to break a pipeline: names, depths, values and amounts. Each ends in the table or in quarantine, memory
//! stays bounded, and other pipelines of the process do not notice.

use std::time::{Duration, Instant};

use forebay_testkit::gzip;
use serde_json::Value;

use crate::forebay::Project;
use crate::served::{Server, client, runtime, until};

/// Hostile payloads in all.
const PAYLOADS: usize = 200;

/// Memory that the server may have had resident.
const MEMORY_MAX: u64 = 512 << 20;

/// Wall time in a test that measures it; the product takes a clock.
#[expect(clippy::disallowed_methods, reason = "a test that measures latency")]
fn now() -> Instant {
    Instant::now()
}

fn push_pipeline(name: &str, extract: &str) -> String {
    format!(
        "pipeline: {name}\nsource: {{push: {{}}}}\nextract: {extract}\nbuffer: {{time: 100ms}}\nload: {{iceberg: {{table: hostile.{name}}}}}\n"
    )
}

fn file_pipeline(project: &Project, name: &str, rest: &str) {
    project.write(
        &format!("pipelines/{name}.yaml"),
        &format!("pipeline: {name}\nsource: {{file: {{path: \"data/{name}/*\"}}}}\n{rest}load: {{iceberg: {{table: hostile.{name}, partition: []}}}}\n"),
    );
}

/// `levels` objects, or lists of objects, around a number.
fn deep(levels: usize, open: &str, close: &str) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}

/// The `n`th hostile payload for lines of JSON. Each has a record that can land, numbered.
fn hostile(n: usize) -> Vec<u8> {
    let good = format!("{{\"order\":{n}}}\n");
    let bad = match n % 20 {
        0 => format!("{{\"order\":0,\"x\":{}}}", deep(31, "[{\"a\":", "}]")),
        1 => format!("{{\"order\":0,\"y\":{}}}", deep(50, "{\"a\":", "}")),
        2 => "{\"order\":0,\"n\":{\"x\":1}}\n{\"order\":0,\"n.x\":3}".to_owned(),
        3 => "{\"order\":0,\"l\":[1,2],\"l.element\":5}".to_owned(),
        4 => format!("{{\"ORDER\":{n}}}\n{{\"Order\":{n}}}\n{{\"oRDER\":\"text\"}}"),
        5 => "1\n".repeat(10_000),
        6 => "{}\n".repeat(20_000),
        7 => {
            let keys: Vec<String> = (0..300).map(|k| format!("\"k{n}_{k}\":{k}")).collect();
            format!("{{{}}}\n{}", keys.join(","), "{}\n".repeat(2_000))
        }
        8 => format!(
            "{{\"order\":0,\"_fb_id\":1,\"s\":\"{}\"}}",
            "\\u0000".repeat(2_000)
        ),
        9 => "{\"order\":1e400}\n{\"order\":99999999999999999999}\n{\"order\":-0.0}".to_owned(),
        10 => format!("{{\"{}\":1}}", "k".repeat(10_000)),
        11 => "[".repeat(100_000),
        12 => format!(
            "{{\"order\":0,\"e\":[{}]}}",
            "{},".repeat(20_000).trim_end_matches(',')
        ),
        13 => format!("{{\"order\":0,\"t\":\"{}\"}}", "x".repeat(500_000)),
        14 => "{\"order\":0,\"m\":{\"a\":1},\"M\":{\"A\":2},\"m.a\":3,\"M.A\":4}".to_owned(),
        15 => "\u{feff}{\"order\":0}\n\u{0}\n{\"a\u{202e}\":1}".to_owned(),
        16 => "{\"order\":0,\"order\":1}\n{\"\":1}\n{\"a\\u0000\":1}".to_owned(),
        17 => (0..200)
            .map(|k| format!("{{\"c{}\":1}}\n", k + n * 200))
            .collect(),
        18 => {
            "{\"order\":true}\n{\"order\":[1]}\n{\"order\":{\"a\":1}}\n{\"order\":null}".to_owned()
        }
        _ => format!(
            "{{\"order\":0,\"d\":[{}]}}",
            "[1],".repeat(1_000).trim_end_matches(',')
        ),
    };
    format!("{good}{bad}\n{good}").into_bytes()
}

fn committed(pipelines: &Value, name: &str) -> Option<(u64, String)> {
    let all = pipelines.as_array().or(pipelines["pipelines"].as_array())?;
    let one = all
        .iter()
        .find(|pipeline| pipeline["name"] == name || pipeline["pipeline"] == name)?;
    let phase = one["phase"].as_str().unwrap_or_default().to_owned();
    Some((one["rows_committed"].as_u64()?, phase))
}

#[test]
fn hostile_payloads_end_in_table_or_quarantine_and_no_other_pipeline_notices() {
    let project = Project::new();
    let json = [
        ("flat", "{json: {lines: true}}"),
        ("kept", "{json: {lines: true, nested: keep}}"),
        ("tables", "{json: {lines: true, nested: tables}}"),
        ("csv", "{csv: {}}"),
    ];
    for (name, extract) in json {
        project.write(
            &format!("pipelines/{name}.yaml"),
            &push_pipeline(name, extract),
        );
    }
    project.write(
        "pipelines/good.yaml",
        &push_pipeline("good", "{json: {lines: true}}"),
    );
    let server = Server::start(&project, "127.0.0.1:0");
    let (runtime, client) = (runtime(), client());
    let _inside = runtime.enter();
    let push = |name: &str, body: Vec<u8>, encoding: Option<&str>| {
        let url = server.url(&format!("/v1/ingest/{name}"));
        let mut request = client.post(url).body(body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let status = runtime.block_on(request.send()).unwrap().status().as_u16();
        assert!([200, 400, 413, 429].contains(&status), "{name}: {status}");
        status == 200
    };
    let state = |name: &str| {
        let text = server.get(&runtime, "/v1/pipelines");
        committed(&serde_json::from_str(&text).unwrap(), name)
    };
    let mut landed = 0;
    let mut latencies = Vec::new();
    let mut good = || {
        push("good", format!("{{\"n\":{landed}}}").into_bytes(), None);
        landed += 1;
        let begun = now();
        until("a good push is committed", || {
            state("good").is_some_and(|(rows, _)| rows >= landed)
        });
        latencies.push(begun.elapsed());
    };
    let mut accepted = [0_u64; 3];
    for n in 0..PAYLOADS {
        let which = n % 4;
        if which == 3 {
            let ragged = match n % 8 {
                3 => format!("order,a\n{n},1\n{}", "1\n,,,\n".repeat(3_000)),
                _ => format!("order,A,b\n{n},1,\"{}\n", ",".repeat(50_000)),
            };
            push("csv", ragged.into_bytes(), None);
        } else {
            let name = json[which].0;
            let zipped = n % 10 == 0;
            let body = hostile(n / 4 * 3 + which);
            let body = if zipped { gzip(&body) } else { body };
            let is_in = push(name, body, zipped.then_some("gzip"));
            accepted[which] += u64::from(is_in);
        }
        if n % 20 == 10 {
            good();
        }
    }
    // The last one of each shows that those before it are done with.
    for (which, (name, _)) in json.iter().take(3).enumerate() {
        accepted[which] += u64::from(push(name, b"{\"order\":0}\n{\"order\":-1}".to_vec(), None));
    }
    push("csv", b"order,a\n-1,1\n".to_vec(), None);
    good();
    for (name, _) in json {
        until(name, || {
            let table = format!("SELECT count(*) FROM hostile.{name} WHERE \"order\" = -1");
            project
                .run(&["sql", &table, "--format", "csv"])
                .out
                .lines()
                .nth(1)
                == Some("1")
        });
        let (_, phase) = state(name).unwrap();
        assert_ne!(phase, "failed", "{name}");
    }
    latencies.sort();
    let slowest = latencies.last().unwrap();
    let peak = server.memory_peak();
    println!("memory {} MiB, slowest good push {slowest:?}", peak >> 20);
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
    assert!(*slowest < Duration::from_secs(8), "{slowest:?}");
    assert_eq!(server.stop(), Some(0));
    // Each payload's two good records are there, whatever was between them.
    for (name, accepted) in json.iter().zip(accepted).map(|((name, _), n)| (name, n)) {
        let whole = "WHERE code = 'payload_fatal'";
        assert_eq!(
            project.value(&format!("SELECT count(*) FROM quarantine.{name} {whole}")),
            "0"
        );
        let numbered = format!("SELECT count(*) FROM hostile.{name} WHERE \"order\" > 0");
        let numbered: u64 = project.value(&numbered).parse().unwrap();
        assert!(
            numbered + 4 >= 2 * (accepted - 1),
            "{name}: {numbered} of {accepted}"
        );
    }
    let again = Server::start(&project, "127.0.0.1:0");
    let text = again.get(&runtime, "/v1/pipelines");
    let pipelines: Value = serde_json::from_str(&text).unwrap();
    for (name, _) in json {
        let (_, phase) = committed(&pipelines, name).unwrap();
        assert_ne!(phase, "failed", "{name}");
    }
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn a_deep_record_is_refused_and_the_table_stays_readable() {
    for nested in ["keep", "flatten"] {
        let project = Project::new();
        file_pipeline(
            &project,
            "deep",
            &format!("extract: {{json: {{lines: true, nested: {nested}}}}}\n"),
        );
        let lines: Vec<String> = (1..64)
            .map(|levels| {
                format!(
                    "{{\"order\":{levels},\"x{levels}\":{}}}",
                    deep(levels, "{\"a\":", "}")
                )
            })
            .chain((1..32).map(|levels| {
                format!(
                    "{{\"order\":{levels},\"l{levels}\":{}}}",
                    deep(levels, "[{\"a\":", "}]")
                )
            }))
            .collect();
        project.write("data/deep/a.ndjson", &lines.join("\n"));
        project.run(&["run", "deep"]);
        project.write("data/deep/b.ndjson", "{\"order\":1000}\n");
        project.ok(&["run", "deep"]);
        let landed: usize = project
            .value("SELECT count(*) FROM hostile.deep")
            .parse()
            .unwrap();
        let refused = "SELECT count(*) FROM quarantine.deep WHERE code = 'type_too_deep'";
        let refused: usize = project.value(refused).parse().unwrap();
        assert!(
            landed > 20 && refused > 40,
            "{nested}: {landed} and {refused}"
        );
        assert_eq!(landed + refused, 63 + 31 + 1);
    }
}

#[test]
fn names_that_differ_in_case_or_only_in_a_dot_stop_nothing() {
    let project = Project::new();
    file_pipeline(
        &project,
        "dots",
        "extract: {json: {lines: true, nested: keep}}\n",
    );
    project.write("data/dots/a.ndjson", "{\"id\":1,\"n\":{\"x\":1}}\n");
    project.ok(&["run", "dots"]);
    project.write(
        "data/dots/b.ndjson",
        "{\"id\":3,\"n.x\":3}\n{\"ID\":4,\"N\":{\"X\":5}}\n",
    );
    project.ok(&["run", "dots"]);
    project.write("data/dots/c.ndjson", "{\"id\":6,\"ID\":7,\"n.x\":8}\n");
    project.ok(&["run", "dots"]);
    assert_eq!(project.value("SELECT count(*) FROM hostile.dots"), "4");
    let sums = "SELECT sum(id), sum(\"ID_2\"), sum(\"n.x_2\"), sum(n['x']), sum(\"N_2\"['X']) FROM hostile.dots";
    assert_eq!(project.value(sums), "10,11,11,1,5");

    file_pipeline(&project, "lists", "extract: {json: {lines: true}}\n");
    project.write(
        "data/lists/a.ndjson",
        "{\"a\":[1,2],\"a.element\":5}\n{\"a\":[3]}\n",
    );
    project.ok(&["run", "lists"]);
    assert_eq!(
        project.value("SELECT count(*), sum(\"a.element_2\") FROM hostile.lists"),
        "2,5"
    );

    file_pipeline(&project, "sheets", "extract: {csv: {}}\n");
    for (file, text) in [
        ("a", "id,Amount\n1,2\n"),
        ("b", "ID,amount\n3,4\n"),
        ("c", "Id,AMOUNT\n5,6\n"),
        ("d", "amount,Amount,ID,id\n7,8,9,10\n"),
    ] {
        project.write(&format!("data/sheets/{file}.csv"), text);
        project.ok(&["run", "sheets"]);
    }
    let sums = "SELECT sum(id), sum(\"Amount\"), sum(\"ID_2\"), sum(amount_2), sum(\"Id_3\"), sum(\"AMOUNT_3\") FROM hostile.sheets";
    assert_eq!(project.value(sums), "11,10,12,11,5,6");
}

#[test]
fn a_value_without_a_partition_is_one_record_in_quarantine() {
    let project = Project::new();
    for (name, kind, partition, rows) in [
        (
            "least",
            "int",
            "truncate(10, v)",
            "{\"v\":-2147483648,\"l\":[1]}\n{\"v\":5,\"l\":[2]}\n",
        ),
        (
            "far",
            "timestamp",
            "hour(v)",
            "{\"v\":\"2020-01-01T00:00:00\"}\n{\"v\":\"+250000-01-01T00:00:00\"}\n",
        ),
        (
            "longs",
            "long",
            "truncate(10, v)",
            "{\"v\":-9223372036854775808}\n{\"v\":5}\n",
        ),
    ] {
        project.write(
            &format!("pipelines/{name}.yaml"),
            &format!("pipeline: {name}\nsource: {{file: {{path: \"data/{name}/*\"}}}}\nextract: {{json: {{lines: true, nested: tables}}}}\nschema: {{columns: {{v: {{type: {kind}}}}}}}\nload: {{iceberg: {{table: hostile.{name}, partition: [\"{partition}\"]}}}}\n"),
        );
        project.write(&format!("data/{name}/a.ndjson"), rows);
        project.run(&["run", name]);
        project.write(&format!("data/{name}/b.ndjson"), "{\"v\":null}\n");
        project.ok(&["run", name]);
        let all = project.value(&format!("SELECT count(*) FROM hostile.{name}"));
        let refused = project.value(&format!("SELECT count(*) FROM quarantine.{name}"));
        assert_eq!((all.as_str(), refused.as_str()), ("2", "1"), "{name}");
    }
    // Children of a refused record wait with it.
    assert_eq!(
        project.value("SELECT sum(value) FROM hostile.least__l"),
        "2"
    );
}

#[test]
fn declared_columns_make_the_table_of_an_empty_first_run() {
    let project = Project::new();
    let columns = "schema: {columns: {id: {type: long}, note: {type: string}}}\n";
    file_pipeline(
        &project,
        "empty",
        &format!("extract: {{json: {{lines: true}}}}\n{columns}"),
    );
    project.ok(&["run", "empty"]);
    assert_eq!(
        project.value("SELECT count(id) FROM hostile.empty WHERE note IS NULL"),
        "0"
    );
    project.write("data/empty/a.ndjson", "{\"id\":1,\"more\":2}\n");
    project.ok(&["run", "empty"]);
    assert_eq!(
        project.value("SELECT id, note, more FROM hostile.empty"),
        "1,,2"
    );
}

#[test]
fn a_small_buffer_is_honoured_below_a_batch() {
    let project = Project::new();
    file_pipeline(
        &project,
        "small",
        "extract: {json: {lines: true}}\nbuffer: {rows: 500}\n",
    );
    let lines: String = (0..5_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    project.write("data/small/a.ndjson", &lines);
    project.ok(&["run", "small"]);
    assert_eq!(
        project.value("SELECT count(DISTINCT n) FROM hostile.small"),
        "5000"
    );
    let commits = "SELECT count(*) FROM lake.snapshots WHERE \"table\" = 'hostile.small'";
    let commits: u64 = project.value(commits).parse().unwrap();
    assert!((9..=11).contains(&commits), "{commits} commits");
}

#[test]
fn columns_that_the_file_declares_fit_when_others_have_used_up_the_budget() {
    let project = Project::new();
    let rest = "extract: {json: {lines: true}}\nschema: {columns_max: 20, columns: {mine: {type: long}, other: {type: string}}}\n";
    file_pipeline(&project, "budget", rest);
    let lines: String = (0..40).map(|n| format!("{{\"c{n}\":1}}\n")).collect();
    project.write("data/budget/a.ndjson", &lines);
    project.run(&["run", "budget"]);
    project.write(
        "data/budget/b.ndjson",
        "{\"mine\":1,\"c0\":2}\n{\"other\":\"x\"}\n",
    );
    project.ok(&["run", "budget"]);
    assert_eq!(
        project.value("SELECT count(*), sum(mine), count(other) FROM hostile.budget"),
        "22,1,1"
    );
    assert_eq!(
        project.value("SELECT count(*) FROM quarantine.budget WHERE code = 'too_many_columns'"),
        "20"
    );
}
