//! Measures `extract: json` alone: rows per CPU-second from NDJSON in memory to Arrow.
//!
//! ```text
//! cargo run --release -p forebay-formats --example json -- events.ndjson [keep|flatten|tables] [repeats]
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use forebay_core::{Compression, Error, PayloadHead, Result, Timestamp};
use forebay_formats::contract::ContractPolicy;
use forebay_formats::json::{Config, Json, Nested};
use forebay_formats::{Extracted, Extractor};
use rustix::time::{ClockId, clock_gettime};

/// Bytes of a chunk, as a source would give them.
const CHUNK: usize = 1 << 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().ok_or_else(usage)?;
    let nested = match arguments.get(1).map(String::as_str) {
        None | Some("flatten") => Nested::Flatten,
        Some("keep") => Nested::Keep,
        Some("tables") => Nested::Tables,
        Some(_) => return Err(usage()),
    };
    let repeats = arguments
        .get(2)
        .map_or(Ok(3), |text| text.parse())
        .map_err(|_| usage())?;
    let text = std::fs::read(path).map_err(|error| {
        Error::not_found("no_file", format!("failed to read {path}")).with_source(error)
    })?;
    for _ in 0..repeats {
        measure(&text, nested)?;
    }
    Ok(())
}

fn usage() -> Error {
    Error::config("usage", "json FILE.ndjson [keep|flatten|tables] [repeats]")
}

fn measure(text: &[u8], nested: Nested) -> Result<()> {
    let json = Json::new(Config {
        lines: Some(true),
        nested,
        ..Config::default()
    })?;
    let mut extraction = json.start(None, &ContractPolicy::default(), None)?;
    let head = head();
    let (mut rows, mut all, mut rejected, mut bytes) = (0, 0, 0, 0);
    let before = cpu_seconds();
    let mut take = |out: &mut Extracted| {
        rows += out.rows();
        all += out
            .batches
            .iter()
            .map(|batch| batch.records.num_rows())
            .sum::<usize>();
        bytes += out
            .batches
            .iter()
            .map(|batch| batch.records.get_array_memory_size())
            .sum::<usize>();
        rejected += out.rejected.len();
        *out = Extracted::default();
    };
    let mut out = Extracted::default();
    for chunk in text.chunks(CHUNK) {
        extraction.push(&head, chunk, &mut out)?;
        take(&mut out);
    }
    extraction.end(&head, None, &mut out)?;
    extraction.flush(&mut out)?;
    take(&mut out);
    let seconds = cpu_seconds() - before;
    let rate = |count: usize| (count as f64 / seconds) as u64;
    let line = format!(
        "{rows} rows ({all} in all tables, {rejected} rejected) in {seconds:.3} cpu-s: {} rows/cpu-s, {} MB/cpu-s in, {} MB of Arrow\n",
        rate(rows),
        rate(text.len()) / 1_000_000,
        bytes / 1_000_000
    );
    std::io::stdout()
        .write_all(line.as_bytes())
        .map_err(|error| Error::unavailable("stdout", "failed to print").with_source(error))
}

fn head() -> Arc<PayloadHead> {
    Arc::new(PayloadHead {
        ordinal: 0,
        name: "measured".to_owned(),
        received_at: Timestamp(0),
        content_type: None,
        compression: Compression::None,
        attributes: BTreeMap::new(),
        messages: None,
    })
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
