//! The first stage: reads chunks from the source and hands them on, no faster than they are taken.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Chunk, Error, Position, Result};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::engine::Figures;
use crate::engine::RunContext;
use crate::engine::audit::Requests;
use crate::engine::stages::Job;
use crate::engine::stages::stage_gone;
use crate::platform::raw::OwnPayloads;
use crate::platform::{LoadedTable, PlatformContext};
use crate::position_objects::PositionObjects;
use crate::spec::PipelineSpec;
use forebay_config::SecretCover;
use forebay_connectors::source::{RequestLog, RequestRecord, SourceContext};

/// Chunks between the source and the next stage; with chunks of at most a page or a few MiB this bounds the memory.
pub(in crate::engine) const CHUNKS_MAX: usize = 4;

/// How long a source may drain its buffered data when the run has to end.
const DRAIN: Duration = Duration::from_secs(10);

/// The output of the reader.
#[derive(Debug)]
pub(in crate::engine) enum Read {
    Chunk(Chunk),
    /// The source has nothing more; the position to commit when it differs from the last chunk's.
    End(Option<Position>),
}

/// Counts requests in the metrics and passes them on, without the secrets of the pipeline file.
struct Counted {
    requests: Arc<Requests>,
    figures: Arc<Figures>,
    secrets: SecretCover,
}

impl RequestLog for Counted {
    fn record(&self, record: RequestRecord) {
        Figures::count(&self.figures.requests, 1);
        Figures::count(&self.figures.retries, u64::from(record.attempt > 1));
        Figures::count(&self.figures.waited_us, record.waited_us);
        self.requests.record(RequestRecord {
            url: self.secrets.cover(&record.url),
            detail: record.detail.map(|detail| self.secrets.cover(&detail)),
            ..record
        });
    }
}

pub(in crate::engine) fn source_context(
    spec: &PipelineSpec,
    context: &RunContext,
    requests: &Arc<Requests>,
) -> PlatformContext {
    let source = SourceContext {
        pipeline: spec.name.clone(),
        clock: context.clock.clone(),
        seed: context.ids.make_seed(),
        project: context.project.clone(),
        framing: spec.extract.framing(),
        is_json: spec.extract.reads_json(),
        heading: spec.extract.heading(),
        packs: spec.extract.takes_messages(),
        chunk_records: chunk_records(spec),
        cancel: context.cancel.clone(),
        requests: Arc::new(Counted {
            requests: requests.clone(),
            figures: context.figures.clone(),
            secrets: spec.secrets.clone(),
        }),
        full: context.full,
        follow: context.follow,
        committed: watch::channel(None).1,
        aws: context.aws.clone(),
        position_storage: None,
        stored: None,
        lake_root: Some(context.lake.root().to_owned()),
    };
    let mut platform = PlatformContext {
        source,
        branch: context.branch.clone(),
        journals: context.journals.clone(),
        lake: Some(context.lake.clone()),
        definition: spec.digest.clone(),
        target: loaded_table(spec),
        sql: Some(context.lake_sql.clone()),
    };
    platform.source.stored = Some(Arc::new(OwnPayloads(platform.clone())));
    platform
}

fn loaded_table(spec: &PipelineSpec) -> Option<LoadedTable> {
    let target = spec.load.lake()?;
    let declared = spec.schema.declared_columns();
    let declared = declared.map(|(name, _)| name.to_owned()).collect();
    Some(LoadedTable {
        name: target.table.clone(),
        only_adds: target.only_adds(),
        declared: Arc::new(declared),
    })
}

/// Commits of fewer rows than this ask sources for smaller chunks; larger ones do not notice where a chunk ends.
const COMMIT_ROWS_SMALL: u64 = 16_384;

fn chunk_records(spec: &PipelineSpec) -> Option<usize> {
    let rows = Some(spec.buffer.rows).filter(|rows| *rows < COMMIT_ROWS_SMALL)?;
    usize::try_from(rows).ok().map(|rows| rows.max(1))
}

/// Reads until the source ends, the run is cancelled or the next stage is gone. A cancelled reader just stops, except one
/// that [drains](forebay_connectors::source::SplitReader::drain): its complete data is committed.
pub(in crate::engine) async fn read(
    job: Job,
    requests: Arc<Requests>,
    out: mpsc::Sender<Read>,
    stop: CancellationToken,
) -> Result<()> {
    let positions = PositionObjects::new(job.context.lake.clone(), job.run.id);
    let mut context = source_context(&job.spec, &job.context, &requests);
    context.source.cancel = stop.clone();
    context.source.committed = job.committed.subscribe();
    context.source.packs &= !job.attempt.is_careful();
    context.source.position_storage = Some(Arc::new(positions));
    let source = job
        .spec
        .source
        .open(&job.split, job.lease.position.clone(), context);
    let mut reader = tokio::select! {
        reader = source => reader?,
        () = stop.cancelled() => return Ok(()),
    };
    let figures = &job.context.figures;
    let clock = &job.context.clock;
    let mut give_up = None;
    loop {
        let next = match give_up {
            None => tokio::select! {
                next = reader.next() => next?,
                () = stop.cancelled() => {
                    if !reader.drain() {
                        return Ok(());
                    }
                    give_up = Some(clock.monotonic() + DRAIN);
                    continue;
                }
            },
            Some(at) => tokio::select! {
                biased;
                next = reader.next() => next?,
                // Data that is not read by then is left to the next run.
                () = clock.sleep(at.saturating_sub(clock.monotonic())) => return Ok(()),
            },
        };
        let Some(chunk) = next else { break };
        figures.source.add(0, chunk.bytes.len() as u64);
        Figures::count(&figures.payloads, u64::from(chunk.last));
        check_position(chunk.position.as_ref())?;
        out.send(Read::Chunk(chunk))
            .await
            .map_err(|_| stage_gone())?;
    }
    let end = reader.end_position();
    check_position(end.as_ref())?;
    out.send(Read::End(end)).await.map_err(|_| stage_gone())
}

fn check_position(position: Option<&Position>) -> Result<()> {
    let bytes = position.map_or(0, |position| position.to_string().len());
    if bytes > Position::BYTES_MAX {
        return Err(Error::unsupported(
            "position_too_large",
            format!(
                "the source's position is too large: {bytes} bytes (limit {})",
                Position::BYTES_MAX
            ),
        ));
    }
    Ok(())
}
