//! Contents of a drop folder: links, odd names, nothing.

use std::os::unix::fs::symlink;

use super::*;

#[tokio::test]
async fn a_link_leads_neither_out_of_the_folder_nor_into_the_workspace() {
    let project = Project::new();
    project.write("note.txt", b"secret");
    project.write(".forebay/store.db", b"secret");
    project.write("data/a.txt", b"1");
    project.write("data/deep/b.txt", b"2");
    let folder = project.0.path().join("data");
    symlink("../note.txt", folder.join("n.txt")).unwrap();
    symlink("../.forebay/store.db", folder.join("s.txt")).unwrap();
    symlink("deep/b.txt", folder.join("b.txt")).unwrap();
    symlink("data/../.forebay/store.db", project.0.path().join("t.txt")).unwrap();
    let expected = ["data/a.txt", "data/b.txt"];
    assert_eq!(project.names("data/*.txt", &mut None).await, expected);
    // Here the folder is the project itself.
    assert_eq!(project.names("*.txt", &mut None).await, ["note.txt"]);
    let error = project
        .run("data/n.txt", &mut None)
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.code(), "not_a_regular_file");
}

#[tokio::test]
async fn a_link_that_is_put_in_the_place_of_a_file_is_not_followed() {
    let project = Project::new();
    project.write("secret.txt", b"secret");
    project.write("data/a.txt", b"1");
    let mut reader = project
        .open(&source("data/*.txt"), None, Framing::Whole)
        .await
        .unwrap();
    let path = project.0.path().join("data/a.txt");
    fs::remove_file(&path).unwrap();
    symlink("../secret.txt", &path).unwrap();
    assert!(reader.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_folder_and_a_name_with_brackets_can_be_named() {
    let project = Project::new();
    project.write("data/[x].csv", b"1");
    project.write("data/deep/y.csv", b"2");
    assert_eq!(
        project.names("data/[x].csv", &mut None).await,
        ["data/[x].csv"]
    );
    let all = ["data/[x].csv", "data/deep/y.csv"];
    assert_eq!(project.names("data/", &mut None).await, all);
    let error = project
        .run("data", &mut None)
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(error.hint().unwrap().contains("`data/`"), "{error:?}");
    assert!(Place::of("~/x/*.csv").is_err());
}

#[test]
fn a_pattern_that_matches_nothing_is_explained() {
    let project = Project::new();
    project.write("data/Sales.csv", b"1");
    for (path, meant) in [
        ("dta/*.csv", "did you mean data/?"),
        (
            "data/*.CSV",
            "did you mean Sales.csv? Upper and lower case differ",
        ),
        ("data/*.{csv,txt}", "braces"),
        ("data/sales_*.json", "data holds Sales.csv"),
        ("data/*/x", "nothing below data matches"),
    ] {
        let pattern = Pattern::parse(path).unwrap();
        let why = nothing::explain(&pattern, project.0.path());
        assert!(why.contains(meant), "{path}: {why}");
    }
}
