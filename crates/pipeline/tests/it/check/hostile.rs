//! Files that are no pipeline files, from the merely broken to the malicious.

use std::time::Duration;

use forebay_config::{Document, TEXT_BYTES_MAX};
use forebay_core::SystemClock;
use forebay_pipeline::spec::{load, parse};

use super::{Set, engine, errors};

fn codes(text: &str) -> Vec<String> {
    errors(text)
        .0
        .iter()
        .map(|d| format!("{}:{} {}", d.place.line, d.place.column, d.code))
        .collect()
}

#[test]
fn what_is_no_mapping_is_refused_where_it_stands() {
    for (text, expected) in [
        ("", "1:1 empty_file"),
        ("---\n", "1:1 empty_file"),
        ("just a text\n", "1:1 wrong_type"),
        ("- a\n- b\n", "1:1 wrong_type"),
        ("pipeline: a\n\tsource: b\n", "2:1 bad_yaml"),
    ] {
        assert_eq!(codes(text), [expected], "{text:?}");
    }
}

#[test]
fn a_key_that_comes_twice_is_refused() {
    let text = "pipeline: a\nsource: {http: {url: 'https://example.org', url: 'https://example.com'}}\nextract: {json: {}}\nload: {stdout: {}}\nload: {stdout: {}}\n";
    assert_eq!(codes(text), ["2:45 duplicate_key", "5:1 duplicate_key"]);
}

#[test]
fn an_anchor_bomb_is_refused_in_bounded_time() {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, inner) in ('b'..='z').zip('a'..) {
        text.push_str(&format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{inner}"); 9].join(",")
        ));
    }
    let clock = SystemClock::shared();
    let start = clock.monotonic();
    assert_eq!(codes(&text).len(), 1);
    assert!(clock.monotonic() - start < Duration::from_secs(5));
}

#[test]
fn a_file_that_cannot_be_text_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let load = |bytes: &[u8]| {
        let path = folder.path().join("a.yaml");
        #[expect(clippy::disallowed_methods, reason = "a test file need not be durable")]
        std::fs::write(&path, bytes).expect("it is written");
        let found = load(&path, &Set, &engine::shared()).expect_err("the file is wrong");
        found.0.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(load(b"pipeline: \xff\n"), ["not_utf8"]);
    assert_eq!(load(&vec![b'#'; TEXT_BYTES_MAX + 1]), ["file_too_large"]);
    assert_eq!(load(b"\x00\x01\x02").len(), 1);
}

#[test]
fn ten_megabytes_are_read_in_bounded_time_and_reported_briefly() {
    let line = "key_that_is_unknown: {a: 1, b: [2, 3]}\n";
    let text: String = (0..200_000).map(|i| format!("k{i}{line}")).collect();
    let text = &text[..text.len().min(TEXT_BYTES_MAX)];
    let clock = SystemClock::shared();
    let start = clock.monotonic();
    let found = errors(text);
    assert!(found.to_string().len() < 100_000);
    assert!(clock.monotonic() - start < Duration::from_secs(60));
}

/// The suite's files, and the documents in them, go through the whole check without a panic.
#[test]
fn the_yaml_test_suite_never_panics() {
    let Some(data) = forebay_testkit::shared_data() else {
        println!("no shared data: the YAML test suite is not read");
        return;
    };
    let (mut files, mut documents) = (0, 0);
    let folder = data.join("bad-inputs/yaml-test-suite");
    for entry in std::fs::read_dir(&folder).expect("the suite is there") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("it is text");
        let _ = parse("suite.yaml", &text, &Set, &engine::shared());
        for case in Document::from_yaml(&text)
            .expect("a file of the suite is YAML itself")
            .elements()
        {
            let Some(yaml) = case.get("yaml").and_then(|yaml| yaml.as_str().map(written)) else {
                continue;
            };
            let found = parse("case.yaml", &yaml, &Set, &engine::shared())
                .expect_err("no case is a pipeline");
            assert!(!found.is_empty() && found.to_string().len() < 100_000);
            documents += 1;
        }
        files += 1;
    }
    assert!(
        files > 100 && documents > 100,
        "{files} files, {documents} documents"
    );
}

/// The suite writes characters that cannot be seen as ones that can.
fn written(yaml: &str) -> String {
    let tabs = yaml
        .replace("———»", "\t")
        .replace("——»", "\t")
        .replace("—»", "\t")
        .replace('»', "\t");
    tabs.replace('␣', " ")
        .replace('↵', "")
        .replace("∎\n", "")
        .replace('←', "\r")
        .replace('⇔', "\u{feff}")
}
