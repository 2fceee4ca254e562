use std::time::Duration;

use super::*;

fn faults(text: &str) -> Vec<String> {
    let (_, found) = read("a.yaml", text);
    found
        .0
        .iter()
        .map(|d| format!("{}:{} {}", d.place.line, d.place.column, d.code))
        .collect()
}

fn document(text: &str) -> Document {
    Document::from_yaml(text).expect("the text is YAML")
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    let cases = [
        ("null", "nothing"),
        ("", "nothing"),
        ("~", "nothing"),
        ("true", "a boolean"),
        ("yes", "a string"),
        ("on", "a string"),
        ("-17", "an integer"),
        ("0x1F", "an integer"),
        ("0o17", "an integer"),
        ("1_000", "a string"),
        ("1.5e3", "a number"),
        (".inf", "a number"),
        ("1.2.3", "a string"),
        ("2026-01-01", "a string"),
        ("12:30", "a string"),
        ("'5'", "a string"),
        ("[]", "a list"),
    ];
    for (text, kind) in cases {
        let value = document(&format!("key: {text}\n"))
            .get("key")
            .expect("the key is there");
        assert_eq!(value.node.value.kind(), kind, "{text}");
    }
}

#[test]
fn a_value_knows_its_place() {
    let text = "source:\n  http:\n    url: x # é\n    list: [1, {two: é, three: 3}]\n";
    let list = document(text)
        .get("source")
        .and_then(|s| s.get("http"))
        .and_then(|h| h.get("list"));
    let three = list
        .and_then(|list| list.elements().into_iter().nth(1))
        .and_then(|e| e.get("three"));
    let three = three.expect("the value is there");
    assert_eq!((three.place().line, three.place().column), (4, 31));
    assert_eq!(three.path(), "source.http.list[1].three");
}

#[test]
fn an_alias_is_the_value_it_stands_for() {
    let found = document("a: &x {b: 1}\nc: *x\n")
        .get("c")
        .and_then(|c| c.get("b"))
        .map(|b| b.parse::<u8>());
    assert_eq!(found.and_then(Result::ok), Some(1));
    assert_eq!(faults("a: &x [*x]\n"), ["1:8 bad_alias"]);
    assert_eq!(faults("a: *y\n"), ["1:4 bad_yaml"]);
}

/// Nine levels of nine aliases expand to 387 million values.
fn bomb() -> String {
    let list = |name: char| format!("[{}]", vec![format!("*{name}"); 9].join(","));
    let lines = ('b'..='i')
        .zip('a'..)
        .map(|(name, inner)| format!("{name}: &{name} {}\n", list(inner)));
    format!("a: &a [x,x,x,x,x,x,x,x,x]\n{}", lines.collect::<String>())
}

#[test]
fn an_anchor_bomb_is_refused_at_once() {
    let clock = forebay_core::SystemClock::shared();
    let start = clock.monotonic();
    assert_eq!(faults(&bomb()), ["6:26 too_many_values"]);
    assert!(clock.monotonic() - start < Duration::from_secs(2));
}

#[test]
fn nesting_is_bounded_by_brackets_and_by_aliases() {
    let deep = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(faults(&deep).len(), 1);
    let mut text = "a0: &a0 [1]\n".to_owned();
    for i in 1..100 {
        text.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    assert_eq!(faults(&text), ["63:12 too_deep"]);
}

#[test]
fn keys_that_come_twice_are_all_reported_and_the_first_counts() {
    let text = "a: 1\nb: {c: 1, c: 2}\na: 2\n";
    assert_eq!(faults(text), ["2:11 duplicate_key", "3:1 duplicate_key"]);
    let (document, _) = read("a.yaml", text);
    let a = document
        .and_then(|document| document.get("a"))
        .and_then(|a| a.parse::<u8>().ok());
    assert_eq!(a, Some(1));
}

#[test]
fn what_is_no_plain_yaml_is_refused_where_it_stands() {
    for (text, expected) in [
        ("", "1:1 empty_file"),
        ("# only a comment\n", "1:1 empty_file"),
        ("a: 1\n---\nb: 2\n", "2:1 second_document"),
        ("a: !!str 5\n", "1:10 yaml_tag"),
        ("? [a]\n: 1\n", "1:3 bad_key"),
        ("a: 'open\n", "2:1 bad_yaml"),
    ] {
        assert_eq!(faults(text), [expected], "{text:?}");
    }
}

#[test]
fn a_tab_gets_its_own_help() {
    let (_, found) = read("a.yaml", "a:\n\tb: 1\n");
    assert_eq!(found.0.len(), 1);
    assert_eq!(
        found.0[0].help.as_deref(),
        Some("YAML is indented with spaces: replace the tab"),
        "{found}"
    );
    assert_eq!(found.0[0].place.line, 2, "{found}");
}

#[test]
fn a_long_header_of_comments_is_no_fault() {
    let text = format!("{}a: 1\n", "# text\n".repeat(500));
    assert_eq!(faults(&text), Vec::<String>::new());
}

#[test]
fn a_file_over_the_limit_is_not_parsed() {
    let text = format!("a: {}", "x".repeat(TEXT_BYTES_MAX));
    assert_eq!(faults(&text), ["1:1 file_too_large"]);
}
