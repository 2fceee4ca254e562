//! Files that other engines commit: what a manifest says of them is true, or nothing is visible.

use std::process::Command;

use bytes::Bytes;
use forebay_core::{Error, RefName, Result};
use forebay_lake::{ExternalChange, ExternalCommit, Table};
use iceberg::io::FileIO;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, ManifestFile,
    ManifestList, ManifestListWriter, ManifestWriterBuilder, Struct, TableMetadata,
};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::{Value, json};

use crate::site::{Site, append, id_rows, name};

type FileLie<'l> = &'l dyn Fn(&mut DataFileBuilder);
type LineLie = &'static dyn Fn(&mut ManifestFile);

/// Another engine's view of a table with one file of the ids 1, 2 and 3, and a copy of that file that no snapshot has.
struct Engine {
    site: Site,
    table: Table,
    metadata: TableMetadata,
    folder: String,
    copy: String,
    bytes: u64,
}

impl Engine {
    async fn new() -> Self {
        let site = Site::new().await;
        append(&site.lake, "a.t", id_rows([1, 2, 3])).await.unwrap();
        let table = site.table("a.t").await;
        let json = table.metadata_json().unwrap();
        let folder = json["location"].as_str().unwrap().to_owned();
        let metadata = serde_json::from_value(json).unwrap();
        let file = table.files().await.unwrap().remove(0);
        let copy = format!("{folder}/data/copy.parquet");
        let engine = Self {
            site,
            table,
            metadata,
            folder,
            copy: copy.clone(),
            bytes: file.bytes,
        };
        let content = engine.get(&file.location).await;
        engine.put(&copy, content).await;
        engine
    }

    fn path(&self, location: &str) -> Path {
        let below = location.strip_prefix(&self.site.place.root).unwrap();
        Path::parse(below.trim_start_matches('/')).unwrap()
    }

    async fn get(&self, location: &str) -> Bytes {
        let got = self.site.place.objects.get(&self.path(location)).await;
        got.unwrap().bytes().await.unwrap()
    }

    async fn put(&self, location: &str, bytes: Bytes) {
        let path = self.path(location);
        let put = self.site.place.objects.put(&path, bytes.into());
        put.await.unwrap();
    }

    /// The copy, as it is.
    fn truth(&self) -> DataFileBuilder {
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data)
            .file_path(self.copy.clone())
            .file_format(DataFileFormat::Parquet)
            .partition(Struct::empty())
            .partition_spec_id(0)
            .record_count(3)
            .file_size_in_bytes(self.bytes)
            .null_value_counts([(1, 0)].into())
            .lower_bounds([(1, Datum::long(1))].into())
            .upper_bounds([(1, Datum::long(3))].into());
        file
    }

    async fn manifest(&self, file_name: &str, files: &[DataFile]) -> ManifestFile {
        let memory = FileIO::new_with_memory();
        let output = memory.new_output("memory:/m").unwrap();
        let schema = self.metadata.current_schema().clone();
        let spec = self.metadata.default_partition_spec().as_ref().clone();
        let builder = ManifestWriterBuilder::new(output, Some(77), schema, spec);
        let is_data = files[0].content_type() == DataContentType::Data;
        let mut writer = match is_data {
            true => builder.build_v2_data(),
            false => builder.build_v2_deletes(),
        };
        for file in files {
            writer.add_file(file.clone(), -1).unwrap();
        }
        let mut manifest = writer.write_manifest_file().await.unwrap();
        let input = memory.new_input("memory:/m").unwrap();
        manifest.manifest_path = format!("{}/metadata/{file_name}", self.folder);
        self.put(&manifest.manifest_path, input.read().await.unwrap())
            .await;
        manifest
    }

    /// The manifests of the parent.
    async fn parent(&self) -> Vec<ManifestFile> {
        let list = self.metadata.current_snapshot().unwrap().manifest_list();
        let bytes = self.get(list).await;
        let list = ManifestList::parse_with_version(&bytes, FormatVersion::V2).unwrap();
        list.consume_entries().into_iter().collect()
    }

    async fn list(&self, manifests: Vec<ManifestFile>) -> String {
        let memory = FileIO::new_with_memory();
        let output = memory.new_output("memory:/l").unwrap();
        let output = output.writer().await.unwrap();
        let parent = self.metadata.current_snapshot_id();
        let mut writer = ManifestListWriter::v2(output, 77, parent, 2);
        writer.add_manifests(manifests.into_iter()).unwrap();
        writer.close().await.unwrap();
        let input = memory.new_input("memory:/l").unwrap();
        let list = format!("{}/metadata/snap-77.avro", self.folder);
        self.put(&list, input.read().await.unwrap()).await;
        list
    }

    async fn commit_list(&self, list: &str, operation: &str) -> Result<Vec<Table>> {
        let snapshot = json!({
            "snapshot-id": 77, "parent-snapshot-id": self.metadata.current_snapshot_id(), "sequence-number": 2,
            "timestamp-ms": self.metadata.last_updated_ms() + 1, "manifest-list": list, "schema-id": 0,
            "summary": {"operation": operation},
        });
        let updates = json!([
            {"action": "add-snapshot", "snapshot": snapshot},
            {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 77},
        ]);
        let updates: Vec<Value> = updates.as_array().unwrap().clone();
        let change = ExternalChange::parse(name("a.t"), Vec::new(), updates)?;
        let commit = ExternalCommit {
            branch: RefName::main(),
            author: "another engine".to_owned(),
            changes: vec![change],
        };
        self.site.lake.commit_external(commit).await
    }

    /// Appends manifests to those of the parent.
    async fn commit(&self, manifests: Vec<ManifestFile>) -> Result<Vec<Table>> {
        let mut all = self.parent().await;
        all.extend(manifests);
        let list = self.list(all).await;
        self.commit_list(&list, "append").await
    }

    async fn refused(&self, what: &str, manifests: Vec<ManifestFile>) -> Error {
        let error = self.commit(manifests).await.expect_err(what);
        let now = self.site.table_elsewhere("a.t").await;
        assert_eq!(
            now.metadata_location(),
            self.table.metadata_location(),
            "{what}"
        );
        error
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_says_of_a_file_is_compared_with_its_footer() {
    let engine = Engine::new().await;
    let none = format!("{}/data/none.parquet", engine.folder);
    let lies: [(&str, FileLie<'_>); 11] = [
        ("it has 3 rows, not 7", &|f| {
            f.record_count(7);
        }),
        ("bytes, not 5", &|f| {
            f.file_size_in_bytes(5);
        }),
        ("does not exist", &|f| {
            f.file_path(none.clone());
        }),
        ("it has 0 nulls, not 1", &|f| {
            f.null_value_counts([(1, 1)].into());
        }),
        ("leaves values out", &|f| {
            f.lower_bounds([(1, Datum::long(2))].into());
        }),
        ("leaves values out", &|f| {
            f.upper_bounds([(1, Datum::long(2))].into());
        }),
        ("not one of its values", &|f| {
            f.lower_bounds([(1, Datum::long(0))].into());
        }),
        ("not one of its values", &|f| {
            f.upper_bounds([(1, Datum::long(4))].into());
        }),
        ("split offsets", &|f| {
            f.split_offsets(Some(vec![-4]));
        }),
        ("split offsets", &|f| {
            f.split_offsets(Some(vec![1 << 40]));
        }),
        ("split offsets", &|f| {
            f.split_offsets(Some(vec![9, 4]));
        }),
    ];
    for (words, lie) in lies {
        let mut file = engine.truth();
        lie(&mut file);
        let manifest = engine.manifest("lie.avro", &[file.build().unwrap()]).await;
        let error = engine.refused(words, vec![manifest]).await;
        assert_eq!(error.code(), "bad_update", "{words}");
        assert!(error.message().contains(words), "{}", error.message());
        assert!(error.message().contains(".parquet"), "{}", error.message());
    }
    // Bounds that claim less are none of an answer.
    let mut plain = engine.truth();
    plain
        .upper_bounds([].into())
        .lower_bounds([(1, Datum::long(0))].into());
    let plain = [plain.build().unwrap()];
    let plain = engine.manifest("plain.avro", &plain).await;
    engine.commit(vec![plain]).await.unwrap();
    assert_eq!(engine.site.ids("a.t").await, [1, 1, 2, 2, 3, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_is_in_a_snapshot_twice() {
    let engine = Engine::new().await;
    let file = engine.truth().build().unwrap();
    let doubled = engine
        .manifest("twice.avro", &[file.clone(), file.clone()])
        .await;
    let one = engine
        .manifest("one.avro", std::slice::from_ref(&file))
        .await;
    let other = engine
        .manifest("other.avro", std::slice::from_ref(&file))
        .await;
    let existing = engine.table.files().await.unwrap().remove(0).location;
    let mut again = engine.truth();
    again.file_path(existing);
    let again = engine
        .manifest("again.avro", &[again.build().unwrap()])
        .await;
    let spelled = engine.copy.replace("file:///", "file:/");
    let mut spelled_file = engine.truth();
    spelled_file.file_path(spelled);
    let spelled = engine
        .manifest("spelled.avro", &[spelled_file.build().unwrap()])
        .await;
    for (what, manifests) in [
        ("a file twice in a manifest", vec![doubled]),
        ("a file in two manifests", vec![one.clone(), other]),
        ("a file of the parent", vec![again]),
        ("another spelling", vec![one.clone(), spelled]),
    ] {
        let is_same_spelling = what == "another spelling" && !engine.copy.starts_with("file:");
        if is_same_spelling {
            continue;
        }
        let error = engine.refused(what, manifests).await;
        assert!(error.message().contains("a file twice"), "{what}: {error}");
    }
    let twice = engine
        .refused("twice", vec![one.clone(), one.clone()])
        .await;
    assert!(twice.message().contains("a manifest twice"), "{twice}");
    engine.commit(vec![one]).await.unwrap();
    assert_eq!(engine.site.ids("a.t").await, [1, 1, 2, 2, 3, 3]);
    // Ours follow, with the same files.
    append(&engine.site.lake, "a.t", id_rows([4]))
        .await
        .unwrap();
    assert_eq!(engine.site.ids("a.t").await.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_list_says_the_truth_about_its_manifests() {
    let engine = Engine::new().await;
    let file = engine.truth().build().unwrap();
    let good = engine.manifest("one.avro", &[file]).await;
    let lies: [(&str, LineLie); 5] = [
        ("no files", &|m| m.added_files_count = Some(0)),
        ("more rows", &|m| m.added_rows_count = Some(4)),
        ("existing files", &|m| m.existing_files_count = Some(1)),
        ("spec", &|m| m.partition_spec_id = 9),
        ("sequence number", &|m| m.sequence_number = 9),
    ];
    for (what, lie) in lies {
        let mut manifest = good.clone();
        lie(&mut manifest);
        let error = engine.refused(what, vec![manifest]).await;
        assert_eq!(error.code(), "bad_update", "{what}: {error}");
    }
    // A negative count is not a number of rows.
    let bytes = engine.get(&good.manifest_path).await;
    let at = bytes
        .windows(7)
        .position(|part| part == b"PARQUET")
        .unwrap()
        + 7;
    let mut negative = bytes.to_vec();
    assert_eq!(negative[at], 6, "3 as Avro has it");
    negative[at] = 5;
    engine.put(&good.manifest_path, negative.into()).await;
    let error = engine.refused("negative", vec![good.clone()]).await;
    assert_eq!(error.code(), "bad_update");
    engine.put(&good.manifest_path, bytes).await;
    // A manifest of the parent that would hide its files.
    let mut hidden = engine.parent().await;
    hidden[0].added_files_count = Some(0);
    hidden.push(good);
    let list = engine.list(hidden).await;
    let refused = engine.commit_list(&list, "append").await;
    assert_eq!(refused.unwrap_err().code(), "bad_update");
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_files_exist_and_can_be_read() {
    let engine = Engine::new().await;
    let mut missing = engine.truth();
    missing
        .content(DataContentType::PositionDeletes)
        .file_path(format!("{}/data/none-deletes.parquet", engine.folder));
    let mut rows = engine.truth();
    rows.content(DataContentType::PositionDeletes);
    let mut vector = engine.truth();
    vector
        .content(DataContentType::PositionDeletes)
        .file_format(DataFileFormat::Puffin)
        .referenced_data_file(Some(engine.copy.clone()))
        .content_offset(Some(4))
        .content_size_in_bytes(Some(1 << 40));
    for (words, file) in [
        ("does not exist", missing),
        ("position delete file", rows),
        ("ends after its file", vector),
    ] {
        let manifest = engine.manifest("d.avro", &[file.build().unwrap()]).await;
        let error = engine.refused(words, vec![manifest]).await;
        assert!(error.message().contains(words), "{}", error.message());
    }
}

/// A pipe would be waited for without end, a link may lead to files of others.
#[tokio::test(flavor = "multi_thread")]
async fn only_regular_files_in_the_folder_are_opened() {
    let engine = Engine::new().await;
    let Some(root) = engine.site.place.root.strip_prefix("file://") else {
        return;
    };
    let folder = engine.folder.strip_prefix("file://").unwrap().to_owned();
    let pipe = |file: &str| {
        let made = Command::new("mkfifo")
            .arg(format!("{folder}/{file}"))
            .status();
        assert!(made.unwrap().success());
        format!("file://{folder}/{file}")
    };
    let data_pipe = pipe("data/pipe.parquet");
    let other = format!("{root}/elsewhere.parquet");
    let whole = engine.get(&engine.copy).await;
    engine.put(&format!("file://{other}"), whole).await;
    let link = format!("{folder}/data/link.parquet");
    std::os::unix::fs::symlink(&other, &link).unwrap();
    for (location, code) in [
        (data_pipe, "bad_update"),
        (format!("{}/data", engine.folder), "bad_update"),
        (format!("file://{link}"), "update_refused"),
    ] {
        let mut file = engine.truth();
        file.file_path(location.clone());
        let manifest = engine.manifest("m.avro", &[file.build().unwrap()]).await;
        let error = engine.refused(&location, vec![manifest]).await;
        assert_eq!(error.code(), code, "{location}: {error}");
    }
    let list_pipe = pipe("metadata/list.avro");
    for list in [
        list_pipe.clone(),
        "/dev/zero".to_owned(),
        engine.folder.clone() + "/metadata",
    ] {
        let refused = engine.commit_list(&list, "append").await;
        let code = refused.unwrap_err().code();
        assert!(
            ["bad_update", "update_refused"].contains(&code),
            "{list}: {code}"
        );
    }
    let mut manifest = engine
        .manifest("m.avro", &[engine.truth().build().unwrap()])
        .await;
    manifest.manifest_path = list_pipe;
    let error = engine.refused("a pipe as a manifest", vec![manifest]).await;
    assert!(error.message().contains("a pipe"), "{error}");
    let metadata = pipe("metadata/1-pipe.metadata.json");
    let main = RefName::main();
    let table = name("a.r");
    let registered = engine
        .site
        .lake
        .register_external(&main, &table, &metadata, "me");
    assert_eq!(registered.await.unwrap_err().code(), "not_a_file");
}

/// Some kilobytes of zeros in a compressed file are not as many megabytes in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_metadata_file_has_a_limit() {
    use std::io::Write as _;
    let engine = Engine::new().await;
    let main = RefName::main();
    let table = name("a.r");
    let lake = &engine.site.lake;
    lake.drop_external(&main, &name("a.t"), "me").await.unwrap();
    let compressed = |text: &[u8]| {
        let level = flate2::Compression::fast();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(text).unwrap();
        Bytes::from(encoder.finish().unwrap())
    };
    let bomb = format!("{}/metadata/1-bomb.metadata.json.gz", engine.folder);
    engine.put(&bomb, compressed(&vec![b' '; 130 << 20])).await;
    let registered = lake.register_external(&main, &table, &bomb, "me");
    assert_eq!(registered.await.unwrap_err().code(), "metadata_too_large");
    let good = format!("{}/metadata/1-good.metadata.json.gz", engine.folder);
    let text = serde_json::to_vec(&engine.metadata).unwrap();
    engine.put(&good, compressed(&text)).await;
    lake.register_external(&main, &table, &good, "me")
        .await
        .unwrap();
    assert_eq!(engine.site.ids("a.r").await, [1, 2, 3]);
}
