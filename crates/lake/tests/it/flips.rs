//! One flipped bit, or a cut, anywhere in the files of a table or in an index of the raw zone: an error or the right answer, never another
//! answer and no panic.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use forebay_core::{Clock, RefName};
use forebay_lake::{Lake, WriterOptions};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::site::{Site, append, bytes_of, head, id_rows, name, request};

/// Damages of each kind of file; every fifth is a cut.
const DAMAGES: u64 = 125;
const SEED: u64 = 0x5EED;

/// The same numbers in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }
}

fn kind(path: &Path) -> &'static str {
    let file = path.filename().unwrap();
    match file {
        _ if file.ends_with(".index.parquet") => "raw index",
        _ if file.ends_with(".parquet") => "data file",
        _ if file.starts_with("snap-") => "manifest list",
        _ if file.ends_with(".avro") => "manifest",
        _ => "metadata file",
    }
}

/// What a process reads that has read nothing before.
async fn read(lake: Lake) -> Result<Vec<i64>, String> {
    let mut ids = read_table(&lake, "a.t").await?;
    ids.extend(read_table(&lake, "raw.t").await?);
    Ok(ids)
}

/// An index of the raw zone: a data file at a path of its own.
async fn append_index(lake: &Lake, nth: i64) {
    let rows = id_rows((nth * 40_000)..(nth * 40_000 + 20_000));
    let mut draft = lake.draft(&RefName::main(), &name("raw.t")).await.unwrap();
    if !draft.exists() {
        draft.create(&rows.schema(), &[]).unwrap();
    }
    let path = Path::from(format!("raw/t/split/{nth}.index.parquet"));
    let options = WriterOptions {
        path: Some(path),
        has_table_id: true,
        ..WriterOptions::default()
    };
    let mut writer = draft.writer(options).unwrap();
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap().unwrap());
    lake.commit(request(vec![draft], Vec::new())).await.unwrap();
}

async fn read_table(lake: &Lake, table: &str) -> Result<Vec<i64>, String> {
    let table = lake.table(&head(), &name(table)).await;
    let table = table.map_err(|e| e.to_string())?.ok_or("no table")?;
    let plan = table.scan(None).await.map_err(|e| e.to_string())?;
    let mut ids = Vec::new();
    for file in plan.files {
        let object = lake.objects().get(&file.path).await;
        let bytes = object.map_err(|e| e.to_string())?.bytes().await;
        let bytes = bytes.map_err(|e| e.to_string())?;
        // As a query reads: some ranges of the file, at once and one by one.
        let size = bytes.len() as u64;
        if size < 8 {
            return Err("no Parquet file".to_owned());
        }
        let ranges = [0..4, size / 2..size / 2 + 1, size - 8..size];
        let parts = lake.objects().get_ranges(&file.path, &ranges).await;
        for (part, range) in parts.map_err(|e| e.to_string())?.iter().zip(ranges) {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert_eq!(part, &bytes.slice(range));
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| e.to_string())?;
        for batch in reader.build().map_err(|e| e.to_string())? {
            let batch = batch.map_err(|e| e.to_string())?;
            let column = batch.column_by_name("id").ok_or("no column")?;
            ids.extend(column.as_primitive::<Int64Type>().values());
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

fn fresh(site: &Site) -> Lake {
    let clock: Arc<dyn Clock> = site.clock.clone();
    let objects = site.place.objects.clone();
    Lake::new(
        site.lake.store().clone(),
        objects,
        site.place.root.clone(),
        clock,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_or_a_cut_in_any_file_of_a_table_is_an_error_or_changes_nothing() {
    let site = Site::new().await;
    for part in 0..3 {
        let rows = id_rows((part * 40_000)..(part * 40_000 + 20_000));
        append(&site.lake, "a.t", rows).await.unwrap();
        append_index(&site.lake, part).await;
    }
    let expected = read(fresh(&site)).await.unwrap();
    assert_eq!(expected.len(), 120_000);
    let found: Vec<_> = site.place.objects.list(None).try_collect().await.unwrap();
    let mut by_kind: BTreeMap<&str, Vec<Path>> = BTreeMap::new();
    let is_file = |object: &ObjectMeta| {
        let folder = object.location.parts().next();
        object.size > 0 && folder.is_some_and(|part| ["raw", "tables"].contains(&part.as_ref()))
    };
    for object in found.into_iter().filter(is_file) {
        by_kind
            .entry(kind(&object.location))
            .or_default()
            .push(object.location);
    }
    assert_eq!(by_kind.len(), 5, "{by_kind:?}");
    let mut numbers = Numbers(SEED);
    for (kind, paths) in by_kind {
        let mut errors = 0;
        for nth in 0..DAMAGES {
            let path = &paths[numbers.below(paths.len())];
            let whole = bytes_of(&site.place.objects, path).await;
            let bit = numbers.below(whole.len() * 8);
            let mut damaged = whole.to_vec();
            if nth % 5 == 0 {
                damaged.truncate(bit / 8);
            } else {
                damaged[bit / 8] ^= 1 << (bit % 8);
            }
            site.place.objects.put(path, damaged.into()).await.unwrap();
            let answer = tokio::spawn(read(fresh(&site))).await;
            site.place.objects.put(path, whole.into()).await.unwrap();
            match answer.expect("a damaged file is no panic") {
                Ok(ids) => assert!(ids == expected, "{kind} {path}, damage {nth}, bit {bit}"),
                Err(_) => errors += 1,
            }
        }
        // Old metadata files are read by nobody; all other files are.
        assert!(errors > DAMAGES / 5, "{kind}: {errors} errors");
        println!("{kind}: {errors} of {DAMAGES} damages were errors, none was another answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_without_checksums_are_read_as_they_are() {
    let site = Site::new().await;
    append(&site.lake, "a.t", id_rows(0..1_000)).await.unwrap();
    let table = site.table("a.t").await;
    let plan = table.scan(None).await.unwrap();
    let file = &plan.files[0].path;
    let whole = bytes_of(site.lake.objects(), file).await;
    // A foreign writer's: another name, and nothing before the footer.
    let reader = ParquetRecordBatchReaderBuilder::try_new(whole).unwrap();
    let schema = reader.schema().clone();
    let mut plain = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut plain, schema, None).unwrap();
    for batch in reader.build().unwrap() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.close().unwrap();
    let foreign = Path::from("tables/foreign/data/part-0.parquet");
    site.place
        .objects
        .put(&foreign, plain.clone().into())
        .await
        .unwrap();
    let read = bytes_of(site.lake.objects(), &foreign).await;
    assert_eq!(read, plain);
    // Under the name of a file that carries checksums it is damage.
    site.place.objects.put(file, plain.into()).await.unwrap();
    let error = fresh(&site).objects().get(file).await.unwrap_err();
    assert!(error.to_string().contains("checksum mismatch"), "{error}");
}

/// The machine's clock has gone back by hours since the last commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_added_whatever_the_clock_says() {
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use forebay_core::Timestamp;
    let site = Site::new().await;
    // Later than the builder of `iceberg` takes the time to be.
    let ahead = site.another_at(Timestamp(4_000_000_000_000_000)).await;
    append(&ahead, "a.t", id_rows([1])).await.unwrap();
    let fields = ["id", "new"].map(|name| Field::new(name, DataType::Int64, name == "new"));
    let column: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let rows = RecordBatch::try_new(schema, vec![column.clone(), column]).unwrap();
    append(&site.lake, "a.t", rows).await.unwrap();
    let mut draft = site.draft("a.t").await;
    draft.set_property("k", "v");
    site.commit(draft).await;
    append(&site.lake, "a.t", id_rows([3])).await.unwrap();
    assert_eq!(site.ids("a.t").await, [1, 2, 3]);
    assert_eq!(site.table("a.t").await.properties()["k"], "v");
}
