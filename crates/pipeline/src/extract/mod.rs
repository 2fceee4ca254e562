//! Extractors: from payloads to typed rows.
//!
//! An extractor is a push parser: chunks in, batches and rejected records out. It holds the contract (the shape of the
//! records, with types) and grows it by policy. It does no I/O and never drops a record: each becomes a row or a
//! [`Rejected`].

mod added_columns;
#[cfg(feature = "kafka")]
pub mod avro;
pub mod case;
mod column_name;
pub mod contract;
pub mod csv;
pub mod decode;
pub(crate) mod doubles;
pub mod file_columns;
pub mod json;
pub(crate) mod learned;
pub(crate) mod magic;
pub mod message;
pub mod parquet;
#[cfg(feature = "kafka")]
pub mod protobuf;
pub(crate) mod shortest;
pub mod table;
pub(crate) mod untyped;
mod wire;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use forebay_core::{Batch, Error, PayloadHead, Rejected, Result};
use object_store::ObjectStore;
use schemars::Schema;

use crate::extract::contract::{Contract, ContractPolicy};
use crate::file::Document;
use crate::source::{FileHeading, Framing};

/// Every extractor there is, in the order of the reference.
pub const EXTRACTORS: &[&dyn ExtractorKind] = &[
    &json::Kind,
    &csv::Kind,
    &parquet::Kind,
    #[cfg(feature = "kafka")]
    &avro::Kind,
    #[cfg(feature = "kafka")]
    &protobuf::Kind,
    &table::Kind,
];

/// A kind of extractor: what a pipeline file may write under `extract:`.
pub trait ExtractorKind: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> Schema;
    /// Checks a configuration and makes the factory that each split uses.
    fn build(&self, config: &Document) -> Result<Box<dyn Extractor>>;
}

/// A configured extractor; makes one [`Extraction`] per split.
pub trait Extractor: fmt::Debug + Send + Sync {
    fn framing(&self) -> Framing;

    /// What records further on in a file of lines need of its beginning, and what may hide a line end.
    fn heading(&self) -> FileHeading {
        FileHeading::default()
    }

    /// Whether [`Extraction::messages`] works; otherwise a source gives each message as a payload of its own.
    fn takes_messages(&self) -> bool {
        false
    }

    /// Whether it reads nothing but messages whose schemas a registry has.
    fn needs_registry(&self) -> bool {
        false
    }

    /// `contract` is what earlier runs have learned (`None` on the first). `records` is the path to the records that
    /// the source declares (`source.http.records`), if any.
    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        records: Option<&str>,
    ) -> Result<Box<dyn Extraction>>;
}

/// What one call gave. A call that may give much hands it on in pieces meanwhile (see [`Self::relieve`]), so that what a few bytes
/// expand to is never in memory as a whole.
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

/// Takes what an extractor gives while it is at work.
pub trait Outlet: fmt::Debug + Send + Sync {
    /// `piece` holds whole records: parents with all of their children.
    fn take(&self, piece: Extracted) -> Result<()>;
}

/// Most refusals that are held before they are handed on.
pub const REFUSALS_MAX: usize = 4_096;
/// Bytes of refused records that are held before they are handed on.
const REFUSED_BYTES_MAX: usize = 4 << 20;

impl Extracted {
    /// What is given passes through `outlet`.
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

    /// Hands on what there is if that is a batch, or many refusals. Called between two records; without an outlet everything is
    /// held.
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

    /// What is held, without the outlet.
    pub(crate) fn take_held(&mut self) -> Self {
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
    /// Where it lies in the bytes that are given with it.
    pub bytes: Range<usize>,
    /// Where it lies in its payload.
    pub at: u64,
}

/// Extracts the payloads of one split, in order. Runs on a blocking thread.
pub trait Extraction: Send {
    /// Takes decompressed bytes of a payload. Batches may be held back until [`Self::flush`].
    ///
    /// An error means the extractor itself cannot go on (a contract that cannot be held); bad records and bad payloads
    /// come back as `rejected`.
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()>;

    /// Takes a payload that [packs messages](PayloadHead::messages), whole.
    fn packed(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        let _ = (head, bytes, out);
        Err(Error::unsupported(
            "packed_messages",
            "the payload packs messages, and the extractor takes none",
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
            "this extractor takes one message at a time",
        ))
    }

    /// The payload is complete; `Err` of a decoder comes as `broken` with what is wrong.
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

    /// Goes on giving out what [`Self::object`] began with, a bounded part a call; `false` when there is no more.
    /// [`Self::flush`] gives out the rest at once.
    fn more(&mut self, out: &mut Extracted) -> Result<bool> {
        let _ = out;
        Ok(false)
    }

    fn wants_object(&self) -> bool {
        false
    }

    /// Whether a payload that begins so is of this extractor's own format, which others take for a foreign one.
    fn knows(&self, start: &[u8]) -> bool {
        let _ = start;
        false
    }

    /// Whether what has been pushed ends between two records, so that another extraction could go on from here. Asked where
    /// the source could resume; the answer is the same whatever chunks the bytes came in.
    fn is_between_records(&self) -> bool {
        true
    }

    /// What a payload that goes on where an earlier run left it needs besides its own bytes, as an attribute. It is kept
    /// with the payload in the raw zone, so that the payload can be extracted again on its own. Asked once for each payload
    /// when it first comes.
    fn carried(&mut self, head: &PayloadHead) -> Option<(String, String)> {
        let _ = head;
        None
    }

    /// Rows that are held back.
    fn pending_rows(&self) -> u64 {
        0
    }

    /// Gives up every batch that is held back.
    fn flush(&mut self, out: &mut Extracted) -> Result<()>;

    /// The contract as it stands now, to be committed with the rows.
    fn contract(&self) -> Contract;
}

/// A payload that lies in the raw zone.
#[derive(Debug, Clone)]
pub struct ObjectInput<'a> {
    pub objects: &'a Arc<dyn ObjectStore>,
    pub path: &'a object_store::path::Path,
    /// The runtime on which asynchronous reads run while this thread blocks.
    pub runtime: &'a tokio::runtime::Handle,
}

/// The kind of this name.
pub fn find(name: &str) -> Result<&'static dyn ExtractorKind> {
    EXTRACTORS
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| {
            Error::config(
                "unknown_component",
                format!("there is no extractor `{name}`"),
            )
        })
}
