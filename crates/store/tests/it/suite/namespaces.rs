use std::collections::BTreeMap;

use forebay_core::Ident;
use forebay_store::{NamespaceRecord, PropertyChange};

use super::*;

fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn named(name: &str, pairs: &[(&str, &str)]) -> NamespaceRecord {
    NamespaceRecord {
        name: name.parse().unwrap(),
        properties: properties(pairs),
    }
}

#[tokio::test]
async fn namespaces_have_properties_until_they_are_dropped() {
    let Some(world) = world().await else {
        return;
    };
    let store = &world.store;
    let (lab, shop): (Ident, Ident) = ("lab".parse().unwrap(), "shop".parse().unwrap());
    let created = named("lab", &[("owner", "\u{e4} \" x")]);
    store.create_namespace(created.clone()).await.unwrap();
    let again = store.create_namespace(named("lab", &[])).await;
    assert_eq!(again.unwrap_err().code(), "namespace_exists");
    assert_eq!(store.namespace(&lab).await.unwrap(), Some(created.clone()));
    let change = PropertyChange {
        removals: vec!["owner".to_owned(), "none".to_owned()],
        updates: properties(&[("a", "b")]),
    };
    let before = store.change_namespace(&lab, change.clone()).await.unwrap();
    assert_eq!(before, created.properties);
    // One that has tables alone gets a record with its first property.
    store.change_namespace(&shop, change).await.unwrap();
    let both = [named("lab", &[("a", "b")]), named("shop", &[("a", "b")])];
    assert_eq!(store.namespaces().await.unwrap(), both);
    assert!(store.drop_namespace(&lab).await.unwrap());
    assert!(!store.drop_namespace(&lab).await.unwrap());
    let long = named(
        "long",
        &[("k", &"x".repeat(NamespaceRecord::PROPERTIES_BYTES_MAX))],
    );
    let refused = store.create_namespace(long).await;
    assert_eq!(refused.unwrap_err().code(), "properties_too_long");
    let again = open(&world.url, world.clock.clone()).await;
    assert_eq!(again.namespaces().await.unwrap(), both[1..]);
}
