//! The operations of the two services that are answered here, and the two encodings of their requests.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use forebay_core::{Error, Result};

use crate::answer::shorten;

/// A service of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Kinesis,
    Firehose,
}

impl Service {
    /// The name in the scope of a signature.
    pub(super) fn name(self) -> &'static str {
        match self {
            Service::Kinesis => "kinesis",
            Service::Firehose => "firehose",
        }
    }
}

/// The requested operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    PutRecord,
    PutRecords,
    DescribeStream,
    DescribeStreamSummary,
    ListShards,
    ListStreams,
    PutDeliveryRecord,
    PutRecordBatch,
    DescribeDeliveryStream,
    ListDeliveryStreams,
}

/// Every operation with its target.
const OPERATIONS: [(&str, Operation); 10] = [
    ("Kinesis_20131202.PutRecord", Operation::PutRecord),
    ("Kinesis_20131202.PutRecords", Operation::PutRecords),
    ("Kinesis_20131202.DescribeStream", Operation::DescribeStream),
    (
        "Kinesis_20131202.DescribeStreamSummary",
        Operation::DescribeStreamSummary,
    ),
    ("Kinesis_20131202.ListShards", Operation::ListShards),
    ("Kinesis_20131202.ListStreams", Operation::ListStreams),
    ("Firehose_20150804.PutRecord", Operation::PutDeliveryRecord),
    (
        "Firehose_20150804.PutRecordBatch",
        Operation::PutRecordBatch,
    ),
    (
        "Firehose_20150804.DescribeDeliveryStream",
        Operation::DescribeDeliveryStream,
    ),
    (
        "Firehose_20150804.ListDeliveryStreams",
        Operation::ListDeliveryStreams,
    ),
];

impl Operation {
    /// Errors: `Unsupported` `unknown_operation`.
    pub(super) fn of(target: &str) -> Result<Self> {
        let found = OPERATIONS.iter().find(|(name, _)| *name == target);
        found.map(|(_, operation)| *operation).ok_or_else(|| {
            let what = format!("`{}` is not an operation of this endpoint", shorten(target));
            Error::unsupported("unknown_operation", what)
        })
    }

    pub(super) fn service(self) -> Service {
        match self {
            Self::PutDeliveryRecord
            | Self::PutRecordBatch
            | Self::DescribeDeliveryStream
            | Self::ListDeliveryStreams => Service::Firehose,
            _ => Service::Kinesis,
        }
    }

    /// Whether it is about all streams, and names none.
    pub(super) fn lists(self) -> bool {
        matches!(self, Self::ListStreams | Self::ListDeliveryStreams)
    }

    /// Whether its records have answers of their own.
    pub(super) fn has_many_records(self) -> bool {
        matches!(self, Self::PutRecords | Self::PutRecordBatch)
    }
}

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    /// Of the SDKs for Java.
    Cbor,
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(CONTENT_TYPE);
        let is_cbor = kind.is_some_and(|kind| kind.as_bytes().starts_with(CBOR.as_bytes()));
        if is_cbor { Self::Cbor } else { Self::Json }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Cbor => CBOR,
        }
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";
