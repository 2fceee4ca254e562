//! Small files and pushes that expand to much: each is loaded or refused, and the memory of the server stays bounded.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListArray, NullArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use forebay_testkit::{gzip, zstd};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::forebay::Project;
use crate::served::{Server, client, runtime, until};

/// Memory that the server may have had resident.
const MEMORY_MAX: u64 = 512 << 20;

/// Bytes of a bomb: what one may push or drop without being noticed.
const BOMB_MAX: usize = 1 << 20;

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let batch = batch.unwrap();
    let level = ZstdLevel::try_new(9).unwrap();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level));
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    assert!(bytes.len() <= BOMB_MAX, "{} bytes", bytes.len());
    bytes
}

/// Rows that cost next to nothing in a file.
fn narrow() -> Vec<u8> {
    parquet(vec![(
        "b",
        Arc::new(BooleanArray::from(vec![true; 2_000_000])),
    )])
}

/// Numbers that repeat: ten columns of a million.
fn repeated() -> Vec<u8> {
    let column = Arc::new(Int64Array::from(vec![7; 1_000_000])) as ArrayRef;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    parquet(names.map(|name| (name, Arc::clone(&column))).to_vec())
}

/// Few values, and each of them is large.
fn large_values() -> Vec<u8> {
    let value = "x".repeat(12 << 20);
    parquet(vec![(
        "s",
        Arc::new(StringArray::from(vec![value.as_str(); 6])),
    )])
}

/// One row with millions of elements.
fn long_list() -> Vec<u8> {
    let values = Arc::new(Int64Array::from(vec![1; 5_000_000]));
    let element = Arc::new(Field::new("element", DataType::Int64, true));
    let list = ListArray::new(
        element,
        OffsetBuffer::from_lengths([5_000_000]),
        values,
        None,
    );
    parquet(vec![("l", Arc::new(list))])
}

/// Rows without a value.
fn nulls() -> Vec<u8> {
    let column = Arc::new(NullArray::new(3_000_000));
    let numbers = Arc::new(Int64Array::from(vec![None; 3_000_000]));
    parquet(vec![("n", column), ("m", numbers)])
}

/// A footer with a schema of groups within each other around a column, and more fields.
fn footer(groups: usize, more: &[u8]) -> Vec<u8> {
    let elements = groups + 1;
    let count = [0, 7, 14].map(|shift| (elements >> shift) as u8 & 0x7F);
    let count = [count[0] | 0x80, count[1] | 0x80, count[2]];
    let group = [0x35, 0, 0x18, 1, b'g', 0x15, 2, 0].repeat(groups);
    let column = [0x15, 2, 0x25, 0, 0x18, 1, b'x', 0];
    let start = [&[0x15, 2, 0x19, 0xFC], &count[..], &group, &column].concat();
    let footer = [&start[..], &[0x16, 0, 0x19, 0x0C], more, &[0]].concat();
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1", &footer[..], &length, b"PAR1"].concat()
}

/// Groups within each other, which a library descends by recursion.
fn deep_schema() -> Vec<u8> {
    footer(90_000, &[])
}

/// An unknown list of lists of 2^31 - 1 booleans, which a library takes without their bytes.
fn endless_lists() -> Vec<u8> {
    let list = [0xF1, 0xFF, 0xFF, 0xFF, 0xFF, 0x07];
    footer(
        1,
        &[&[0xF9, 0xF9, 0xA0, 0x8D, 6], &list.repeat(100_000)[..]].concat(),
    )
}

fn texts() -> [Vec<u8>; 5] {
    let lists = format!("{{\"l\":[{}1]}}\n", "1,".repeat(2_000_000));
    [
        "{}\n".repeat(600_000).into_bytes(),
        format!("{{\"s\":\"{}\"}}\n", "x".repeat(100 << 20)).into_bytes(),
        lists.into_bytes(),
        "[".repeat(60 << 20).into_bytes(),
        format!("[{}{{}}]", "{\"a\":1},".repeat(500_000)).into_bytes(),
    ]
}

#[test]
fn bombs_of_every_kind_leave_the_memory_bounded() {
    let project = Project::new();
    for (name, source, extract) in [
        ("files", "file: {path: \"in/*.parquet\"}", "parquet: {}"),
        ("lines", "push: {}", "json: {lines: true}"),
        ("documents", "push: {}", "json: {}"),
        ("sheets", "push: {}", "csv: {}"),
        ("good", "push: {}", "json: {lines: true}"),
    ] {
        let schedule = match name {
            "files" => "schedule: {every: 1h}\n",
            _ => "",
        };
        project.write(
            &format!("pipelines/{name}.yaml"),
            &format!("pipeline: {name}\nsource: {{{source}}}\nextract: {{{extract}}}\nbuffer: {{time: 100ms}}\n{schedule}load: {{iceberg: {{table: bombs.{name}}}}}\n"),
        );
    }
    let bombs = [
        deep_schema,
        endless_lists,
        narrow,
        repeated,
        large_values,
        long_list,
        nulls,
    ];
    for (n, bomb) in bombs.iter().enumerate() {
        project.write_bytes(&format!("in/{n}.parquet"), &bomb());
    }
    let texts = texts();
    let compressed: Vec<(&str, Vec<u8>)> = texts
        .iter()
        .flat_map(|text| [("gzip", gzip(text)), ("zstd", zstd(text))])
        .collect();
    drop(texts);
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
    };
    let committed = |name: &str, least: u64| {
        let table = format!("SELECT count(*) FROM bombs.{name}");
        let count = project.run(&["sql", &table, "--format", "csv"]).out;
        let count = count
            .lines()
            .nth(1)
            .and_then(|count| count.parse::<u64>().ok());
        count.is_some_and(|count| count >= least)
    };
    until("the files are loaded", || committed("files", 6_000_000));
    for name in ["lines", "documents", "sheets"] {
        for (encoding, body) in &compressed {
            push(name, body.clone(), Some(encoding));
        }
        let last = match name {
            "sheets" => "a,b\n1,2\n",
            _ => "{\"a\":1}\n",
        };
        push(name, last.into(), None);
    }
    push("good", b"{\"n\":1}".to_vec(), None);
    until("a good push is committed beside them", || {
        committed("good", 1)
    });
    for name in ["lines", "documents", "sheets"] {
        until(name, || committed(name, 1));
    }
    let peak = server.memory_peak();
    println!("memory {} MiB", peak >> 20);
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
    assert_eq!(server.stop(), Some(0));
}

/// A pipeline whose step makes far more of its records than they hold.
struct Multiplied {
    name: &'static str,
    step: String,
    body: String,
    /// Rows of the records that can be loaded; one more record is refused.
    landed: &'static str,
    code: &'static str,
}

impl Multiplied {
    fn write(&self, project: &Project) {
        let Self { name, step, .. } = self;
        project.write(
            &format!("pipelines/{name}.yaml"),
            &format!("pipeline: {name}\nsource: {{push: {{}}}}\nextract: {{json: {{lines: true}}}}\nbuffer: {{time: 100ms}}\ntransform: [{{sql: '{step}'}}]\nload: {{iceberg: {{table: bombs.{name}}}}}\n"),
        );
    }

    fn push(&self, server: &Server) {
        let runtime = runtime();
        let _inside = runtime.enter();
        let url = server.url(&format!("/v1/ingest/{}", self.name));
        let request = client().post(url).body(self.body.clone());
        let status = runtime.block_on(request.send()).unwrap().status();
        assert_eq!(status.as_u16(), 200, "{}", self.name);
    }

    fn check(&self, project: &Project) {
        let Self { name, code, .. } = self;
        let count = |from: String| {
            let counted = format!("SELECT count(*) FROM {from}");
            let counted = project.run(&["sql", &counted, "--format", "csv"]).out;
            counted.lines().nth(1).map(str::to_owned)
        };
        until(name, || {
            count(format!("bombs.{name}")).as_deref() == Some(self.landed)
        });
        let refused = count(format!("quarantine.{name} WHERE code = '{code}'"));
        assert_eq!(refused.as_deref(), Some("1"), "{name}");
    }
}

fn check_multiplied(pipelines: &[Multiplied]) {
    let project = Project::new();
    for pipeline in pipelines {
        pipeline.write(&project);
    }
    let server = Server::start(&project, "127.0.0.1:0");
    for pipeline in pipelines {
        pipeline.push(&server);
    }
    for pipeline in pipelines {
        pipeline.check(&project);
    }
    let peak = server.memory_peak();
    println!("memory {} MiB", peak >> 20);
    assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
    assert_eq!(server.stop(), Some(0));
}

/// A record with a text of this length and a list of this length.
fn long_record(id: usize, text: usize, items: usize) -> String {
    let items = vec!["1"; items].join(",");
    let text = "x".repeat(text);
    format!("{{\"id\":{id},\"text\":\"{text}\",\"items\":[{items}]}}\n")
}

/// `unnest` beside a large text, and texts that a function makes of short ones.
#[test]
fn records_that_a_step_multiplies_are_loaded_or_refused_one_by_one() {
    let text = |id: usize, times: u64| {
        format!("{{\"id\":{id},\"text\":\"0123456789\",\"times\":{times}}}\n")
    };
    let rows = (0..40).map(|id| long_record(id, 100_000, 100));
    let texts = (0..200).map(|id| text(id, 100_000));
    check_multiplied(&[
        Multiplied {
            name: "rows",
            step: "SELECT id, text, unnest(items) AS item FROM input".to_owned(),
            body: long_record(40, 500_000, 100_000) + &rows.collect::<String>(),
            landed: "4000",
            code: "sql_value_too_large",
        },
        Multiplied {
            name: "texts",
            step: "SELECT id, repeat(text, CAST(times AS BIGINT)) AS long FROM input".to_owned(),
            body: text(200, 1_000_000_000_000) + &texts.collect::<String>(),
            landed: "200",
            code: "sql_value_too_large",
        },
    ]);
}

/// A join that repeats each row: it is not row-wise, but the record that is too large for it is still the only one refused.
#[test]
fn records_that_a_join_multiplies_are_loaded_or_refused_one_by_one() {
    let values = vec!["(1)"; 300].join(", ");
    let rows = (0..6).map(|id| long_record(id, 100_000, 1));
    check_multiplied(&[Multiplied {
        name: "joined",
        step: format!("SELECT id, text, v.n FROM input CROSS JOIN (VALUES {values}) AS v(n)"),
        body: long_record(6, 10_000_000, 1) + &rows.collect::<String>(),
        landed: "1800",
        code: "sql_output_too_large",
    }]);
}
