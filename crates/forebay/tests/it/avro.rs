//! Avro container files from files and pushes: the values that other readers see, and what becomes of damaged ones.
//!
//! The files in `avro/` are of the tests of Apache Avro.

use crate::forebay::Project;
use crate::served::{Server, client, runtime, wait_for};

const PIPELINE: &str = "\
pipeline: readings
source: {file: {path: \"data/*\"}}
extract: {avro: {}}
load: {iceberg: {table: t.readings}}
";

const WEATHER: &[u8] = include_bytes!("avro/weather.avro");

/// The length of a text, and so of most numbers, in zigzag.
fn long(value: i64) -> Vec<u8> {
    let (mut bytes, mut left) = (Vec::new(), ((value << 1) ^ (value >> 63)).cast_unsigned());
    while left > 0x7f {
        bytes.push((left & 0x7f).to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    bytes.push(left.to_le_bytes()[0]);
    bytes
}

fn bytes(content: &[u8]) -> Vec<u8> {
    [long(content.len().try_into().unwrap()).as_slice(), content].concat()
}

const SYNC: [u8; 16] = *b"sixteen bytes it";

/// A container file of blocks: the number of records, and their bytes as the codec has them.
fn container(schema: &str, codec: &str, blocks: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut file = b"Obj\x01".to_vec();
    file.extend(long(2));
    for (key, value) in [("avro.schema", schema), ("avro.codec", codec)] {
        file.extend(bytes(key.as_bytes()));
        file.extend(bytes(value.as_bytes()));
    }
    file.extend(long(0));
    file.extend(SYNC);
    for (count, content) in blocks {
        file.extend(long(*count));
        file.extend(bytes(content));
        file.extend(SYNC);
    }
    file
}

/// Records of one `long`, called `n`.
fn numbers(range: std::ops::Range<i64>) -> (i64, Vec<u8>) {
    (range.end - range.start, range.flat_map(long).collect())
}

const NUMBER: &str =
    r#"{"type": "record", "name": "a.b.Number", "fields": [{"name": "n", "type": "long"}]}"#;

fn project(files: &[(&str, &[u8])]) -> Project {
    let project = Project::new();
    project.write("pipelines/readings.yaml", PIPELINE);
    for (name, bytes) in files {
        project.write_bytes(&format!("data/{name}"), bytes);
    }
    project
}

/// Codes and reasons of what was refused.
fn refusals(project: &Project) -> String {
    project
        .ok(&["quarantine", "ls", "readings", "--format", "ndjson"])
        .out
}

#[test]
fn files_of_every_codec_hold_what_other_readers_see() {
    let deflated = {
        let (count, plain) = numbers(0..10_000);
        let mut packed =
            flate2::read::DeflateEncoder::new(plain.as_slice(), flate2::Compression::fast());
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut packed, &mut content).unwrap();
        container(NUMBER, "deflate", &[(count, content)])
    };
    let project = project(&[
        ("weather.avro", WEATHER),
        (
            "weather-snappy.avro",
            include_bytes!("avro/weather-snappy.avro").as_slice(),
        ),
        (
            "weather-zstd.avro",
            include_bytes!("avro/weather-zstd.avro").as_slice(),
        ),
    ]);
    project.ok(&["run"]);
    let found = "SELECT count(*) || ' ' || count(DISTINCT station) || ' ' || sum(temp) || ' ' || min(\"time\") FROM t.readings";
    assert_eq!(project.value(found), "15 2 600 -655531200000");
    // A file with another schema: its columns join the others.
    project.write_bytes("data/numbers.avro", &deflated);
    project.ok(&["run"]);
    assert_eq!(
        project.value("SELECT sum(n) || ' ' || count(*) FROM t.readings"),
        "49995000 10015"
    );
    project.ok(&["rebuild", "t.readings"]);
}

#[test]
fn unions_become_columns_as_those_of_messages_do() {
    let project = project(&[("a", include_bytes!("avro/with-union.avro").as_slice())]);
    project.ok(&["run"]);
    let found = "SELECT count(data1) || ' ' || sum(data1__v_int) FROM t.readings";
    assert_eq!(project.value(found), "1 126");
}

#[test]
fn what_lies_before_the_damage_is_loaded_and_the_rest_is_refused() {
    let whole = container(
        NUMBER,
        "null",
        &[numbers(0..100), numbers(100..200), numbers(200..300)],
    );
    // The marker behind the second block.
    let third = container(NUMBER, "null", &[numbers(0..100), numbers(100..200)]).len();
    let mut marker = whole.clone();
    marker[third - 16] ^= 1;
    let cut = &whole[..whole.len() - 1];
    for (damaged, rows) in [(marker.as_slice(), "100"), (cut, "200")] {
        let project = project(&[("a.avro", damaged)]);
        project.run(&["run"]);
        let refused = refusals(&project);
        assert!(refused.contains("corrupt_avro"), "{refused}");
        assert_eq!(project.value("SELECT count(*) FROM t.readings"), rows);
    }
}

#[test]
fn a_block_that_lies_about_its_records_is_refused_alone() {
    let (_, content) = numbers(100..200);
    for count in [99, 101, 1 << 40] {
        let blocks = [numbers(0..100), (count, content.clone()), numbers(200..300)];
        let project = project(&[("a.avro", container(NUMBER, "null", &blocks).as_slice())]);
        project.run(&["run"]);
        let refused = refusals(&project);
        assert_eq!(refused.lines().count(), 1, "{refused}");
        assert!(refused.contains("avro"), "{refused}");
        let landed = project.value("SELECT count(*) FROM t.readings");
        assert_eq!(landed, if count == 1 << 40 { "100" } else { "200" });
    }
}

#[test]
fn an_unknown_codec_and_a_file_of_another_kind_are_named() {
    let bzip2 = container(NUMBER, "bzip2", &[numbers(0..1)]);
    for (file, says) in [
        (bzip2.as_slice(), "bzip2"),
        (b"a,b\n1,2\n", "not an Avro container file"),
    ] {
        let project = project(&[("a", file)]);
        project.run(&["run"]);
        let refused = refusals(&project);
        assert!(refused.contains(says), "{refused}");
    }
}

#[test]
fn a_pushed_file_is_loaded_whole_or_refused() {
    let project = Project::new();
    let pipeline = "pipeline: readings\nsource: {push: {}}\nextract: {avro: {}}\nbuffer: {time: 100ms}\nload: {iceberg: {table: push.events}}\n";
    project.write("pipelines/readings.yaml", pipeline);
    let server = Server::start(&project, "127.0.0.1:0");
    let (url, client, runtime) = (server.url("/v1/ingest/readings"), client(), runtime());
    let _inside = runtime.enter();
    let cut = &WEATHER[..WEATHER.len() - 3];
    for body in [WEATHER, cut, WEATHER] {
        let push = client.post(&url).body(body.to_vec()).send();
        assert_eq!(runtime.block_on(push).unwrap().status(), 200);
    }
    wait_for(&project, 10);
    assert_eq!(server.stop(), Some(0));
    project.ok(&["run"]);
    assert_eq!(project.value("SELECT sum(temp) FROM push.events"), "400");
    assert_eq!(refusals(&project).lines().count(), 1);
}
