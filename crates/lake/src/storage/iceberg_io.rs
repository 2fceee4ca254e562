//! The lake's storage behind the `iceberg` crate's own traits, so that both use one client and one way to be durable.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::to_iceberg;
use forebay_objects::from_objects;

use super::LakeStorage;

type Result<T> = iceberg::Result<T>;

pub(super) fn file_io(storage: Arc<LakeStorage>) -> FileIO {
    FileIOBuilder::new(Arc::new(Bridge(storage))).build()
}

/// Both the storage and its factory. It lives in this process: it holds an open client, so it has no serialised form.
#[derive(Debug, Clone)]
struct Bridge(Arc<LakeStorage>);

impl Serialize for Bridge {
    fn serialize<S: Serializer>(&self, _: S) -> StdResult<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "a lake's storage cannot be sent to another process",
        ))
    }
}

impl<'de> Deserialize<'de> for Bridge {
    fn deserialize<D: Deserializer<'de>>(_: D) -> StdResult<Self, D::Error> {
        Err(serde::de::Error::custom(
            "a lake's storage cannot come from another process",
        ))
    }
}

type StdResult<T, E> = std::result::Result<T, E>;

impl Bridge {
    fn path(&self, location: &str) -> Result<Path> {
        self.0.path(location).map_err(to_iceberg)
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        match self.0.objects().delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(to_iceberg(from_objects("delete an object", path, e))),
        }
    }
}

#[typetag::serde(name = "ForebayLake")]
impl StorageFactory for Bridge {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde(name = "ForebayLake")]
impl Storage for Bridge {
    async fn exists(&self, location: &str) -> Result<bool> {
        let path = self.path(location)?;
        match self.0.objects().head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(to_iceberg(from_objects("look for an object", path, e))),
        }
    }

    async fn metadata(&self, location: &str) -> Result<FileMetadata> {
        let path = self.path(location)?;
        let head = self.0.objects().head(&path).await;
        let head = head.map_err(|e| to_iceberg(from_objects("look for an object", path, e)))?;
        Ok(FileMetadata { size: head.size })
    }

    async fn read(&self, location: &str) -> Result<Bytes> {
        self.0.read(&self.path(location)?).await.map_err(to_iceberg)
    }

    async fn reader(&self, location: &str) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader {
            storage: Arc::clone(&self.0),
            path: self.path(location)?,
        }))
    }

    async fn write(&self, location: &str, bytes: Bytes) -> Result<()> {
        self.0
            .write(&self.path(location)?, bytes)
            .await
            .map_err(to_iceberg)
    }

    async fn writer(&self, location: &str) -> Result<Box<dyn FileWrite>> {
        let path = self.path(location)?;
        Ok(Box::new(Writer {
            storage: Arc::clone(&self.0),
            path,
            buffer: Some(BytesMut::new()),
        }))
    }

    async fn delete(&self, location: &str) -> Result<()> {
        self.remove(&self.path(location)?).await
    }

    async fn delete_prefix(&self, location: &str) -> Result<()> {
        let path = self.path(location)?;
        let mut found = self.0.objects().list(Some(&path));
        while let Some(object) = found.next().await {
            let object = object.map_err(|e| to_iceberg(from_objects("list objects", &path, e)))?;
            self.remove(&object.location).await?;
        }
        Ok(())
    }

    async fn delete_stream(&self, mut locations: BoxStream<'static, String>) -> Result<()> {
        while let Some(location) = locations.next().await {
            self.delete(&location).await?;
        }
        Ok(())
    }

    fn new_input(&self, location: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), location.to_owned()))
    }

    fn new_output(&self, location: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), location.to_owned()))
    }
}

struct Reader {
    storage: Arc<LakeStorage>,
    path: Path,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.storage.objects().get_range(&self.path, range).await;
        bytes.map_err(|e| to_iceberg(from_objects("read an object", &self.path, e)))
    }
}

/// Gathers a manifest or manifest list (a few MiB) and writes it when it is closed.
struct Writer {
    storage: Arc<LakeStorage>,
    path: Path,
    buffer: Option<BytesMut>,
}

impl Writer {
    fn closed() -> iceberg::Error {
        iceberg::Error::new(iceberg::ErrorKind::Unexpected, "the file is closed already")
    }
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.buffer
            .as_mut()
            .ok_or_else(Self::closed)?
            .extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let bytes = self.buffer.take().ok_or_else(Self::closed)?.freeze();
        self.storage
            .write(&self.path, bytes)
            .await
            .map_err(to_iceberg)
    }
}
