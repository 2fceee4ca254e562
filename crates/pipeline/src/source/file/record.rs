//! What is remembered of a file that was taken: 26 bytes of hashes, and its size.

use sha2::{Digest, Sha256};

use super::digest::hex;
use super::folder::{Found, Identity, Stat};

pub(super) const PLACE: usize = 6;
const SIZE: usize = 5;
const CONTENT: usize = 6;
pub(super) const LOOK: usize = 5;
pub(super) const MODIFIED: usize = 2;
pub(super) const INODE: usize = 2;
/// In place of the time of a file that has vanished, in records of earlier versions.
const VANISHED_TIME: [u8; MODIFIED] = [0; MODIFIED];
/// Set in every look. Without it a look is that of a file that has vanished.
const LOOK_BIT: u8 = 1;
const UNKNOWN: [u8; LOOK] = [0; LOOK];
/// In place of the look, which is never like these: see [`Presence`].
const REPLACED: [u8; LOOK] = [0, 0, 0, 0, 1];
const SUPERSEDED: [u8; LOOK] = [0, 0, 0, 0, 2];
const VANISHED: [u8; LOOK] = [0, 0, 0, 0, 3];
/// Bytes of a record, in a position and in memory.
pub(super) const RECORD_BYTES: usize = PLACE + SIZE + CONTENT + LOOK + MODIFIED + INODE;

/// Largest file whose size a record keeps: 1 TiB.
const SIZE_MAX: u64 = (1 << (8 * SIZE)) - 1;

/// A file that was taken, or the part of it that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TakenRecord {
    /// Hash of the name.
    pub(super) place: [u8; PLACE],
    /// Bytes taken, big-endian.
    size: [u8; SIZE],
    /// Digest of those bytes, cut.
    content: [u8; CONTENT],
    /// Hash of all that [`Stat`] says: equal, the file is the same without reading it. Zeros when it says too little; when the
    /// content lies there no more, what became of it.
    pub(super) look: [u8; LOOK],
    /// Hash of the time of the last change of its content, which a move keeps.
    pub(super) modified: [u8; MODIFIED],
    /// Hash of inode and device, which a rename keeps.
    pub(super) inode: [u8; INODE],
}

/// Whether the content of a record still lies at its path, as far as a run has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Current,
    /// Another content lies there. Until a run has looked at all files, one of another name may be this one, renamed.
    Replaced,
    /// … and none was.
    Superseded,
    /// A run saw that there was no file any more, nor one that it could have been renamed to.
    Vanished,
}

impl TakenRecord {
    pub(super) fn of(file: &Found, size: u64, sha256: &[u8]) -> Self {
        Self {
            place: place_hash(&file.name),
            size: cut_size(size),
            content: first(sha256),
            look: [0; LOOK],
            modified: modified_hash(&file.stat),
            inode: inode_hash(&file.stat).unwrap_or_default(),
        }
    }

    /// Whether the first `size` bytes of a file, with this digest, are what was taken.
    pub(super) fn agrees(&self, size: u64, sha256: &[u8; 32]) -> bool {
        self.size == cut_size(size) && self.content == first::<CONTENT>(sha256)
    }

    /// Bytes taken.
    pub(super) fn size(&self) -> u64 {
        let mut size = [0; 8];
        size[8 - SIZE..].copy_from_slice(&self.size);
        u64::from_be_bytes(size)
    }

    /// Whether the other is of the same name and says the same of its content.
    pub(super) fn is_same_content(&self, other: &Self) -> bool {
        (self.place, self.size, self.content) == (other.place, other.size, other.content)
    }

    pub(super) fn presence(&self) -> Presence {
        match self.look {
            REPLACED => Presence::Replaced,
            SUPERSEDED => Presence::Superseded,
            UNKNOWN => Presence::Current,
            look if look[0] & LOOK_BIT == 0 => Presence::Vanished,
            _ if self.modified == VANISHED_TIME => Presence::Vanished,
            _ => Presence::Current,
        }
    }

    pub(super) fn is_current(&self) -> bool {
        self.presence() == Presence::Current
    }

    /// Whether a file of another name may be this one, renamed since the run before.
    pub(super) fn may_be_renamed(&self) -> bool {
        matches!(self.presence(), Presence::Current | Presence::Replaced)
    }

    /// The record once another content lies at its path.
    pub(super) fn replaced(self) -> Self {
        let look = match self.presence() {
            Presence::Current | Presence::Replaced => REPLACED,
            Presence::Superseded | Presence::Vanished => SUPERSEDED,
        };
        Self { look, ..self }
    }

    /// The record once a run has looked for its content under every name.
    pub(super) fn settled(self) -> Self {
        let mut look = self.look;
        match self.presence() {
            Presence::Current if look == UNKNOWN => look = VANISHED,
            Presence::Current | Presence::Vanished => look[0] &= !LOOK_BIT,
            Presence::Replaced | Presence::Superseded => look = SUPERSEDED,
        }
        Self { look, ..self }
    }

    /// Whether a file looks as it did when it was taken, also when it had vanished since.
    pub(super) fn has_look(&self, look: &[u8; LOOK]) -> bool {
        let mut own = self.look;
        if self.presence() == Presence::Vanished {
            own[0] |= LOOK_BIT;
        }
        own == *look
    }

    /// The record of a file that [looks so](Self::has_look) and is there.
    pub(super) fn met(self, file: &Found) -> Self {
        Self {
            look: look_hash(&file.stat),
            modified: modified_hash(&file.stat),
            ..self
        }
    }

    /// Whether a file that comes back is the one that vanished: its size and time are the same. Its content has to be, too.
    pub(super) fn may_have_returned(&self, file: &Found) -> bool {
        self.presence() == Presence::Vanished
            && self.size() == file.stat.size
            && self.modified == modified_hash(&file.stat)
    }

    /// The least of all records of a place.
    pub(super) fn first_at(place: [u8; PLACE]) -> Self {
        Self {
            place,
            size: [0; SIZE],
            content: [0; CONTENT],
            look: [0; LOOK],
            modified: [0; MODIFIED],
            inode: [0; INODE],
        }
    }

    /// Whether it is of a file of this name.
    pub(super) fn is_at(&self, name: &str) -> bool {
        self.place == place_hash(name)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.place);
        out.extend_from_slice(&self.size);
        out.extend_from_slice(&self.content);
        out.extend_from_slice(&self.look);
        out.extend_from_slice(&self.modified);
        out.extend_from_slice(&self.inode);
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (place, bytes) = bytes.split_first_chunk::<PLACE>()?;
        let (size, bytes) = bytes.split_first_chunk::<SIZE>()?;
        let (content, bytes) = bytes.split_first_chunk::<CONTENT>()?;
        let (look, bytes) = bytes.split_first_chunk::<LOOK>()?;
        let (modified, bytes) = bytes.split_first_chunk::<MODIFIED>()?;
        let (inode, _) = bytes.split_first_chunk::<INODE>()?;
        Some(Self {
            place: *place,
            size: *size,
            content: *content,
            look: *look,
            modified: *modified,
            inode: *inode,
        })
    }
}

fn cut_size(size: u64) -> [u8; SIZE] {
    first(&size.min(SIZE_MAX).to_be_bytes()[8 - SIZE..])
}

pub(super) fn place_hash(name: &str) -> [u8; PLACE] {
    first(&Sha256::digest(name.as_bytes()))
}

pub(super) fn look_hash(stat: &Stat) -> [u8; LOOK] {
    let mut look = first::<LOOK>(&look_digest(stat));
    look[0] |= LOOK_BIT;
    look
}

pub(super) fn modified_hash(stat: &Stat) -> [u8; MODIFIED] {
    match first(&Sha256::digest(stat.modified.micros().to_be_bytes())) {
        VANISHED_TIME => [0, 1],
        hash => hash,
    }
}

/// Objects of a bucket have none.
pub(super) fn inode_hash(stat: &Stat) -> Option<[u8; INODE]> {
    match &stat.identity {
        Identity::Inode { inode, device, .. } => {
            let digest = Sha256::new()
                .chain_update(inode.to_be_bytes())
                .chain_update(device.to_be_bytes());
            Some(first(&digest.finalize()))
        }
        Identity::Tag(_) => None,
    }
}

/// What a file looks like without reading it, in hex.
pub(super) fn look(stat: &Stat) -> String {
    hex(&look_digest(stat))
}

pub(super) fn look_digest(stat: &Stat) -> [u8; 32] {
    let digest = Sha256::new()
        .chain_update(stat.modified.micros().to_be_bytes())
        .chain_update(stat.size.to_be_bytes());
    let digest = match &stat.identity {
        Identity::Inode {
            changed,
            inode,
            device,
        } => digest
            .chain_update(changed.0.to_be_bytes())
            .chain_update(changed.1.to_be_bytes())
            .chain_update(inode.to_be_bytes())
            .chain_update(device.to_be_bytes()),
        Identity::Tag(etag) => digest.chain_update(etag.as_deref().unwrap_or_default()),
    };
    digest.finalize().into()
}

/// The first bytes of a hash.
pub(super) fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut short = [0; N];
    let length = N.min(digest.len());
    short[..length].copy_from_slice(&digest[..length]);
    short
}
