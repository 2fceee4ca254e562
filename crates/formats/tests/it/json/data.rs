//! Real nested data: counts and sums of the tables equal the known answers.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::Path;

use forebay_formats::json::Nested;
use forebay_testkit::shared_data;
use serde_json::Value;

use super::{documents, extract, lines, tables};

fn answers(folder: &Path, of: &str) -> Value {
    let all: Value =
        serde_json::from_slice(&fs::read(folder.join("ANSWERS.json")).unwrap()).unwrap();
    all[of].clone()
}

fn zstd_file(path: &Path) -> Vec<u8> {
    zstd::decode_all(fs::File::open(path).unwrap()).unwrap()
}

/// The sum of numbers with two decimals, from their shortest text.
fn cents(values: impl Iterator<Item = Value>) -> i64 {
    values
        .map(|value| (value.as_f64().unwrap() * 100.0).round() as i64)
        .sum()
}

#[test]
fn fhir_bundles_as_tables() {
    let Some(folder) = shared_data() else { return };
    let answers = answers(&folder, "hospital/fhir-r4-bundles");
    let mut paths: Vec<_> = fs::read_dir(folder.join("hospital/fhir-r4-bundles"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let bundles: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| {
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(fs::File::open(path).unwrap())
                .read_to_end(&mut text)
                .unwrap();
            text
        })
        .collect();
    let payloads: Vec<Vec<&[u8]>> = bundles
        .iter()
        .map(|bundle| bundle.chunks(10_007).collect())
        .collect();
    let out = extract(&documents(Nested::Tables), &payloads);
    assert_eq!(out.rejected.first(), None);
    let tables = tables(&out);
    assert_eq!(tables[""].len(), bundles.len());
    let entries = &tables["entry"];
    assert_eq!(
        entries.len() as u64,
        answers["resources_total"].as_u64().unwrap()
    );

    let kinds: HashMap<&str, &str> = entries
        .iter()
        .map(|row| {
            (
                row["_fb_id"].as_str().unwrap(),
                row["resource__resourceType"].as_str().unwrap(),
            )
        })
        .collect();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    kinds
        .values()
        .for_each(|kind| *counts.entry(kind).or_default() += 1);
    for (kind, count) in answers["resources"].as_object().unwrap() {
        assert_eq!(counts[kind.as_str()], count.as_u64().unwrap(), "{kind}");
    }
    let items = &tables["entry__resource__item"];
    let of_claims = items
        .iter()
        .filter(|row| kinds[row["_fb_parent_id"].as_str().unwrap()] == "Claim");
    assert_eq!(
        of_claims.count() as u64,
        answers["claim_items"].as_u64().unwrap()
    );
    let claims = entries
        .iter()
        .filter(|row| row["resource__resourceType"] == "Claim");
    let total = cents(claims.filter_map(|row| row.get("resource__total__value").cloned()));
    assert_eq!(
        format!("{}.{:02}", total / 100, total % 100),
        answers["claim_total_sum"].as_str().unwrap()
    );
}

#[test]
fn cve_records_as_tables() {
    let Some(folder) = shared_data() else { return };
    let answers = answers(&folder, "http-api/cve-records");
    let text = zstd_file(&folder.join("http-api/cve-records/records.ndjson.zst"));
    let out = extract(&lines(Nested::Tables), &[text.chunks(65_536).collect()]);
    assert_eq!(out.rejected.first(), None);
    let tables = tables(&out);
    let count = |name: &str| tables[name].len() as u64;
    assert_eq!(count(""), answers["records"].as_u64().unwrap());
    assert_eq!(
        count("containers__cna__affected"),
        answers["cna_affected_entries"].as_u64().unwrap()
    );
    assert_eq!(
        count("containers__cna__affected__versions"),
        answers["cna_versions"].as_u64().unwrap()
    );
    let metrics = &tables["containers__cna__metrics"];
    let scores = metrics
        .iter()
        .filter_map(|row| row.get("cvssV3_1__baseScore").cloned());
    let tenths = cents(scores) / 10;
    assert_eq!(
        format!("{}.{}", tenths / 10, tenths % 10),
        answers["cvssV3_1_base_score_sum"].as_str().unwrap()
    );
    let published = tables[""]
        .iter()
        .filter(|row| row["cveMetadata__state"] == "PUBLISHED")
        .count();
    assert_eq!(
        published as u64,
        answers["states"]["PUBLISHED"].as_u64().unwrap()
    );
}

/// `support.*` is an object, a list or a string, from record to record.
#[test]
fn the_same_key_as_object_list_and_string() {
    let Some(folder) = shared_data() else { return };
    let answers = answers(&folder, "http-api/browser-compat");
    let text = zstd_file(&folder.join("http-api/browser-compat/features.ndjson.zst"));
    let dom: Vec<Value> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let out = extract(&lines(Nested::Tables), &[vec![&text]]);
    assert_eq!(
        (out.rejected.first(), out.rows() as u64),
        (None, answers["features"].as_u64().unwrap())
    );
    let tables = tables(&out);
    let of_kind = |browser: &str, is: fn(&Value) -> bool| {
        dom.iter()
            .filter(|record| is(&record["support"][browser]))
            .count()
    };
    let with = |column: &str| {
        tables[""]
            .iter()
            .filter(|row| row.get(column).is_some())
            .count()
    };
    let mut lists = 0;
    for browser in ["chrome", "firefox", "safari", "edge", "opera"] {
        let column = |kinds: [&str; 2]| {
            kinds
                .map(|kind| with(&format!("support__{browser}{kind}")))
                .into_iter()
                .sum::<usize>()
        };
        assert_eq!(
            column(["", "__v_string"]),
            of_kind(browser, Value::is_string),
            "{browser}"
        );
        let versions = column(["__version_added", "__v_object__version_added"])
            + column([
                "__version_added__v_boolean",
                "__v_object__version_added__v_boolean",
            ]);
        assert_eq!(versions, of_kind(browser, Value::is_object), "{browser}");
        let elements: usize = dom
            .iter()
            .filter_map(|record| record["support"][browser].as_array())
            .map(Vec::len)
            .sum();
        let rows = [
            format!("support__{browser}"),
            format!("support__{browser}__v_list"),
        ];
        assert_eq!(
            rows.iter()
                .filter_map(|name| tables.get(name))
                .map(Vec::len)
                .sum::<usize>(),
            elements,
            "{browser}"
        );
        lists += elements;
    }
    assert!(lists > 0);
}
