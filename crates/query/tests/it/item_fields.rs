//! Fields of structs within lists and maps: `items[1].sku`.

use crate::fixture::{Fixture, check};

const ITEMS: &str =
    "(select [named_struct('sku', 'a', 'n', named_struct('Deep', 1, 'l', [7, 8]))] as items) t";

#[tokio::test]
async fn a_field_behind_a_subscript_is_read() {
    for (expression, expected) in [
        ("items[1].sku", "a"),
        ("items[1].SKU", "a"),
        ("items[1].\"sku\"", "a"),
        ("t.items[1].sku", "a"),
        ("(items[1]).sku", "a"),
        ("items[1]['sku']", "a"),
        ("items[1].n.l[2]", "8"),
        ("items[1].n.\"Deep\" + 1", "2"),
        ("items[-1].n.l", "[7, 8]"),
        ("items[2].sku", ""),
        ("items[1].n.l[2:]", "[8]"),
        ("items[1].n.l[:1]", "[7]"),
        ("items[1].n.l[:]", "[7, 8]"),
        ("array_agg(items[1].sku)[1]", "a"),
        ("(named_struct('q', 5)).q", "5"),
        ("(map(['k'], [items[1]]))['k'].sku", "a"),
    ] {
        let sql = format!("select {expression} from {ITEMS}");
        check(&[(&sql, &[expected])]).await;
    }
}

#[tokio::test]
async fn a_field_behind_a_subscript_stands_in_every_clause() {
    let rows = "(select [named_struct('n', value)] as items from range(6) r) t";
    let sql = format!(
        "select items[1].n % 2, sum(items[1].n) from {rows} where items[1].n > 1 group by items[1].n % 2 having max(items[1].n) > 3 order by max(items[1].n) desc"
    );
    check(&[(&sql, &["1 | 8", "0 | 6"])]).await;
}

#[tokio::test]
async fn a_field_that_is_not_there_is_named() {
    let fixture = Fixture::new().await;
    for (sql, expected) in [
        (
            format!("select items[1].skuu from {ITEMS}"),
            "the struct has no field skuu",
        ),
        (
            "select items[1].sku from (values ([1])) t(items)".to_owned(),
            "a field is read from a struct or map, not from bigint",
        ),
    ] {
        let error = fixture.failure(&sql).await;
        assert!(error.message().contains(expected), "{sql}: {error}");
    }
}
