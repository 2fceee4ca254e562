//! The outline of a body.

use serde_json::{Value, json};

use super::super::text::excerpt;
use super::*;

fn plan(extra: Value) -> Plan {
    let mut config = json!({"url": "http://a.example/"});
    config
        .as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    Plan::new(
        &serde_json::from_value(config).unwrap(),
        Framing::Whole,
        false,
    )
}

fn outline(plan: &Plan, text: &str) -> Result<Outline> {
    plan.outline(&HeaderMap::new(), &Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn a_page_says_how_many_records_it_has_and_what_comes_next() {
    let plan = plan(json!({
        "records": "d.items", "paginate": {"cursor": {"path": "meta.next", "param": "c", "more": "meta.more"}},
        "cursor": {"field": "at", "param": "since", "format": "epoch_seconds", "key": "id"}
    }));
    let text = r#"{"d": {"items": [{"id": 7, "at": 2}, {"at": null}]}, "meta": {"next": 55, "more": true}}"#;
    let page = outline(&plan, text).unwrap();
    assert_eq!(
        (&page.token, page.more, page.shape, page.count),
        (
            &NextValue::Value("55".to_owned()),
            Some(Truth::True),
            Shape::List,
            2
        )
    );
    assert_eq!(page.records[0].mark, Some(Mark::Number(2_000_000)));
    let version = br#"{"id": 7, "at": 2}"#;
    assert_eq!(
        page.records[0].identity,
        cursor::identity(version, Some(b"7"))
    );
    assert_eq!(page.records[1].mark, None);
    for (text, shape) in [
        (r#"{"d": 1}"#, Shape::Missing),
        ("{}", Shape::Missing),
        (r#"{"d": {"items": null}}"#, Shape::Null),
        (r#"{"d": {"items": {"id": 1}}}"#, Shape::Object),
        (r#"{"d": {"items": "x"}}"#, Shape::Scalar),
    ] {
        assert_eq!(outline(&plan, text).unwrap().shape, shape, "{text}");
    }
}

#[test]
fn a_page_without_records_may_say_that_it_is_an_error() {
    let plan = plan(json!({
        "records": "items", "paginate": {"page": {"param": "p"}},
        "errors": [{"field": "code", "is": 17}, {"field": "fault"}]
    }));
    for (text, expected) in [
        (r#"{"items": []}"#, false),
        (
            r#"{"items": [], "error": null, "errors": [], "ok": true}"#,
            false,
        ),
        (r#"{"items": [], "error": "rate limited"}"#, true),
        (r#"{"items": null, "errors": [{"m": 1}]}"#, true),
        (r#"{"items": [], "ok": false}"#, true),
        (r#"{"items": [], "success": false}"#, true),
        (r#"{"items": [], "status": "Error"}"#, true),
        (r#"{"items": [], "result": "failed"}"#, true),
        (r#"{"items": [], "status": "ok"}"#, false),
        (r#"{"items": [], "status": 0}"#, false),
        (r#"{"items": [1], "status": "error"}"#, false),
        (r#"{"items": [1], "error": "of one record"}"#, false),
        (r#"{"items": [1], "code": 17}"#, true),
        (r#"{"items": [1], "fault": {"a": 1}}"#, true),
        (r#"{"items": [1], "code": 18}"#, false),
    ] {
        assert_eq!(outline(&plan, text).unwrap().is_error, expected, "{text}");
    }
}

#[test]
fn a_next_page_under_another_name_is_found() {
    let plan = plan(json!({
        "records": "items", "paginate": {"cursor": {"path": "next", "param": "c"}}
    }));
    for (text, expected) in [
        (
            r#"{"items": [{"next": "x"}], "meta": {"nextCursor": "a"}}"#,
            Some("meta.nextCursor"),
        ),
        (
            r#"{"items": [], "links": {"next_page": {"href": "/q"}}}"#,
            Some("links.next_page.href"),
        ),
        (
            r#"{"items": [{"next": "x"}], "meta": {"next_cursor": null, "prev_cursor": "x"}}"#,
            None,
        ),
        (r#"{"items": [{"next": "x"}]}"#, None),
    ] {
        let page = outline(&plan, text).unwrap();
        let path = page.similar.map(|sign| sign.path);
        assert_eq!(path.as_deref(), expected, "{text}");
    }
}

#[test]
fn a_wrong_cursor_field_is_told_with_the_right_one() {
    let plan = plan(json!({"cursor": {"field": "at", "param": "since"}}));
    let fault = |text| outline(&plan, text).unwrap().cursor_fault;
    let error = fault(r#"[{"at": 1767225600000}]"#).unwrap();
    assert_eq!(error.code(), "cursor_unreadable");
    assert_eq!(
        error.hint(),
        Some(
            "write `field_format:` and one of epoch_millis, epoch_seconds, or `format: raw` if it is not a time"
        )
    );
    assert_eq!(fault(r#"[{"et": 1}]"#).unwrap().code(), "cursor_missing");
    for fine in [
        "[]",
        r#"[{"at": null}]"#,
        r#"[{"at": 1}, {"at": "2026-01-01"}]"#,
    ] {
        assert!(fault(fine).is_none(), "{fine}");
    }
}

#[test]
fn lines_are_records_where_the_server_or_the_extractor_says_so() {
    let mut plan = plan(json!({"paginate": {"page": {"param": "p"}}}));
    let text = "{\"a\":1}\n\n{\"a\":2}\r\n{\"a\":3}";
    assert_eq!(outline(&plan, text).unwrap_err().code(), "not_json");
    plan.framing = Framing::Lines;
    assert_eq!(outline(&plan, text).unwrap().count, 3);
    assert_eq!(outline(&plan, "").unwrap_err().code(), "not_json");
}

#[test]
fn a_page_of_small_elements_is_counted_and_bounded() {
    let text = format!("[{}0]", "0,".repeat(99_999));
    let counted = plan(json!({"paginate": {"page": {"param": "p"}}}));
    let page = outline(&counted, &text).unwrap();
    assert_eq!((page.count, page.records.capacity()), (100_000, 0));
    let limited =
        plan(json!({"paginate": {"page": {"param": "p"}}, "limits": {"records": 99_999}}));
    assert_eq!(
        outline(&limited, &text).unwrap_err().code(),
        "records_limit"
    );
}

#[test]
fn what_is_shown_of_a_wrong_body_cannot_act_on_a_terminal() {
    let error = outline(
        &plan(json!({"paginate": {"page": {"param": "p"}}})),
        "<html>\u{1b}[2J",
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the body is not JSON: it breaks off at byte 0; it begins with "<html>\u{1b}[2J""#
    );
}

#[test]
fn a_secret_is_covered_before_the_text_is_cut() {
    let plan = plan(json!({"auth": {"bearer": {"token": "SUPERSECRETTOKEN"}}}));
    for filler in 60..90 {
        let text = format!("{}SUPERSECRETTOKEN tail", "x".repeat(filler));
        let shown = excerpt(text.as_bytes(), &plan.cover);
        assert!(!shown.contains("SUPER"), "{shown}");
    }
}
