use std::collections::BTreeMap;

use forebay_core::{Ident, RefName};
use forebay_store::{AsOf, NamespaceRecord, PropertyChange};

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

/// A branch has the tables of its base, those that it dropped left out.
#[tokio::test]
async fn tables_are_listed_by_namespace_and_page() {
    let Some(world) = world().await else {
        return;
    };
    let (main, side): (RefName, RefName) = (RefName::main(), "side".parse().unwrap());
    let names: Vec<String> = (0..600).map(|n| format!("t{n:04}")).collect();
    let many: Vec<_> = names
        .iter()
        .map(|name| set(&format!("many.{name}"), None, "x"))
        .collect();
    world.commit(&main, &many).await.unwrap();
    let few = [set("few.a", None, "x"), set("zoo.a", None, "x")];
    world.commit(&main, &few).await.unwrap();
    world.store.create_branch(&side, &main).await.unwrap();
    // All but every tenth.
    let dropped: Vec<_> = (0..600)
        .filter(|n| n % 10 != 0)
        .map(|n| drop_table(&format!("many.t{n:04}"), "x"))
        .collect();
    world.commit(&side, &dropped).await.unwrap();
    let gone = [drop_table("few.a", "x"), set("many.new", None, "x")];
    world.commit(&side, &gone).await.unwrap();
    let listed = async |branch: &RefName, after: &str, limit: usize| {
        let as_of = AsOf::Head(branch.clone());
        let many = "many".parse().unwrap();
        let heads = world.store.tables_in(&as_of, &many, after, limit).await;
        let names = heads.unwrap().into_iter().map(|head| head.table.name);
        names.map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&main, "", usize::MAX).await, names);
    assert_eq!(listed(&main, "t0100", 2).await, ["t0101", "t0102"]);
    let tenth = names.iter().step_by(10).cloned();
    let expected: Vec<String> = std::iter::once("new".to_owned()).chain(tenth).collect();
    assert_eq!(listed(&side, "", usize::MAX).await, expected);
    assert_eq!(listed(&side, "t0000", 3).await, ["t0010", "t0020", "t0030"]);
    let namespaces = async |branch: &RefName| {
        let as_of = AsOf::Head(branch.clone());
        let found = world.store.namespaces_with_tables(&as_of);
        let names = found.await.unwrap().into_iter();
        names.map(|name| name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(namespaces(&main).await, ["few", "many", "zoo"]);
    assert_eq!(namespaces(&side).await, ["many", "zoo"]);
    let as_of = AsOf::Head(main);
    let namespace = "none".parse().unwrap();
    let none = world.store.tables_in(&as_of, &namespace, "", 1).await;
    assert!(none.unwrap().is_empty());
}
