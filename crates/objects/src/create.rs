//! New objects: whole or not at all, and never over another.
//!
//! In a remote store an object is made by a create-only PUT that carries a nonce. When the answer is that something is
//! there already, or the request times out, the nonce of the object is read: ours means that it was created after all. A large
//! object is sent in parts; its name is fresh, and its nonce shows after a lost answer whether it was completed. On a
//! local disk `object_store` writes aside and renames; a caller that needs it durable has to sync it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, Result,
};
use tokio::task::JoinSet;
use uuid::Uuid;

/// Bytes of one part, and the largest object that is sent in one request. S3 asks for 5 MiB or more.
pub const PART_BYTES: usize = 8 << 20;
/// Parts on their way at once; more input waits.
pub const PARTS_MAX: usize = 4;
/// How often a create-only PUT is sent when its answer was lost and the object is not there.
const CREATE_TRIES_MAX: u32 = 3;
/// Metadata that names the attempt which made an object.
const NONCE: &str = "forebay-nonce";

/// Where objects are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// A file system: objects are moved into place.
    Disk,
    /// A store with conditional PUT and metadata.
    Remote,
}

/// Makes an object of bytes at hand.
///
/// Errors: `AlreadyExists` when another object has the name (not on a [`Medium::Disk`]).
pub async fn create(
    objects: &dyn ObjectStore,
    path: &Path,
    bytes: Bytes,
    medium: Medium,
) -> Result<()> {
    if medium == Medium::Disk {
        return objects.put(path, bytes.into()).await.map(|_| ());
    }
    let nonce = Uuid::new_v4().to_string();
    match create_as(objects, path, bytes, &nonce).await? {
        Created::Ours => Ok(()),
        Created::Another => Err(Error::AlreadyExists {
            path: path.to_string(),
            source: "it is another's object".into(),
        }),
    }
}

/// Whose object has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was made, now or by an earlier try with the same nonce.
    Ours,
    /// Somebody else was first; nothing was changed.
    Another,
}

/// Makes an object of bytes at hand in a remote store, under a nonce that no other writer has. It may be called again with
/// the same nonce and bytes: after an error it is not known whether the object is there.
pub async fn create_as(
    objects: &dyn ObjectStore,
    path: &Path,
    bytes: Bytes,
    nonce: &str,
) -> Result<Created> {
    let mut tries = 1;
    loop {
        let options = PutOptions {
            mode: PutMode::Create,
            attributes: attributes(nonce),
            ..PutOptions::default()
        };
        let put = objects.put_opts(path, bytes.clone().into(), options).await;
        let Err(error) = put else {
            return Ok(Created::Ours);
        };
        if !is_unknown(&error) {
            return Err(error);
        }
        match made_by(objects, path, nonce).await {
            Ok(Made::Us) => return Ok(Created::Ours),
            Ok(Made::Another) => return Ok(Created::Another),
            Ok(Made::Nobody) if tries < CREATE_TRIES_MAX => tries += 1,
            _ => return Err(error),
        }
    }
}

/// An object that is written in parts. Dropped before [`Self::finish`] it leaves nothing: its upload is aborted, as far
/// as the runtime still lives.
pub struct NewObject {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    medium: Medium,
    nonce: String,
    upload: Option<Upload>,
}

struct Upload {
    target: Box<dyn MultipartUpload>,
    under_way: JoinSet<Result<()>>,
}

impl fmt::Debug for NewObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewObject")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl NewObject {
    pub fn new(objects: Arc<dyn ObjectStore>, path: Path, medium: Medium) -> Self {
        Self {
            objects,
            path,
            medium,
            nonce: Uuid::new_v4().to_string(),
            upload: None,
        }
    }

    /// Whether parts have been sent.
    pub fn is_begun(&self) -> bool {
        self.upload.is_some()
    }

    /// Sends the next part, at least [`PART_BYTES`]; waits while [`PARTS_MAX`] are on their way.
    pub async fn part(&mut self, bytes: Bytes) -> Result<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(Upload {
                target: begin(&self.objects, &self.path, self.medium, &self.nonce).await?,
                under_way: JoinSet::new(),
            }),
        };
        upload.wait(PARTS_MAX - 1).await?;
        let part = upload.target.put_part(bytes.into());
        upload.under_way.spawn(part);
        Ok(())
    }

    /// Makes the object visible, with `rest` as its end.
    pub async fn finish(mut self, rest: Bytes) -> Result<()> {
        if self.upload.is_none() {
            return create(self.objects.as_ref(), &self.path, rest, self.medium).await;
        }
        if !rest.is_empty() {
            self.part(rest).await?;
        }
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        upload.wait(0).await?;
        let completed = upload.target.complete().await;
        let done = match completed {
            Ok(_) => Ok(()),
            // A repeated request finds no upload any more when the first one was carried out.
            Err(error) if self.medium == Medium::Remote => {
                match made_by(self.objects.as_ref(), &self.path, &self.nonce).await {
                    Ok(Made::Us) => Ok(()),
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        if done.is_ok() {
            self.upload = None;
        }
        done
    }
}

impl Drop for NewObject {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let path = self.path.clone();
        runtime.spawn(async move {
            // A part that arrives after the abort would stay in the store.
            while upload.under_way.join_next().await.is_some() {}
            if let Err(error) = upload.target.abort().await {
                tracing::warn!(object = %path, %error, "failed to abort upload, its parts stay in the store");
            }
        });
    }
}

impl Upload {
    /// Waits until at most `most` parts are on their way.
    async fn wait(&mut self, most: usize) -> Result<()> {
        while self.under_way.len() > most {
            if let Some(part) = self.under_way.join_next().await {
                part??;
            }
        }
        Ok(())
    }
}

async fn begin(
    objects: &Arc<dyn ObjectStore>,
    path: &Path,
    medium: Medium,
    nonce: &str,
) -> Result<Box<dyn MultipartUpload>> {
    let options = match medium {
        Medium::Disk => PutMultipartOptions::default(),
        Medium::Remote => PutMultipartOptions {
            attributes: attributes(nonce),
            ..PutMultipartOptions::default()
        },
    };
    objects.put_multipart_opts(path, options).await
}

fn attributes(nonce: &str) -> Attributes {
    [(Attribute::Metadata(NONCE.into()), nonce.to_owned())]
        .into_iter()
        .collect()
}

/// Whether a request may have been carried out although it failed.
fn is_unknown(error: &Error) -> bool {
    matches!(
        error,
        Error::Generic { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. }
    )
}

enum Made {
    Us,
    Another,
    Nobody,
}

async fn made_by(objects: &dyn ObjectStore, path: &Path, nonce: &str) -> Result<Made> {
    let head = GetOptions {
        head: true,
        ..GetOptions::default()
    };
    match objects.get_opts(path, head).await {
        Ok(found) => {
            let theirs = found.attributes.get(&Attribute::Metadata(NONCE.into()));
            let ours = theirs.is_some_and(|theirs| theirs.as_ref() == nonce);
            Ok(if ours { Made::Us } else { Made::Another })
        }
        Err(Error::NotFound { .. }) => Ok(Made::Nobody),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
