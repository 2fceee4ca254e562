//! The beginning of the data for which `forebay init --from` writes a pipeline, and what a source needs to read it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use forebay_config::Document;
use forebay_connectors::source::SourceContext;
use forebay_core::{Compression, Error, ErrorKind, Result, SystemClock};
use forebay_formats::decode::Decoder;
use forebay_formats::framing::Framing;

use super::from::quoted;

/// Bytes of a file that are sampled.
const SAMPLE_BYTES: u64 = 64 << 10;

/// Bytes of a response that are searched for the next page, which many servers write at its end.
const RESPONSE_BYTES: usize = 16 << 20;

/// Code of the error for a response that is not the only page.
const MORE_PAGES: &str = "more_pages";

/// Code of the error for an address in a private network.
const ADDRESS_REFUSED: &str = "address_refused";

/// The beginning of a file or a response.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// Decompressed.
    pub(super) bytes: Vec<u8>,
    /// Whether the host is in a private network.
    pub(super) is_private: bool,
    /// The `paginate` that the response of a URL shows, as YAML.
    pub(super) paginate: Option<String>,
    /// Why there are no bytes.
    pub(super) fault: Option<Error>,
}

/// The beginning of a file.
///
/// # Errors
/// `Config` `no_such_file`.
pub(super) fn of_file(from: &str) -> Result<Sample> {
    let unreadable = |error: std::io::Error| {
        Error::config("no_such_file", format!("failed to read {from}")).with_source(error)
    };
    let mut bytes = Vec::new();
    let file = File::open(from).map_err(unreadable)?;
    file.take(SAMPLE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(Sample {
        bytes: decompressed(bytes),
        ..Sample::default()
    })
}

/// The beginning of the response of a URL. One that cannot be read now may need a credential: the pipeline is written all
/// the same.
///
/// # Errors
/// Those of an address that no source may connect to.
pub(super) async fn of_url(url: &str) -> Result<Sample> {
    let mut sample = Sample::default();
    let mut is_single = false;
    loop {
        let error = match request(url, sample.is_private, is_single).await {
            Ok(bytes) => return sample.of_response(bytes),
            Err(error) => error,
        };
        match error.code() {
            ADDRESS_REFUSED if !sample.is_private => sample.is_private = true,
            ADDRESS_REFUSED => return Err(error),
            MORE_PAGES if !is_single => {
                is_single = true;
                sample.paginate = paginate_of(&error);
            }
            _ if error.kind() == ErrorKind::Config => return Err(error),
            _ => {
                sample.fault = Some(error);
                return Ok(sample);
            }
        }
    }
}

impl Sample {
    fn of_response(self, body: Vec<u8>) -> Result<Self> {
        let text = expanded(body, RESPONSE_BYTES);
        let source = forebay_connectors::find_source("http")?;
        let paginate = self.paginate.or_else(|| source.proposed_paginate(&text));
        Ok(Self {
            bytes: decompressed(text),
            paginate,
            ..self
        })
    }
}

/// The proposal in the error for a response that is not the only page.
fn paginate_of(error: &Error) -> Option<String> {
    let mut context = error.context();
    context.find_map(|(key, value)| (key == "paginate").then(|| value.to_owned()))
}

/// The body, as the source of a pipeline receives it.
async fn request(url: &str, is_private: bool, is_single: bool) -> Result<Vec<u8>> {
    let paginate = if is_single { ", paginate: none" } else { "" };
    let text = format!(
        "{{url: {}, allow_private: {is_private}, retry: {{attempts: 2, max_delay: 1s}}{paginate}}}",
        quoted(url)
    );
    let source = forebay_connectors::find_source("http")?.build(&Document::from_yaml(&text)?)?;
    let context = SourceContext::alone(SystemClock::shared(), Path::new("."), Framing::Whole)?;
    let splits = source.splits(&context).await?;
    let Some(split) = splits.first() else {
        return Ok(Vec::new());
    };
    let mut reader = source.open(split, None, context).await?;
    let chunk = reader.next().await?;
    Ok(chunk.map(|chunk| chunk.bytes.to_vec()).unwrap_or_default())
}

/// The beginning of a compressed file, decompressed as far as the sample goes; others as they are.
pub(super) fn decompressed(sample: Vec<u8>) -> Vec<u8> {
    expanded(sample, usize::try_from(SAMPLE_BYTES).unwrap_or(usize::MAX))
}

/// At most so many bytes of a text that may be compressed.
fn expanded(mut sample: Vec<u8>, most: usize) -> Vec<u8> {
    let compression = match sample.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => {
            sample.truncate(most);
            return sample;
        }
    };
    let mut plain = Vec::new();
    let mut take = |bytes: &[u8]| {
        plain.extend_from_slice(bytes);
        match plain.len() > most {
            true => Err(Error::data("sample", "the sample is large enough")),
            false => Ok(()),
        }
    };
    // An error is no matter: what came before it is enough to guess from.
    let _ = Decoder::new(compression).and_then(|mut decoder| decoder.push(&sample, &mut take));
    plain.truncate(most);
    plain
}
