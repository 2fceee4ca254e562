//! Files of tables in the lake's object store: locations, durable writes.
//!
//! A write that returned is durable: on a local root the file and every directory above it are synced, because
//! `object_store` itself does not. Nothing here is ever overwritten or deleted on the way of a commit: names are fresh,
//! and in a remote store an object is only ever created.

mod checksum;
mod moved;
mod regular;
mod sink;
mod verified;

use std::collections::HashSet;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{Error, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;

use crate::manifest_cache::ManifestCache;
use crate::write_memory::WriteMemory;
use forebay_objects::{Created, Medium, from_objects, gone};

use moved::FormerRoots;
use verified::VerifiedStore;

pub(crate) use checksum::{checksum_name, data_file_name};

pub(crate) use sink::ObjectSink;

/// Directories remembered as synced; beyond it they are synced again.
const DURABLE_DIRS_MAX: usize = 10_000;

/// The object store of a lake with the URL that it is rooted at.
#[derive(Debug)]
pub(crate) struct LakeStorage {
    objects: Arc<dyn ObjectStore>,
    unverified: Arc<dyn ObjectStore>,
    root: String,
    local: Option<LocalRoot>,
    /// Where the lake may have been before; `None` when its catalog is elsewhere, and other processes may use the lake there.
    former: Option<FormerRoots>,
    manifests: ManifestCache,
    write_memory: WriteMemory,
}

impl LakeStorage {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, root: &str) -> Self {
        let root = normalize(root.trim_end_matches('/'));
        let local = root.strip_prefix("file://").map(LocalRoot::new);
        Self {
            objects: Arc::new(VerifiedStore::new(Arc::clone(&objects))),
            unverified: objects,
            root,
            local,
            former: None,
            manifests: ManifestCache::default(),
            write_memory: WriteMemory::default(),
        }
    }

    /// The same for a lake whose folder holds its catalog too, so that it can be copied and moved as a whole.
    pub(crate) fn with_its_catalog(self) -> Self {
        let former = Some(FormerRoots::default());
        Self { former, ..self }
    }

    /// Deletes a file that no commit has named; `clean` deletes any leftovers.
    pub(crate) async fn delete_unnamed(&self, path: &Path) {
        if let Err(error) = self.objects.delete(path).await {
            tracing::debug!(%error, file = %path, "failed to delete file of a discarded change");
        }
    }

    /// The same files, without verifying checksums.
    #[cfg(test)]
    pub(crate) fn without_checks(&self) -> Self {
        Self {
            objects: Arc::clone(&self.unverified),
            ..Self::new(Arc::clone(&self.unverified), &self.root)
        }
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Manifests read before by any table of the lake.
    pub(crate) fn manifests(&self) -> &ManifestCache {
        &self.manifests
    }

    /// Memory held by the writers of the lake.
    pub(crate) fn write_memory(&self) -> &WriteMemory {
        &self.write_memory
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The URL that table metadata names the object by.
    pub(crate) fn location(&self, path: &Path) -> String {
        format!("{}/{path}", self.root)
    }

    /// The object that a location in table metadata means, in any of the spellings that other writers use.
    ///
    /// Errors: `Unsupported` when it is outside the lake.
    pub(crate) fn path(&self, location: &str) -> Result<Path> {
        let normal = normalize(location);
        let below = normal
            .strip_prefix(&self.root)
            .and_then(|rest| rest.strip_prefix('/'));
        let below = below.or_else(|| self.moved(&normal));
        let below = below.ok_or_else(|| moved::outside_lake(location, &self.root))?;
        Path::parse(below).map_err(|e| from_objects("read a location", location, e.into()))
    }

    /// The same of a location from before the lake was moved.
    fn moved<'a>(&self, location: &'a str) -> Option<&'a str> {
        let dir = self.local_folder()?;
        self.former.as_ref()?.below(location, dir)
    }

    /// An object that a table names.
    ///
    /// Errors: `Data` `not_a_file` for a pipe, a device or a folder; those of the object store.
    pub(crate) async fn read(&self, path: &Path) -> Result<Bytes> {
        if let Some(local) = &self.local {
            local.check_regular(path).await?;
        }
        let fail = |e| gone(from_objects("read an object", path, e));
        self.objects
            .get(path)
            .await
            .map_err(fail)?
            .bytes()
            .await
            .map_err(fail)
    }

    /// The same without comparing the checksum: to explain a fault, never to use the bytes.
    pub(crate) async fn read_unverified(&self, path: &Path) -> Result<Bytes> {
        let fail = |e| gone(from_objects("read an object", path, e));
        let object = self.unverified.get(path).await.map_err(fail)?;
        object.bytes().await.map_err(fail)
    }

    /// Writes a new object; durable on return.
    ///
    /// Errors: `Conflict` `object_exists` when a remote store has another object of this name.
    pub(crate) async fn write(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let made = forebay_objects::create(self.objects.as_ref(), path, bytes, self.medium()).await;
        made.map_err(|e| from_objects("write an object", path, e))?;
        self.make_durable(path).await
    }

    /// Writes a new file of a table under a name that carries its checksum, and gives its location. `name` makes the file's
    /// name below `folder` of a UUID.
    ///
    /// Errors: as [`Self::write`].
    pub(crate) async fn write_named(
        &self,
        folder: &str,
        bytes: Bytes,
        name: impl FnOnce(uuid::Uuid) -> String,
    ) -> Result<String> {
        let location = format!("{folder}/{}", name(checksum_name(&bytes)));
        self.write(&self.path(&location)?, bytes).await?;
        Ok(location)
    }

    /// Makes an object, durable on return, unless another has the name. See [`crate::Lake::create`].
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes, nonce: &str) -> Result<Created> {
        match &self.local {
            Some(local) => local.create(path, bytes, nonce).await,
            None => forebay_objects::create_as(self.objects.as_ref(), path, bytes, nonce)
                .await
                .map_err(|e| from_objects("make an object", path, e)),
        }
    }

    fn medium(&self) -> Medium {
        match self.local {
            Some(_) => Medium::Disk,
            None => Medium::Remote,
        }
    }

    /// A writer of one new object for blocking code; durable once [`ObjectSink::finish`] returns.
    ///
    /// Errors: `Bug` outside of a Tokio runtime.
    pub(crate) fn sink(self: &Arc<Self>, path: Path) -> Result<ObjectSink> {
        ObjectSink::new(Arc::clone(self), path)
    }

    /// Makes the folders that other engines expect to find in a table on a local disk.
    pub(crate) async fn create_table_folders(&self, table: &Path) -> Result<()> {
        let Some(local) = &self.local else {
            return Ok(());
        };
        for folder in ["data", "metadata"] {
            let path = table.clone().join(folder);
            let dir = local.file(&path);
            let made = tokio::fs::create_dir_all(&dir).await;
            made.map_err(|e| disk_error("make the table's folder", &path, e))?;
            local.sync_dirs(&path, dir).await?;
        }
        Ok(())
    }

    /// The file that processes on this machine lock while they commit to a table; `None` when the lake is not on it.
    pub(crate) fn turn_file(&self, table: &Path) -> Option<PathBuf> {
        self.local
            .as_ref()
            .map(|local| local.file(&table.clone().join(".turn")))
    }

    /// The folder of the lake; `None` when it is not on this machine.
    pub(crate) fn local_folder(&self) -> Option<&FsPath> {
        self.local.as_ref().map(|local| local.dir.as_path())
    }

    async fn make_durable(&self, path: &Path) -> Result<()> {
        match &self.local {
            Some(local) => local.sync(path).await,
            None => Ok(()),
        }
    }
}

/// The folder behind a `file://` root; it syncs files that `object_store` only wrote.
#[derive(Debug)]
struct LocalRoot {
    dir: PathBuf,
    /// Folders whose own entry, and those above them up to the root, are known to be on disk.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalRoot {
    fn new(dir: &str) -> Self {
        Self {
            dir: PathBuf::from(dir),
            durable: Mutex::default(),
        }
    }

    /// The file of an object: a part of a path is the name of a folder, letter for letter.
    fn file(&self, path: &Path) -> PathBuf {
        path.parts()
            .fold(self.dir.clone(), |dir, part| dir.join(part.as_ref()))
    }

    /// Makes a file that is there wholly, or not at all, also after a power cut. A name that is taken is ours when the bytes
    /// are the same: a caller that needs to distinguish two writers includes its identity.
    async fn create(&self, path: &Path, bytes: Bytes, nonce: &str) -> Result<Created> {
        let file = self.file(path);
        let nonce = nonce.to_owned();
        let made = tokio::task::spawn_blocking(move || link_new(&file, &bytes, &nonce)).await;
        let made = made.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        let made = made.map_err(|e| disk_error("make a file", path, e))?;
        self.sync(path).await?;
        Ok(made)
    }

    async fn sync(&self, path: &Path) -> Result<()> {
        let file = self.file(path);
        let parent = file.parent().unwrap_or(&self.dir).to_path_buf();
        on_disk(path, move || std::fs::File::open(file)?.sync_all()).await?;
        let dir = parent.clone();
        on_disk(path, move || sync_dir(&dir)).await?;
        self.sync_dirs(path, parent).await
    }

    /// Syncs the folders above `dir`, which may have been made just now.
    async fn sync_dirs(&self, path: &Path, dir: PathBuf) -> Result<()> {
        if self.durable.lock().contains(&dir) {
            return Ok(());
        }
        let above: Vec<PathBuf> = dir
            .ancestors()
            .skip(1)
            .take_while(|d| d.starts_with(&self.dir))
            .map(FsPath::to_path_buf)
            .collect();
        on_disk(path, move || above.iter().try_for_each(|dir| sync_dir(dir))).await?;
        let mut durable = self.durable.lock();
        if durable.len() < DURABLE_DIRS_MAX {
            durable.insert(dir);
        }
        Ok(())
    }
}

fn sync_dir(dir: &FsPath) -> std::io::Result<()> {
    std::fs::File::open(dir)?.sync_all()
}

async fn on_disk(
    path: &Path,
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    let result = done.unwrap_or_else(|e| Err(std::io::Error::other(e)));
    result.map_err(|e| disk_error("sync a file", path, e))
}

/// Writes aside, syncs, and links to the name, which fails when it is taken.
fn link_new(file: &FsPath, bytes: &[u8], nonce: &str) -> std::io::Result<Created> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let aside = file.with_extension(format!("{nonce}.part"));
    let mut part = std::fs::File::create(&aside)?;
    std::io::Write::write_all(&mut part, bytes)?;
    part.sync_all()?;
    let linked = std::fs::hard_link(&aside, file);
    std::fs::remove_file(&aside)?;
    match linked {
        Ok(()) => Ok(Created::Ours),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let ours = std::fs::read(file)? == bytes;
            Ok(if ours {
                Created::Ours
            } else {
                Created::Another
            })
        }
        Err(e) => Err(e),
    }
}

fn disk_error(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::unavailable("disk", format!("failed to {what}"))
        .with_source(error)
        .with_context("object", path)
}

/// One spelling for `file:/x`, `file:///x` and `/x`; other URLs stay as they are.
fn normalize(location: &str) -> String {
    let path = location.strip_prefix("file:").unwrap_or(location);
    let local = path.len() < location.len() || location.starts_with('/');
    if !local {
        return location.to_owned();
    }
    format!("file:///{}", path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests;
