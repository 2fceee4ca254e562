//! The outbox: the lake's part of a commit that another database makes.
//!
//! Raw index, quarantine, requests and contract belong to the same commit as the rows. When the rows are committed by a
//! target other than the lake, that commit carries them along; a run that finds the target one commit ahead of the catalog
//! makes the lake's part from here. It holds rows of the lake's tables, not files: files of a dead process may exist and
//! are left to orphan cleanup. Content too large for a row of the target is stored in an object beside the raw zone.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use forebay_core::{Error, Ident, Position, PositionObject, Result, TableName};
use forebay_lake::Lake;
use forebay_objects::from_objects;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use crate::engine::Ids;
use crate::engine::commit::tables::Tables;
use crate::position_objects;
use crate::raw::put_object;
use forebay_connectors::sink::Delivered;

/// Bytes of rows that stay in memory and go into the target; more go to an object.
const INLINE_BYTES_MAX: usize = 4 << 20;

/// Largest outbox that is read back, expanded.
const EXPANDED_BYTES_MAX: usize = 1 << 30;

const VERSION: u32 = 1;
const LEVEL: i32 = 1;

/// Rows for one table of the lake.
#[derive(Debug)]
struct Write {
    table: TableName,
    /// Their target file, when they are the index of a raw object.
    path: Option<Path>,
    rows: RecordBatch,
}

/// The header before the rows.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Head {
    version: u32,
    message: String,
    writes: Vec<WriteHead>,
    /// Table, key and value.
    properties: Vec<(TableName, String, String)>,
    /// The value of each property when the commit was made; missing in older versions.
    #[serde(default)]
    expected: Vec<Option<String>>,
    /// Objects with further rows, in the same form.
    objects: Vec<String>,
    /// Objects that this position references first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    position: Vec<KeptObject>,
}

/// The content of an object of the position, so that its deletion before the lake's part is made does no harm.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptObject {
    object: PositionObject,
    copy: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct WriteHead {
    table: TableName,
    path: Option<String>,
    bytes: usize,
}

/// Collects the lake's part of one commit.
#[derive(Debug)]
pub(in crate::engine) struct Outbox {
    lake: Lake,
    runtime: Handle,
    ids: Ids,
    /// Objects are made below it.
    folder: String,
    writes: Vec<Write>,
    bytes: usize,
    properties: Vec<(TableName, String, String)>,
    expected: Vec<Option<String>>,
    objects: Vec<Path>,
    position: Vec<KeptObject>,
}

impl Outbox {
    pub(in crate::engine) fn new(
        lake: Lake,
        runtime: Handle,
        ids: Ids,
        pipeline: &Ident,
        split: &Ident,
    ) -> Self {
        Self {
            lake,
            runtime,
            ids,
            folder: format!("raw/{pipeline}/{split}/outbox"),
            writes: Vec::new(),
            bytes: 0,
            properties: Vec::new(),
            expected: Vec::new(),
            objects: Vec::new(),
            position: Vec::new(),
        }
    }

    /// Copies an object of the position that this commit references first.
    pub(in crate::engine) fn keep_object(&mut self, object: PositionObject) -> Result<()> {
        let read = position_objects::read(&self.lake, &object);
        let copy = self.put(self.runtime.block_on(read)?)?;
        self.position.push(KeptObject {
            object,
            copy: copy.to_string(),
        });
        Ok(())
    }

    pub(in crate::engine) fn add(
        &mut self,
        table: &TableName,
        rows: &RecordBatch,
        path: Option<&Path>,
    ) -> Result<()> {
        self.bytes += rows.get_array_memory_size();
        self.writes.push(Write {
            table: table.clone(),
            path: path.cloned(),
            rows: rows.clone(),
        });
        if self.bytes > INLINE_BYTES_MAX {
            self.spill()?;
        }
        Ok(())
    }

    /// `expected` is the previous value of the property.
    pub(in crate::engine) fn set_property(
        &mut self,
        table: &TableName,
        key: &str,
        value: &str,
        expected: Option<&str>,
    ) {
        self.properties
            .push((table.clone(), key.to_owned(), value.to_owned()));
        self.expected.push(expected.map(str::to_owned));
    }

    /// Puts the rows so far into an object.
    fn spill(&mut self) -> Result<()> {
        let writes = std::mem::take(&mut self.writes);
        self.bytes = 0;
        let text = encode(Head::default(), &writes)?;
        let path = self.put(text)?;
        self.objects.push(path);
        Ok(())
    }

    /// Makes an object beside the raw zone.
    fn put(&self, bytes: Vec<u8>) -> Result<Path> {
        let path = Path::from(format!("{}/{}.zst", self.folder, self.ids.make_object()));
        put_object(&self.lake, &self.runtime, &path, bytes)?;
        Ok(path)
    }

    /// The text that travels with the commit.
    pub(in crate::engine) fn text(&self, message: &str) -> Result<Vec<u8>> {
        let head = Head {
            message: message.to_owned(),
            properties: self.properties.clone(),
            expected: self.expected.clone(),
            objects: self.objects.iter().map(ToString::to_string).collect(),
            position: self.position.clone(),
            ..Head::default()
        };
        encode(head, &self.writes)
    }

    /// The lake's part is committed: starts the next commit.
    pub(in crate::engine) fn clear(&mut self) {
        (self.bytes, self.writes) = (0, Vec::new());
        self.properties.clear();
        self.expected.clear();
        let copies = std::mem::take(&mut self.position).into_iter();
        let copies = copies.map(|kept| Path::from(kept.copy));
        for path in std::mem::take(&mut self.objects).into_iter().chain(copies) {
            // Nothing references it any more; if the deletion fails, it is an orphan.
            let deleted = self.runtime.block_on(self.lake.objects().delete(&path));
            if let Err(error) = deleted {
                tracing::debug!(%error, %path, "failed to delete outbox object");
            }
        }
    }
}

fn encode(mut head: Head, writes: &[Write]) -> Result<Vec<u8>> {
    let failed = |error| Error::bug("outbox", "failed to write the outbox").with_source(error);
    let mut rows = Vec::new();
    for write in writes {
        let before = rows.len();
        let mut stream =
            StreamWriter::try_new(&mut rows, write.rows.schema_ref()).map_err(failed)?;
        stream.write(&write.rows).map_err(failed)?;
        stream.finish().map_err(failed)?;
        drop(stream);
        head.writes.push(WriteHead {
            table: write.table.clone(),
            path: write.path.as_ref().map(ToString::to_string),
            bytes: rows.len() - before,
        });
    }
    head.version = VERSION;
    let json = serde_json::to_vec(&head)
        .map_err(|error| Error::bug("outbox", "failed to write the outbox").with_source(error))?;
    let mut text = (json.len() as u64).to_le_bytes().to_vec();
    text.extend_from_slice(&json);
    text.extend_from_slice(&rows);
    compressed(&text)
        .map_err(|error| Error::bug("outbox", "failed to write the outbox").with_source(error))
}

/// With a checksum, so that a bit that changes at rest is detected.
fn compressed(text: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(text)
}

/// The lake's part of a commit of a target, without the rows.
pub(in crate::engine) struct Redone {
    pub(in crate::engine) message: String,
    pub(in crate::engine) position: Position,
}

/// Writes the rows in the outbox of a commit to the tables. Blocks.
///
/// File names contain `epoch`: the process that made the outbox may have written its own files.
pub(in crate::engine) fn redo(
    lake: &Lake,
    runtime: &Handle,
    last: Delivered,
    epoch: i64,
    tables: &mut Tables,
) -> Result<Redone> {
    let exists = |object: &str| runtime.block_on(check_raw_object(lake, object));
    let head = decode(&last.outbox, epoch, tables, &exists)?;
    for path in &head.objects {
        let text = runtime.block_on(read_object(lake, path))?;
        decode(&text, epoch, tables, &exists)?;
    }
    for (i, property) in head.properties.iter().enumerate() {
        restore_property(tables, property, head.expected.get(i))?;
    }
    let position = runtime.block_on(restore_objects(lake, &head.position, last.position))?;
    Ok(Redone {
        message: head.message,
        position,
    })
}

async fn read_object(lake: &Lake, path: &str) -> Result<Vec<u8>> {
    let path = Path::from(path);
    let failed = |error| from_objects("read an outbox", &path, error);
    let object = lake.objects().get(&path).await.map_err(failed)?;
    Ok(object.bytes().await.map_err(failed)?.into())
}

/// Recreates the objects that this position references first: as no position of the catalog did so, they may be deleted.
async fn restore_objects(lake: &Lake, kept: &[KeptObject], position: Position) -> Result<Position> {
    let mut objects = position.objects()?;
    for KeptObject { object, copy } in kept {
        let bytes = read_object(lake, copy).await?;
        let made = position_objects::create_again(lake, object, bytes).await?;
        for named in objects.iter_mut().filter(|named| *named == object) {
            named.clone_from(&made);
        }
    }
    position.with_objects(&objects)
}

/// Sets a property to the value in the commit, unless another writer has changed it since: that value is newer.
fn restore_property(
    tables: &mut Tables,
    (table, key, value): &(TableName, String, String),
    expected: Option<&Option<String>>,
) -> Result<()> {
    let now = tables.property(table, key)?;
    if now.as_ref() == Some(value) {
        return Ok(());
    }
    if expected.is_some_and(|expected| *expected != now) {
        tracing::warn!(%table, key, "another writer has changed the property since, keeping its value");
        return Ok(());
    }
    tables.set_property(table, key, value)?;
    tables.expect_property(table, key, now.as_deref())
}

/// The raw object of a commit is written before the target commits: where it is missing, another workspace has made the commit.
///
/// # Errors
/// `Data` `target_disagrees`.
async fn check_raw_object(lake: &Lake, object: &str) -> Result<()> {
    let path = Path::from(object);
    match lake.objects().head(&path).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::NotFound { .. }) => {
            let what = format!(
                "the last commit of the target is of another workspace: its raw object {object} is not in this one"
            );
            Err(Error::data("target_disagrees", what).with_hint(
                "give each project a target of its own: another pipeline name, or another schema of the database; where this workspace was made anew, empty the target and run with `--full`",
            ))
        }
        Err(error) => Err(from_objects("look for a raw object", &path, error)),
    }
}

/// Checks the raw objects of a commit that are named in its outbox itself.
///
/// # Errors
/// `Data` `target_disagrees`.
pub(in crate::engine) async fn check_raw_objects(lake: &Lake, outbox: Vec<u8>) -> Result<()> {
    let named = tokio::task::spawn_blocking(move || named_raw_objects(&outbox));
    let named = named.await.unwrap_or_else(|error| {
        Err(Error::bug("outbox", "reading an outbox panicked").with_source(error))
    })?;
    for object in &named {
        check_raw_object(lake, object).await?;
    }
    Ok(())
}

fn named_raw_objects(outbox: &[u8]) -> Result<BTreeSet<String>> {
    let (head, writes) = parsed(outbox)?;
    let indexes = head.writes.iter().zip(&writes);
    let indexes = indexes.filter(|(write, _)| write.path.is_some());
    let objects = indexes.flat_map(|(_, batches)| batches.iter().flat_map(raw_objects));
    Ok(objects.map(str::to_owned).collect())
}

/// The raw objects that the rows of an index are about.
fn raw_objects(rows: &RecordBatch) -> BTreeSet<&str> {
    let objects = rows.column_by_name("object");
    let objects = objects.and_then(|objects| objects.as_string_opt::<i32>());
    objects.into_iter().flatten().flatten().collect()
}

fn decode(
    text: &[u8],
    epoch: i64,
    tables: &mut Tables,
    check_raw: &dyn Fn(&str) -> Result<()>,
) -> Result<Head> {
    let (head, writes) = parsed(text)?;
    for (write, batches) in head.writes.iter().zip(writes) {
        for batch in &batches {
            if write.path.is_some() {
                raw_objects(batch).into_iter().try_for_each(check_raw)?;
            }
            match &write.path {
                Some(path) => tables.write_at(&write.table, batch, &renamed(path, epoch), false)?,
                None => {
                    let options = forebay_lake::WriterOptions::default();
                    tables.write(&write.table, batch, &[], &options)?;
                }
            }
        }
    }
    Ok(head)
}

/// The header of an outbox, and the rows of each of its writes.
fn parsed(text: &[u8]) -> Result<(Head, Vec<Vec<RecordBatch>>)> {
    let text = zstd::bulk::decompress(text, EXPANDED_BYTES_MAX).map_err(broken)?;
    let (length, rest) = text.split_first_chunk::<8>().ok_or_else(cut)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(broken)?;
    let (json, mut rows) = rest.split_at_checked(length).ok_or_else(cut)?;
    let head: Head = serde_json::from_slice(json).map_err(broken)?;
    if head.version != VERSION {
        let message = format!("unsupported outbox version {}", head.version);
        return Err(Error::unsupported("outbox_version", message)
            .with_hint("run the pipeline with the version of Forebay that ran it last"));
    }
    let mut writes = Vec::with_capacity(head.writes.len());
    for write in &head.writes {
        let (mine, others) = rows.split_at_checked(write.bytes).ok_or_else(cut)?;
        rows = others;
        let batches = StreamReader::try_new(mine, None).map_err(broken)?;
        let batches: Result<Vec<_>, _> = batches.collect();
        writes.push(batches.map_err(broken)?);
    }
    if !rows.is_empty() {
        return Err(broken("trailing bytes after its rows"));
    }
    Ok((head, writes))
}

/// `a.index.parquet` as `a.index.e7.parquet`.
fn renamed(path: &str, epoch: i64) -> Path {
    let (stem, extension) = path.rsplit_once('.').unwrap_or((path, "parquet"));
    Path::from(format!("{stem}.e{epoch}.{extension}"))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::data("bad_outbox", "the outbox of the target cannot be read").with_source(error)
}

fn cut() -> Error {
    broken("it is truncated")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn outbox() -> Vec<u8> {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let write = |path: Option<&str>| Write {
            table: "raw.orders".parse().unwrap(),
            path: path.map(Path::from),
            rows: RecordBatch::try_from_iter([("n", n.clone())]).unwrap(),
        };
        let head = Head {
            message: "orders: 2 rows".to_owned(),
            ..Head::default()
        };
        encode(head, &[write(None), write(Some("a/b.index.parquet"))]).unwrap()
    }

    #[test]
    fn an_outbox_that_is_cut_at_any_length_is_refused() {
        let text = outbox();
        let (head, writes) = parsed(&text).unwrap();
        assert_eq!((head.writes.len(), writes[1][0].num_rows()), (2, 2));
        for length in 0..text.len() {
            let error = parsed(&text[..length]).unwrap_err();
            assert_eq!(error.code(), "bad_outbox", "cut to {length} bytes");
        }
    }

    #[test]
    fn a_changed_bit_of_an_outbox_never_gives_other_rows() {
        let text = outbox();
        let (_, sound) = parsed(&text).unwrap();
        let mut found = 0;
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            match parsed(&flipped) {
                Ok((_, writes)) => assert_eq!(writes, sound, "bit {bit}"),
                Err(_) => found += 1,
            }
        }
        // A few bits of a frame mean nothing.
        let bits = text.len() * 8;
        assert!(found * 100 >= bits * 99, "{found} of {bits} bits");
    }

    #[test]
    fn an_outbox_without_a_checksum_is_read() {
        let text = zstd::bulk::decompress(&outbox(), EXPANDED_BYTES_MAX).unwrap();
        let older = zstd::bulk::compress(&text, LEVEL).unwrap();
        assert_eq!(parsed(&older).unwrap().0.message, "orders: 2 rows");
    }

    #[test]
    fn files_that_are_made_again_have_another_name() {
        assert_eq!(
            renamed("a/b.index.parquet", 7).as_ref(),
            "a/b.index.e7.parquet"
        );
    }
}
