use std::collections::BTreeMap;

use forebay_core::Secret;
use forebay_core::unit::{Size, Span as Duration};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;

use super::*;
use crate::{Variables, resolve};

// The fixture's types make a schema; no value of them is ever read.

/// How the fixture is configured.
#[expect(dead_code, reason = "only its schema counts")]
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where to read.
    url: String,
    rate: Option<Rate>,
    paginate: Option<Paginate>,
    #[serde(default)]
    mode: Mode,
    size: Option<Size>,
    #[schemars(range(min = 1, max = 5))]
    level: Option<u8>,
    token: Option<Secret>,
    names: Option<BTreeMap<String, Rate>>,
    #[schemars(length(min = 1))]
    tags: Option<Vec<String>>,
    pair: Option<(i32, String)>,
}

#[expect(dead_code, reason = "only its schema counts")]
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rate {
    requests: u32,
    per: Duration,
}

#[expect(dead_code, reason = "only its schema counts")]
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Paginate {
    /// No pages.
    Off,
    /// By offset.
    Offset(Offset),
    /// By a link.
    Link {
        /// The header.
        header: String,
    },
}

#[expect(dead_code, reason = "only its schema counts")]
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Offset {
    limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Append,
    Upsert,
}

struct Set;

impl Variables for Set {
    fn env(&self, _: &str) -> Option<String> {
        Some("from-outside".to_owned())
    }

    fn secret(&self, _: &str) -> Option<String> {
        Some("hunter2".to_owned())
    }

    fn param(&self, _: &str) -> Option<String> {
        Some("3".to_owned())
    }
}

fn check(text: &str) -> Diagnostics {
    let resolved = resolve(
        &Document::from_yaml(text).expect("the text is YAML"),
        &Set,
        &[],
    );
    assert!(resolved.diagnostics.is_empty(), "{}", resolved.diagnostics);
    validate(&resolved.document, &schema_for!(Config))
}

/// `line:column code: message | help` of each error.
fn shown(text: &str) -> Vec<String> {
    let line = |d: &Diagnostic| {
        let help = d
            .help
            .as_ref()
            .map(|help| format!(" | {help}"))
            .unwrap_or_default();
        format!(
            "{}:{} {}: {}{help}",
            d.place.line, d.place.column, d.code, d.message
        )
    };
    check(text).0.iter().map(line).collect()
}

#[test]
fn what_is_valid_has_no_errors() {
    let text = "url: x\nrate: {requests: 1_000, per: 1s}\npaginate: {offset: {limit: 5}}\nmode: upsert\nsize: 64MiB\n\
                level: ${param:level}\ntoken: ${secret:t}\nnames: {a: {requests: 1, per: 5m}}\ntags: [a]\npair: [1, b]\n";
    assert_eq!(shown(text), Vec::<String>::new());
    assert_eq!(
        shown("url: ${env:URL}\npaginate: off\nrate: null\ntoken: ${env:T}\n"),
        Vec::<String>::new()
    );
    assert_eq!(
        shown("url: x\npaginate:\n  offset:\n"),
        Vec::<String>::new(),
        "a key without a value is an empty mapping"
    );
}

#[test]
fn an_error_reads_like_one_of_rustc() {
    insta::assert_snapshot!(check("url: x\nrate:\n  requests: 5\n  pre: 10 parsecs\nmode: apend\n"), @"
    error[unknown_key]: unknown key `pre` in `rate`
     --> text:4:3
      |
    4 |   pre: 10 parsecs
      |   ^^^
      = help: did you mean `per`?

    error[bad_unit]: `rate.pre` must be a length of time with its unit, not `10 parsecs`
     --> text:4:8
      |
    4 |   pre: 10 parsecs
      |        ^^^^^^^^^^
      = help: write a number and one of `us`, `ms`, `s`, `m`, `h`, `d`, `w` or `y`

    error[bad_choice]: `mode` cannot be `apend`
     --> text:5:7
      |
    5 | mode: apend
      |       ^^^^^
      = help: did you mean `append`?

    3 errors in text
    ");
}

#[test]
fn keys() {
    assert_eq!(
        shown("rul: x\n"),
        ["1:1 unknown_key: unknown key `rul` in the file | did you mean `url`?"]
    );
    assert_eq!(
        shown("level: 1\n"),
        ["1:1 missing_key: missing key `url` in the file | `url`: Where to read."]
    );
    assert_eq!(
        shown("url: x\nrate:\n  requests: 1\n"),
        [
            "2:1 missing_key: missing key `per` in `rate` | `per`: A length of time with its unit, such as `10s`, `15m`, `3y`."
        ]
    );
    assert_eq!(
        shown("url: x\nrate: {requests: 1, per: 1s, zzzzzz: 1}\n"),
        ["2:30 unknown_key: unknown key `zzzzzz` in `rate` | `rate` takes `requests` or `per`"]
    );
    assert_eq!(
        shown("url: x\nnames: {a: {requests: x, per: 1s}}\n"),
        ["2:23 wrong_type: `names.a.requests` must be an integer, not a string"]
    );
}

#[test]
fn types_and_bounds() {
    assert_eq!(
        shown("url: 5\n"),
        ["1:6 wrong_type: `url` must be a string, not an integer | write it in quotes: \"5\""]
    );
    assert_eq!(
        shown("url: x\nlevel: '3'\n"),
        ["2:8 wrong_type: `level` must be an integer, not a string | write it without quotes: 3"]
    );
    assert_eq!(
        shown("url: x\nlevel: 9\n"),
        ["2:8 out_of_range: `level` must be at most 5, not 9"]
    );
    assert_eq!(
        shown("url: x\nlevel: 1.5\n"),
        ["2:8 wrong_type: `level` must be an integer, not a number"]
    );
    assert_eq!(
        shown("url: x\nrate: {requests: 5000000000, per: 1s}\n"),
        ["2:18 out_of_range: `rate.requests` must be at most 4294967295, not 5000000000"]
    );
    assert_eq!(
        shown("url: x\nrate: {requests: -1, per: 1s}\n"),
        ["2:18 out_of_range: `rate.requests` must be at least 0, not -1"]
    );
    assert_eq!(
        shown("url: x\ntags: []\n"),
        ["2:1 too_few: `tags` has 0 elements and needs at least 1"]
    );
    assert_eq!(
        shown("url: x\ntags: a\n"),
        ["2:7 wrong_type: `tags` must be a list, not a string | write a list: `[…]`"]
    );
    assert_eq!(shown("url: x\npair: [a, b, c]\n").len(), 2);
    assert_eq!(
        shown("url: x\nrate: [1]\n"),
        ["2:7 wrong_type: `rate` must be a mapping, not a list"]
    );
    assert_eq!(
        shown("- a\n"),
        ["1:1 wrong_type: the file must be a mapping, not a list"]
    );
}

#[test]
fn a_forgotten_value_is_an_error() {
    assert_eq!(
        shown("url:\n"),
        ["1:1 missing_value: `url` has no value: it must be a string"]
    );
    assert_eq!(
        shown("url: x\nlevel:\n"),
        ["2:1 missing_value: `level` has no value: it must be an integer"]
    );
    assert_eq!(
        shown("url: x\nmode:\n"),
        ["2:1 missing_value: `mode` has no value: it must be a string"]
    );
    assert_eq!(
        shown("url: x\npaginate:\n"),
        ["2:1 missing_value: `paginate` is empty | choose `off`, `offset` or `link`"]
    );
}

#[test]
fn units() {
    assert_eq!(
        shown("url: x\nsize: 64mb\n"),
        ["2:7 bad_unit: `size` must be a size with its unit, not `64mb` | did you mean `64MB`?"]
    );
    assert_eq!(
        shown("url: x\nrate: {requests: 1, per: 10}\n"),
        [
            "2:26 bad_unit: `rate.per` must be a length of time with its unit, not `10` | write a number and one of `us`, `ms`, `s`, `m`, `h`, `d`, `w` or `y`"
        ]
    );
}

#[test]
fn choices() {
    assert_eq!(
        shown("url: x\npaginate: {ofset: {limit: x}}\n"),
        [
            "2:12 unknown_choice: unknown choice `ofset` for `paginate` | did you mean `offset`?",
            "2:27 wrong_type: `paginate.ofset.limit` must be an integer, not a string",
        ]
    );
    assert_eq!(
        shown("url: x\npaginate:\n  offset: {}\n  link: {header: Link}\n"),
        [
            "4:3 two_choices: `paginate` takes one choice and has two, `offset` and `link` | remove one, or mind the indentation"
        ]
    );
    assert_eq!(
        shown("url: x\npaginate: of\n"),
        ["2:11 bad_choice: `paginate` cannot be `of` | did you mean `off`?"]
    );
    assert_eq!(
        shown("url: x\npaginate: offset\n"),
        [
            "2:11 wrong_type: `paginate` must be a mapping: `offset` takes a configuration | write `offset: …` in place of `offset`"
        ]
    );
    assert_eq!(
        shown("url: x\npaginate: 5\n"),
        ["2:11 wrong_type: `paginate` cannot be an integer | choose `off`, `offset` or `link`"]
    );
}

#[test]
fn a_secret_is_a_reference_and_goes_nowhere_else() {
    let help = "write `${secret:NAME}` or `${env:NAME}` and keep the text out of the file";
    let inline =
        format!("2:8 secret_inline: `token` is a secret and must not be written inline | {help}");
    assert_eq!(
        shown("url: x\ntoken: hunter2\n"),
        std::slice::from_ref(&inline)
    );
    assert_eq!(
        shown("url: x\ntoken: ${env:A}${env:B}\n"),
        std::slice::from_ref(&inline)
    );
    assert_eq!(shown("url: x\ntoken: ${param:a}\n"), [inline]);
    assert_eq!(
        shown("url: ${secret:t}\n"),
        ["1:6 secret_misplaced: `url` takes no secret: it may be shown"]
    );
    let shown = check("url: x\nmode: ${secret:t}\nlevel: ${env:X}\n").to_string();
    assert!(
        !shown.contains("hunter2") && !shown.contains("from-outside"),
        "{shown}"
    );
}

#[test]
fn a_secret_that_stands_in_the_file_is_in_no_snippet() {
    for text in [
        "url: x\ntoken: hunter2\n",
        "{url: x, token: hunter2, tokens: 1}\n",
        "{url: x, token: \"hunter2\", level: nothing}\n",
    ] {
        let shown = check(text).to_string();
        assert!(shown.contains("secret_inline"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_document_that_was_not_resolved_is_checked_as_written() {
    let document = Document::from_yaml("url: x\ntoken: ${secret:t}\n").expect("the text is YAML");
    assert!(validate(&document, &schema_for!(Config)).is_empty());
}

#[test]
fn errors_are_counted_up_to_a_limit() {
    let text = format!(
        "url: x\n{}",
        (0..500)
            .map(|i| format!("zzzzz{i}: 1\n"))
            .collect::<String>()
    );
    assert_eq!(check(&text).0.len(), DIAGNOSTICS_MAX);
}
