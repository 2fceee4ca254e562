//! Numbers and declared types: exact or refused.

use super::*;

#[test]
fn numbers_learned_together_are_double_when_that_is_exact() {
    let out = flat("{\"a\":1,\"b\":9007199254740993}\n{\"a\":1.5,\"b\":0.5}\n");
    assert_eq!(
        rows(&out, ""),
        [
            json!({"a": 1.0, "b": 9_007_199_254_740_993_i64}),
            json!({"a": 1.5, "b__v_double": 0.5})
        ]
    );
}

#[test]
fn numbers_are_exact_or_refused() {
    let long = format!("1.{}1", "3".repeat(1000));
    let table = [
        ("9007199254740993", Ok(json!(9_007_199_254_740_993_i64))),
        ("9223372036854775807", Ok(json!(i64::MAX))),
        ("-9223372036854775808", Ok(json!(i64::MIN))),
        (
            "9223372036854775808",
            Ok(json!(9_223_372_036_854_775_808.0)),
        ),
        ("9223372036854775809", Err("number_out_of_range")),
        ("-9223372036854775809", Err("number_out_of_range")),
        (
            "18446744073709551616",
            Ok(json!(18_446_744_073_709_551_616.0)),
        ),
        ("18446744073709551617", Err("number_out_of_range")),
        ("-0", Ok(json!(0))),
        ("0.1", Ok(json!(0.1))),
        ("-0.0", Ok(json!(-0.0))),
        ("0.30000000000000004", Ok(json!(0.300_000_000_000_000_04))),
        (
            "0.1000000000000000055511151231257827",
            Err("number_not_exact"),
        ),
        ("1e400", Err("number_out_of_range")),
        ("-1e400", Err("number_out_of_range")),
        ("1e-400", Err("number_not_exact")),
        ("5e-324", Ok(json!(5e-324))),
        // Equally near to …323.25: Python and JavaScript write the one, others the other.
        ("2133862005680323.2", Ok(json!(2_133_862_005_680_323.3))),
        ("2133862005680323.3", Ok(json!(2_133_862_005_680_323.3))),
        ("2133862005680323.1", Err("number_not_exact")),
        ("9007199254740993.0", Err("number_not_exact")),
        (long.as_str(), Err("number_not_exact")),
    ];
    for (literal, expected) in table {
        for text in [
            format!("{{\"a\":{literal}}}\n"),
            format!("{{\"b\":[1,2,{{\"a\" :\t{literal} }}]}}\n"),
        ] {
            let out = flat(&text);
            match &expected {
                Ok(value) if text.starts_with("{\"a") => {
                    assert_eq!(rows(&out, "")[0]["a"], *value, "{text}");
                }
                Ok(_) => assert_eq!((out.rows(), codes(&out).len()), (1, 0), "{text}"),
                Err(code) => assert_eq!(
                    (codes(&out).as_slice(), out.rows()),
                    (&[*code][..], 0),
                    "{text}"
                ),
            }
        }
    }
}

#[test]
fn whole_numbers_beyond_long_are_taken_whichever_record_comes_first() {
    for beyond in ["9223372036854775808", "100000000000000000000"] {
        for order in [
            [beyond, "1.5", "2"],
            ["2", beyond, "1.5"],
            ["1.5", "2", beyond],
        ] {
            let text: String = order.map(|value| format!("{{\"a\":{value}}}\n")).concat();
            let out = flat(&text);
            let expected = order.map(|value| json!({"a": value.parse::<f64>().unwrap()}));
            assert_eq!((rows(&out, ""), codes(&out).len()), (expected.to_vec(), 0));
        }
    }
}

#[test]
fn a_refused_number_leaves_no_trace() {
    let out = flat(
        "{\"a\":\"x\",\"l\":[1],\"b\":1}\n{\"a\":\"y\",\"l\":[1,2],\"b\":1e400}\n{\"a\":\"z\",\"l\":[3]}\n",
    );
    assert_eq!(
        rows(&out, ""),
        [
            json!({"a": "x", "l": [1], "b": 1}),
            json!({"a": "z", "l": [3]})
        ]
    );
    assert_eq!(
        (out.rejected[0].offset, out.rejected[0].line),
        (Some(24), Some(2))
    );
    assert_eq!(
        out.rejected[0].record,
        b"{\"a\":\"y\",\"l\":[1,2],\"b\":1e400}"
    );
}

#[test]
fn declared_types_are_kept_exactly() {
    let check = |kind: &str, literal: &str, expected: Option<Value>| {
        let out = ruled(
            &rule("a__b", Some(kind), false),
            &format!("{{\"a\":{{\"b\":{literal}}}}}\n"),
        );
        match expected {
            Some(value) => assert_eq!(
                rows(&out, ""),
                [json!({"a__b": value})],
                "{kind} {literal} {:?}",
                out.rejected
            ),
            None => assert_eq!(codes(&out), ["bad_value"], "{kind} {literal}"),
        }
    };
    check("string", "1.10", Some(json!("1.10")));
    check(
        "string",
        "123456789012345678901234567890",
        Some(json!("123456789012345678901234567890")),
    );
    check("string", "true", Some(json!("true")));
    check("string", "{\"x\":1}", None);
    check(
        "json",
        r#"{"x" : [1.0, "\u0041"]}"#,
        Some(json!(r#"{"x" : [1.0, "\u0041"]}"#)),
    );
    check("json", "1e400", Some(json!("1e400")));
    check("json", r#""a\"b""#, Some(json!(r#""a\"b""#)));
    check("decimal(4, 1)", "0.25", None);
    check("long", "3.0", Some(json!(3)));
    check("long", "3.5", None);
    check("long", "\"3\"", None);
    check("int", "2147483648", None);
    check("int", "-1", Some(json!(-1)));
    check("double", "1", Some(json!(1.0)));
    check("double", "9007199254740993", None);
    check("double", "1e400", None);
    check("float", "0.1", Some(json!(0.1)));
    check("float", "0.123456789", None);
    check("boolean", "1", None);
    check(
        "timestamptz",
        "\"2026-01-31T01:00:00+01:00\"",
        Some(json!("2026-01-31T00:00:00Z")),
    );
    check("timestamptz", "\"2026-01-31\"", None);
    check(
        "timestamp",
        "\"2026-01-31T00:00:00.5\"",
        Some(json!("2026-01-31T00:00:00.500")),
    );
    check("date", "\"2026-01-31\"", Some(json!("2026-01-31")));
    check("date", "20260131", None);
    check("binary", "\"ab\"", Some(json!("6162")));
}

#[test]
fn decimals_are_kept_to_the_last_digit() {
    let nines = "9".repeat(38);
    for (kind, literal, expected) in [
        (
            "decimal(20, 4)",
            "12345678901234.5678",
            123_456_789_012_345_678,
        ),
        ("decimal(20, 4)", "\"-0.10\"", -1_000),
        ("decimal(38, 0)", nines.as_str(), 10_i128.pow(38) - 1),
    ] {
        let out = ruled(
            &rule("d", Some(kind), false),
            &format!("{{\"d\":{literal}}}\n"),
        );
        let column = out.batches[0]
            .records
            .column(0)
            .as_primitive::<Decimal128Type>();
        assert_eq!(column.value(0), expected);
    }
}

#[test]
fn a_number_in_a_list_is_refused_by_the_name_of_its_column() {
    let out = flat("{\"n\":{\"v\":[0.5]}}\n{\"n\":{\"v\":[0.1234567890123456789]}}\n");
    assert_eq!(codes(&out), ["number_not_exact"]);
    let reason = &out.rejected[0].reason;
    assert!(reason.contains("in `n__v` cannot"), "{reason}");
    assert!(reason.contains("its elements, `n__v__value`,"), "{reason}");
    // The name that it gives can be declared.
    let out = ruled(
        &rule("n__v__value", Some("string"), false),
        "{\"n\":{\"v\":[0.1234567890123456789]}}\n",
    );
    assert_eq!((out.rows(), codes(&out).len()), (1, 0));
}

#[test]
fn a_long_decimal_does_not_condemn_the_doubles_beside_it() {
    let out = ruled(
        &rule("d", Some("decimal(38, 25)"), false),
        "{\"d\":0.1234567890123456789012345,\"x\":0.5}\n{\"d\":1,\"x\":0.10000000000000001}\n",
    );
    assert_eq!((out.rows(), codes(&out)), (1, vec!["number_not_exact"]));
    assert!(
        out.rejected[0].reason.contains("`x`"),
        "{}",
        out.rejected[0].reason
    );
}
