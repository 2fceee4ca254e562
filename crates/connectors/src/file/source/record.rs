//! The record of a loaded file: 26 bytes of hashes and its size.

use sha2::{Digest, Sha256};

use super::folder::{Found, Identity, Stat};

pub(super) const PLACE: usize = 6;
const SIZE: usize = 5;
const CONTENT: usize = 6;
pub(super) const LOOK: usize = 5;
pub(super) const MODIFIED: usize = 2;
pub(super) const INODE: usize = 2;
/// Replaces the time of a removed file in records of earlier versions.
const VANISHED_TIME: [u8; MODIFIED] = [0; MODIFIED];
/// Set in every look. A look without it is that of a removed file.
const LOOK_BIT: u8 = 1;
const UNKNOWN: [u8; LOOK] = [0; LOOK];
/// Values in place of a look, which no look can have: see [`Presence`].
const REPLACED: [u8; LOOK] = [0, 0, 0, 0, 1];
const SUPERSEDED: [u8; LOOK] = [0, 0, 0, 0, 2];
const VANISHED: [u8; LOOK] = [0, 0, 0, 0, 3];
const BASE: [u8; LOOK] = [0, 0, 0, 0, 4];
/// Bytes of a record, in a position and in memory.
pub(super) const RECORD_BYTES: usize = PLACE + SIZE + CONTENT + LOOK + MODIFIED + INODE;

/// Largest file whose size a record keeps: 1 TiB.
const SIZE_MAX: u64 = (1 << (8 * SIZE)) - 1;

/// A loaded file, or the loaded part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TakenRecord {
    /// Hash of the name.
    pub(super) place: [u8; PLACE],
    /// Bytes loaded, big-endian.
    size: [u8; SIZE],
    /// Digest of those bytes, truncated.
    content: [u8; CONTENT],
    /// Hash of the whole [`Stat`]: if equal, the file is the same without reading it. Zeros when the stat is not
    /// reliable; when the content is no longer at its path, a marker of what became of it.
    pub(super) look: [u8; LOOK],
    /// Hash of the time of the last change of its content, which a move keeps.
    pub(super) modified: [u8; MODIFIED],
    /// Hash of inode and device, which a rename keeps.
    pub(super) inode: [u8; INODE],
}

/// Whether the content of a record is still at its path, as far as a run has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Current,
    /// The path has other content. Until a run has checked all files, one of another name may be this one, renamed.
    Replaced,
    /// … and none was this one.
    Superseded,
    /// A run found no file there, nor one that it could have been renamed to.
    Vanished,
    /// The current content begins with this one, which is all that is loaded of it: the part behind it was refused.
    Base,
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

    /// Whether the first `size` bytes of a file, with this digest, are the loaded ones.
    pub(super) fn agrees(&self, size: u64, sha256: &[u8; 32]) -> bool {
        self.size == cut_size(size) && self.content == first::<CONTENT>(sha256)
    }

    /// Bytes loaded.
    pub(super) fn size(&self) -> u64 {
        let mut size = [0; 8];
        size[8 - SIZE..].copy_from_slice(&self.size);
        u64::from_be_bytes(size)
    }

    /// Whether the other has the same name and content.
    pub(super) fn is_same_content(&self, other: &Self) -> bool {
        (self.place, self.size, self.content) == (other.place, other.size, other.content)
    }

    pub(super) fn presence(&self) -> Presence {
        match self.look {
            REPLACED => Presence::Replaced,
            SUPERSEDED => Presence::Superseded,
            BASE => Presence::Base,
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

    /// The record once its path has other content.
    pub(super) fn replaced(self) -> Self {
        let look = match self.presence() {
            Presence::Current | Presence::Replaced => REPLACED,
            Presence::Superseded | Presence::Vanished | Presence::Base => SUPERSEDED,
        };
        Self { look, ..self }
    }

    /// The record once a run has searched for its content under every name.
    pub(super) fn settled(self) -> Self {
        let mut look = self.look;
        match self.presence() {
            Presence::Current if look == UNKNOWN => look = VANISHED,
            Presence::Current | Presence::Vanished => look[0] &= !LOOK_BIT,
            Presence::Replaced | Presence::Superseded => look = SUPERSEDED,
            Presence::Base => {}
        }
        Self { look, ..self }
    }

    /// The record as the base of a path.
    pub(super) fn as_base(self, place: [u8; PLACE]) -> Self {
        Self {
            place,
            look: BASE,
            ..self
        }
    }

    /// Whether a file has the look that it had when it was loaded, also if it was removed in between.
    pub(super) fn has_look(&self, look: &[u8; LOOK]) -> bool {
        let mut own = self.look;
        if self.presence() == Presence::Vanished {
            own[0] |= LOOK_BIT;
        }
        own == *look
    }

    /// The record of a present file that [has its look](Self::has_look).
    pub(super) fn met(self, file: &Found) -> Self {
        Self {
            look: look_hash(&file.stat),
            modified: modified_hash(&file.stat),
            ..self
        }
    }

    /// Whether a file may be the removed one: its size and time are the same. Its content must be compared, too.
    pub(super) fn may_have_returned(&self, file: &Found) -> bool {
        self.presence() == Presence::Vanished
            && self.size() == file.stat.size
            && self.modified == modified_hash(&file.stat)
    }

    /// The smallest possible record of a place.
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

    /// Whether it belongs to a file of this name.
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

/// The look of a file, from its stat alone, in hex.
pub(super) fn look(stat: &Stat) -> String {
    hex::encode(look_digest(stat))
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
