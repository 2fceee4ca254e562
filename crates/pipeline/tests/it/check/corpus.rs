//! Every key of every component, misspelled in turn.
//!
//! The files below use every key that the schema has (a test compares them), so a new key fails here until it is added.

use std::collections::BTreeSet;

use forebay_config::Document;
use forebay_pipeline::spec::pipeline_schema;
use serde_json::{Map, Value};

use super::check;

/// Maximal files: together they use every key and every choice.
const FILES: &[&str] = &[
    r#"
pipeline: a
schedule: {every: 15m}
source:
  http:
    url: https://example.org/query
    method: GET
    headers: {accept: application/json}
    params: {limit: 5, all: true}
    auth: {bearer: {token: "${secret:token}"}}
    paginate: {page: {param: page, start: 1, size_param: size, size: 100, stable: true}}
    pages_max: 1000
    end: {field: meta.more, is: false}
    errors: [{field: meta.fault, is: true}]
    key: id
    cursor: {field: updated, param: since, start: 2026-01-01, format: rfc3339, field_format: rfc3339, lag: 5m, key: id, end_param: until}
    rate: {requests: 10, per: 1s, window: fixed, concurrency: 2}
    retry: {attempts: 3, max_delay: 10s, total: 1m}
    limits: {body: 1MiB, expanded: 8MiB, records: 1000, time: 10s, connect: 5s, idle: 5s}
    records: data.items
    allow_private: false
raw: {object_bytes: 16MiB, level: 3}
extract:
  json:
    records: data.items
    nested: tables
    case: fold
    lines: false
    wire: plain
    limits: {depth: 64, record: 1MiB, document: 16MiB, children: 1000}
schema:
  new_columns: freeze
  columns: {id: {type: string, required: true, check: "value <> ''"}}
  columns_max: 100
transform:
  - sql: SELECT * FROM input
  - rename: {a: b}
  - cast: {b: "decimal(20, 4)"}
  - check: [{name: rule, where: "b > 0", on_fail: fail}]
buffer: {rows: 1000, bytes: 1MiB, time: 1s}
load:
  iceberg: {table: quakes.events, mode: append, partition: [day(at)], file_bytes: 64MiB}
"#,
    r#"
pipeline: a
source:
  table: {name: quakes.events, start: now, changes: full}
extract:
  table: {}
load:
  iceberg: {table: quakes.copy, mode: upsert, key: [id], order: at}
checks:
  id_is_unique: SELECT id FROM quakes.copy GROUP BY id HAVING count(*) > 1
  some_rows: {sql: SELECT count(*) AS n FROM quakes.copy HAVING count(*) = 0, severity: warn}
"#,
    r#"
pipeline: a
source:
  query: {sql: "SELECT id FROM quakes.events", changes: full}
extract:
  query: {}
load:
  iceberg: {table: quakes.ids, mode: upsert, key: [id]}
"#,
    r#"
pipeline: a
source:
  table: {name: quakes.events}
extract:
  table: {}
load:
  iceberg: {table: quakes.history, mode: bitemporal, key: [id], valid_from: at, valid_to: until, until: end, operation: op, coalesce: false}
"#,
    r#"
pipeline: a
source:
  raw: {pipeline: quakes, start: now, changes: full, records: data.items, tombstones: skip, columns: {key: k, key_bytes: kb, timestamp: t, partition: p, offset: o, headers: h}}
extract:
  json: {}
load:
  iceberg: {table: quakes.again}
"#,
];

/// Files that differ from the first in one stage: `(stage, its value)`.
const OTHERS: &[(&str, &str)] = &[
    (
        "source",
        "http: {url: 'https://example.org', auth: {basic: {username: u, password: '${secret:token}'}}, paginate: {offset: {param: o, start: 0, limit_param: l, limit: 5, overlap: 1, stable: false}}, key: id}",
    ),
    (
        "source",
        "http: {url: 'https://example.org', auth: {api_key: {header: x-key, value: '${secret:token}', prefix: 'Token '}}, paginate: {cursor: {path: next, param: cursor, more: has_more, stable: false}}}",
    ),
    (
        "source",
        "http: {url: 'https://example.org', auth: {api_key: {param: key, value: '${secret:token}'}}, paginate: {next: {path: links.next, stable: true}}}",
    ),
    (
        "source",
        "http: {url: 'https://example.org', paginate: {link_header: {stable: false}}}",
    ),
    (
        "source",
        "http: {url: 'https://example.org', paginate: none}",
    ),
    (
        "source",
        "http: {url: 'https://h/x', paginate: {page: {param: p}}, end: [{field: more, is: false}], errors: {field: fault, is: true}}",
    ),
    (
        "source",
        "file: {path: 'data/*.json', settle: 5s, order: modified, follow: true, identity: name, hive: true, columns: {file: path}}",
    ),
    (
        "source",
        "file: {path: 's3://b/*.json', s3: {endpoint: 'http://h', region: eu, access_key_id: me, secret_access_key: '${secret:token}', session_token: '${secret:token}', virtual_hosted: true, allow_http: true}}",
    ),
    #[cfg(feature = "kafka")]
    (
        "source",
        "kafka: {cluster: {brokers: ['a:9092'], tls: {ca: ca.pem, certificate: c.pem, key: '${secret:token}'}, sasl: {mechanism: PLAIN, username: u, password: '${secret:token}'}, options: {fetch.min.bytes: '1'}}, topic: t, start: latest, shares: 4, lost: continue, isolation: read_uncommitted, columns: {key: k, key_bytes: kb, timestamp: at, partition: p, offset: o, headers: h}, tombstones: skip, registry: {url: 'http://r', auth: {username: u, password: '${secret:token}'}, retry_for: 1m}, report_to: g}",
    ),
    #[cfg(feature = "kafka")]
    (
        "load",
        "kafka: {cluster: {brokers: ['a:9092'], tls: {ca: ca.pem, certificate: c.pem, key: '${secret:token}'}, sasl: {mechanism: PLAIN, username: u, password: '${secret:token}'}, options: {fetch.min.bytes: '1'}}, topic: t, key: id, positions: p}",
    ),
    #[cfg(feature = "kafka")]
    ("extract", "avro: {}"),
    #[cfg(feature = "kafka")]
    ("extract", "protobuf: {nested: keep}"),
    (
        "source",
        "push: {auth: {token: '${secret:token}', hmac: {secret: '${secret:token}', header: x-signature, prefix: 'v1=', scheme: timestamped, tolerance: 5m, signed_headers: [idempotency-key]}}, body: 1MiB, backlog: 1GiB, keep_keys: 1h, journal: storage, linger: 20ms, headers: [x-device]}",
    ),
    (
        "extract",
        r##"csv: {delimiter: ";", quote: "'", escape: "\\", comment: "#", header: false, columns: [a, b], null: [NA], quoted_null: true, decimal: ",", thousands: ".", date_formats: ["%d.%m.%Y"], timestamp_formats: ["%d.%m.%Y %H:%M"], numbers: double, trim: true, case: fold, encoding: latin1, skip_lines: 1, ragged: fill, blank_lines: record}"##,
    ),
    ("extract", "parquet: {exclude: [a]}"),
    ("load", "stdout: {format: csv}"),
    (
        "load",
        "postgres: {url: '${secret:warehouse}', table: shop.orders, mode: upsert, key: [id]}",
    ),
    (
        "load",
        "file: {path: out, format: csv, guard_formulas: false}",
    ),
];

fn value(yaml: &str) -> Value {
    let document = Document::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    document.parse().expect("every document is a JSON value")
}

/// A source whose pages are found in headers.
const LINKED: &str = "http: {url: 'https://example.org', paginate: {link_header: {}}}";

/// A source of messages with their schemas.
fn messages() -> &'static str {
    let mut sources = OTHERS.iter().filter(|(stage, _)| *stage == "source");
    let kafka = sources.find(|(_, yaml)| yaml.starts_with("kafka:"));
    kafka.expect("there is one where there is protobuf").1
}

fn files() -> Vec<Value> {
    let mut all: Vec<Value> = FILES.iter().map(|yaml| value(yaml)).collect();
    let first = all[0].clone();
    all.extend(OTHERS.iter().map(|(stage, yaml)| {
        let mut file = first.clone();
        file[*stage] = value(yaml);
        if file["extract"].get("protobuf").is_some() {
            file["source"] = value(messages());
        } else if file["extract"].get("json").is_none() && file["extract"].get("table").is_none() {
            // Pages that are found in bodies are JSON.
            file["source"] = value(LINKED);
        }
        file
    }));
    all
}

/// Block YAML with one key a line, and where each key stands: `(path, line, column)`.
#[derive(Default)]
struct Written {
    text: String,
    keys: Vec<(Vec<String>, usize, usize)>,
}

impl Written {
    fn of(file: &Value) -> Self {
        let mut written = Self::default();
        written.mapping(file, &mut Vec::new(), 0);
        written
    }

    fn mapping(&mut self, value: &Value, path: &mut Vec<String>, indent: usize) {
        for (i, (key, inner)) in value.as_object().into_iter().flatten().enumerate() {
            // The first key of a list element stands behind its dash.
            if i > 0 || !self.text.ends_with("- ") {
                self.text.push_str(&" ".repeat(indent));
            }
            path.push(key.clone());
            self.keys.push((
                path.clone(),
                self.text.matches('\n').count() + 1,
                indent + 1,
            ));
            self.text.push_str(&format!("{key}:"));
            self.value(inner, path, indent);
            path.pop();
        }
    }

    fn value(&mut self, value: &Value, path: &mut Vec<String>, indent: usize) {
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                self.text.push('\n');
                self.mapping(value, path, indent + 2);
            }
            Value::Array(elements) if elements.iter().any(Value::is_object) => {
                self.text.push('\n');
                for (i, element) in elements.iter().enumerate() {
                    self.text.push_str(&format!("{}- ", " ".repeat(indent + 2)));
                    path.push(i.to_string());
                    self.mapping(element, path, indent + 4);
                    path.pop();
                }
            }
            scalar => self.text.push_str(&format!(" {scalar}\n")),
        }
    }
}

fn follow<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|target| root.pointer(target.trim_start_matches('#')))
    {
        Some(target) => follow(root, target),
        None => schema,
    }
}

/// The schemas that may hold at a value, with `oneOf` and `anyOf` taken apart.
fn ways<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = follow(root, schema);
    let branches: Vec<&Value> = ["oneOf", "anyOf"]
        .iter()
        .filter_map(|key| schema.get(key)?.as_array())
        .flatten()
        .collect();
    let inner = branches.into_iter().flat_map(|branch| ways(root, branch));
    std::iter::once(schema).chain(inner).collect()
}

/// Whether the key at `path` is one of the schema, not a name that the user chooses; with the keys beside it.
fn known<'a>(root: &'a Value, path: &[String]) -> Option<Vec<&'a str>> {
    let (key, above) = path.split_last()?;
    let mut schemas = ways(root, root);
    for step in above {
        let next = schemas.iter().filter_map(|schema| {
            let property = schema
                .get("properties")
                .and_then(|properties| properties.get(step));
            property
                .or_else(|| schema.get("items"))
                .or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()))
        });
        schemas = next
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(|schema| ways(root, schema))
            .collect();
    }
    let names = schemas
        .iter()
        .filter_map(|schema| schema.get("properties")?.as_object())
        .flat_map(Map::keys);
    let names: Vec<&str> = names.map(String::as_str).collect();
    names.contains(&key.as_str()).then_some(names)
}

fn misspellings(key: &str) -> BTreeSet<String> {
    let chars: Vec<char> = key.chars().collect();
    let mut found = BTreeSet::new();
    for i in 0..chars.len() {
        let mut dropped = chars.clone();
        dropped.remove(i);
        let mut doubled = chars.clone();
        doubled.insert(i, chars[i]);
        let mut swapped = chars.clone();
        swapped.swap(i, (i + 1).min(chars.len() - 1));
        found.extend([dropped, doubled, swapped].map(String::from_iter));
    }
    found.remove(key);
    found.remove("");
    found
}

fn renamed(file: &Value, path: &[String], name: &str) -> Value {
    let Some((step, rest)) = path.split_first() else {
        return file.clone();
    };
    match file {
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, inner)| match key == step {
                    true if rest.is_empty() => (name.to_owned(), inner.clone()),
                    true => (key.clone(), renamed(inner, rest, name)),
                    false => (key.clone(), inner.clone()),
                })
                .collect(),
        ),
        Value::Array(elements) => {
            let at: usize = step.parse().expect("a step into a list is a number");
            Value::Array(
                elements
                    .iter()
                    .enumerate()
                    .map(|(i, e)| {
                        if i == at {
                            renamed(e, rest, name)
                        } else {
                            e.clone()
                        }
                    })
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

#[test]
fn every_file_of_the_corpus_is_valid() {
    for file in files() {
        let Written { text, .. } = Written::of(&file);
        if let Err(found) = check(&text) {
            panic!("{found}\n{text}");
        }
    }
}

/// Paths of all keys of the schema, with list elements and free names as `*`.
fn keys_of_schema(root: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for way in ways(root, schema) {
        for (name, inner) in way
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let path = format!("{path}/{name}");
            found.insert(path.clone());
            keys_of_schema(root, inner, &path, found);
        }
        for free in [way.get("items"), way.get("additionalProperties")]
            .into_iter()
            .flatten()
            .filter(|s| s.is_object())
        {
            keys_of_schema(root, free, &format!("{path}/*"), found);
        }
    }
}

fn keys_of_file(root: &Value, written: &Written) -> BTreeSet<String> {
    let generic = |path: &Vec<String>| {
        let steps = (0..path.len()).map(|i| {
            if known(root, &path[..=i]).is_some() {
                path[i].as_str()
            } else {
                "*"
            }
        });
        steps.map(|step| format!("/{step}")).collect::<String>()
    };
    written
        .keys
        .iter()
        .filter(|(path, ..)| known(root, path).is_some())
        .map(|(path, ..)| generic(path))
        .collect()
}

#[test]
fn the_corpus_uses_every_key() {
    let schema = pipeline_schema();
    let (root, mut expected) = (schema.as_value(), BTreeSet::new());
    keys_of_schema(root, root, "", &mut expected);
    let used: BTreeSet<String> = files()
        .iter()
        .flat_map(|file| keys_of_file(root, &Written::of(file)))
        .collect();
    let unused: Vec<&String> = expected.difference(&used).collect();
    assert!(
        unused.is_empty(),
        "add these keys to the corpus: {unused:#?}"
    );
    assert!(
        expected.len() > 60,
        "the schema has {} keys",
        expected.len()
    );
}

#[test]
fn every_key_misspelled_is_refused_at_its_place_with_the_right_suggestion() {
    let schema = pipeline_schema();
    let (mut tried, mut done) = (0, BTreeSet::new());
    for file in files() {
        for (path, line, column) in Written::of(&file).keys {
            let Some(beside) = known(schema.as_value(), &path) else {
                continue;
            };
            let key = path.last().expect("a path has a step");
            if !done.insert(path.clone()) {
                continue;
            }
            for wrong in misspellings(key) {
                // Another key that exists is no misspelling.
                if beside.contains(&wrong.as_str()) {
                    continue;
                }
                refused(&renamed(&file, &path, &wrong), &wrong, key, (line, column));
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000, "{tried} misspellings");
}

fn refused(file: &Value, wrong: &str, key: &str, place: (usize, usize)) {
    let Written { text, .. } = Written::of(file);
    let found = check(&text).expect_err("a misspelled key is refused");
    let [only] = found.0.as_slice() else {
        panic!("`{wrong}` gives {} errors\n{found}", found.0.len())
    };
    assert_eq!(
        (only.place.line, only.place.column),
        place,
        "`{wrong}`\n{found}"
    );
    assert_eq!(
        only.help.as_deref(),
        Some(format!("did you mean `{key}`?").as_str()),
        "`{wrong}`\n{found}"
    );
}
