//! The contract of an extractor: what it is asked, and the output of each call.
//!
//! Knows no format.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use forebay_config::{Component, Document};
use forebay_core::{Batch, Error, PayloadHead, Rejected, Result};
use object_store::ObjectStore;

use crate::contract::{Contract, ContractPolicy};
use crate::framing::{FileHeading, Framing};

/// A kind of extractor: the configuration under `extract:` in a pipeline file.
pub trait ExtractorKind: Component {
    /// Checks a configuration and makes the factory that each split uses.
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>>;

    /// The extractor of the source of its name, which it reads and no other: the file need not name it. `None` for the others.
    fn of_own_source(&self) -> Option<Box<dyn Extractor>> {
        None
    }
}

/// A configured extractor; makes one [`Extraction`] per split.
pub trait Extractor: fmt::Debug + Send + Sync {
    fn framing(&self) -> Framing;

    /// Whether records are JSON, so that a payload of anything else is none of them.
    fn reads_json(&self) -> bool {
        false
    }

    /// The header that later records of a file of lines need, and the quoting that may hide a line end.
    fn heading(&self) -> FileHeading {
        FileHeading::default()
    }

    /// Whether [`Extraction::messages`] is supported; otherwise a source passes each message as a payload of its own.
    fn takes_messages(&self) -> bool {
        false
    }

    /// Whether it only reads messages whose schemas are in a registry.
    fn needs_registry(&self) -> bool {
        false
    }

    /// `contract` is the learned contract of earlier runs (`None` on the first). `records` is the path to the records that
    /// the source declares (`source.http.records`), if any.
    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        records: Option<&str>,
    ) -> Result<Box<dyn Extraction>>;
}

/// The output of one call. A call with large output hands it on in pieces (see [`Self::relieve`]), so that the expansion of
/// a few bytes is never in memory as a whole.
#[derive(Debug, Default)]
pub struct Extracted {
    /// Parents before children; all batches of one call share no rows with any other call.
    pub batches: Vec<Batch>,
    pub rejected: Vec<Rejected>,
    outlet: Option<Arc<dyn Outlet>>,
    /// Refusals whose bytes are counted, and these bytes.
    counted: usize,
    refused_bytes: usize,
}

/// Receives the output of an extractor while it runs.
pub trait Outlet: fmt::Debug + Send + Sync {
    /// `piece` holds whole records: parents with all of their children.
    fn take(&self, piece: Extracted) -> Result<()>;
}

/// Most refusals that are held before they are handed on.
pub const REFUSALS_MAX: usize = 4_096;
/// Bytes of refused records that are held before they are handed on.
const REFUSED_BYTES_MAX: usize = 4 << 20;

impl Extracted {
    /// Output passes through `outlet`.
    pub fn into_outlet(outlet: Arc<dyn Outlet>) -> Self {
        Self {
            outlet: Some(outlet),
            ..Self::default()
        }
    }

    /// Rows and refusals.
    pub fn of(batches: Vec<Batch>, rejected: Vec<Rejected>) -> Self {
        Self {
            batches,
            rejected,
            ..Self::default()
        }
    }

    pub(crate) fn outlet(&self) -> Option<Arc<dyn Outlet>> {
        self.outlet.clone()
    }

    /// Hands on the pending output if it is a batch, or many refusals. Called between two records; without an outlet
    /// everything is held.
    #[inline]
    pub fn relieve(&mut self) -> Result<()> {
        if self.batches.is_empty() && self.rejected.len() == self.counted {
            return Ok(());
        }
        self.relieve_much()
    }

    #[cold]
    fn relieve_much(&mut self) -> Result<()> {
        let new = self.rejected.get(self.counted..).unwrap_or_default();
        self.refused_bytes += new
            .iter()
            .map(|refused| refused.record.len())
            .sum::<usize>();
        self.counted = self.rejected.len();
        let is_much = !self.batches.is_empty()
            || self.counted >= REFUSALS_MAX
            || self.refused_bytes >= REFUSED_BYTES_MAX;
        match self.outlet.clone().filter(|_| is_much) {
            Some(outlet) => outlet.take(self.take_held()),
            None => Ok(()),
        }
    }

    /// The pending output, without the outlet.
    pub fn take_held(&mut self) -> Self {
        (self.counted, self.refused_bytes) = (0, 0);
        Self::of(
            std::mem::take(&mut self.batches),
            std::mem::take(&mut self.rejected),
        )
    }

    pub fn rows(&self) -> usize {
        self.batches
            .iter()
            .filter(|batch| batch.child.is_empty())
            .map(|batch| batch.records.num_rows())
            .sum()
    }
}

/// The value of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its range in the bytes that are given with it.
    pub bytes: Range<usize>,
    /// Its offset in its payload.
    pub at: u64,
}

/// The answer of an extraction that reads objects only to the bytes of a stream.
pub(crate) fn needs_an_object() -> Error {
    let what = "the format is read from an object, not from a stream";
    Error::bug("needs_an_object", what)
}

/// Extracts the payloads of one split, in order. Runs on a blocking thread.
pub trait Extraction: Send {
    /// Takes decompressed bytes of a payload. Batches may be held back until [`Self::flush`].
    ///
    /// An error means the extractor itself cannot continue (a contract that cannot be held); bad records and bad payloads
    /// come back as `rejected`.
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()>;

    /// Takes a payload that [packs messages](PayloadHead::messages), whole.
    fn packed(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        let _ = (head, bytes, out);
        Err(Error::unsupported(
            "packed_messages",
            "the payload packs messages, which the extractor does not support",
        ))
    }

    /// Takes messages of one payload, in order: each is a document of its own.
    fn messages(
        &mut self,
        head: &Arc<PayloadHead>,
        bytes: &[u8],
        values: &[Value],
        out: &mut Extracted,
    ) -> Result<()> {
        let _ = (head, bytes, values, out);
        Err(Error::bug(
            "no_messages",
            "this extractor reads one message at a time",
        ))
    }

    /// The payload is complete; the error of a decoder is passed as `broken`.
    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()>;

    /// A payload as a file that can be read at random, for formats with a footer. Called instead of push and end when
    /// [`Self::wants_object`] is true.
    fn object(
        &mut self,
        head: &Arc<PayloadHead>,
        object: ObjectInput<'_>,
        out: &mut Extracted,
    ) -> Result<()> {
        let _ = (head, object, out);
        Err(Error::bug(
            "not_an_object_format",
            "this extractor reads streams",
        ))
    }

    /// Continues the output of [`Self::object`], a bounded part per call; `false` when there is no more. [`Self::flush`]
    /// returns the rest at once.
    fn more(&mut self, out: &mut Extracted) -> Result<bool> {
        let _ = out;
        Ok(false)
    }

    fn wants_object(&self) -> bool {
        false
    }

    /// Whether a payload with this start is of this extractor's own format, which others take for a foreign one.
    fn knows(&self, start: &[u8]) -> bool {
        let _ = start;
        false
    }

    /// Whether the pushed bytes end between two records, so that another extraction could resume here. Called where the
    /// source could resume; the answer does not depend on the chunks the bytes came in.
    fn is_between_records(&self) -> bool {
        true
    }

    /// State that a payload needs besides its own bytes when it resumes an earlier run's, as an attribute. It is kept with
    /// the payload in the raw zone, so that the payload can be extracted again on its own. Called once for each new
    /// payload.
    fn carried(&mut self, head: &PayloadHead) -> Option<(String, String)> {
        let _ = head;
        None
    }

    /// Rows that are held back.
    fn pending_rows(&self) -> u64 {
        0
    }

    /// Returns every batch that is held back.
    fn flush(&mut self, out: &mut Extracted) -> Result<()>;

    /// The current contract, to be committed with the rows.
    fn contract(&self) -> Contract;
}

/// A payload stored in the raw zone.
#[derive(Debug, Clone)]
pub struct ObjectInput<'a> {
    pub objects: &'a Arc<dyn ObjectStore>,
    pub path: &'a object_store::path::Path,
    /// The runtime on which asynchronous reads run while this thread blocks.
    pub runtime: &'a tokio::runtime::Handle,
}
