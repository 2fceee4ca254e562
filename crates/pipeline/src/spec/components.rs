//! The components that a pipeline file may name: those of the connectors and those of the platform, seen as one.
//!
//! Knows no single component but the lake as a target.

use std::sync::Arc;

use forebay_config::{Component, Document, KeptReferences};
use forebay_connectors as connectors;
use forebay_connectors::sink::{Sink, SinkContext, Target};
use forebay_connectors::source::{Division, Source, SourceCapabilities, SplitReader};
use forebay_core::{Ident, NamedTables, Position, Result, SqlEngine};
use forebay_formats::{EXTRACTORS, Extractor};
use forebay_objects::AwsVariables;

use crate::platform::iceberg::{self, IcebergTarget};
use crate::platform::push::PushConfig;
use crate::platform::{self, PlatformContext, PlatformSource, PlatformSourceKind};
use crate::transform::TRANSFORMS;

/// The components of a stage, in the order of the reference.
pub fn components(stage: Stage) -> Vec<&'static dyn Component> {
    fn all<K: Component + ?Sized>(
        kinds: &'static [&'static K],
        upcast: fn(&'static K) -> &'static dyn Component,
    ) -> impl Iterator<Item = &'static dyn Component> {
        kinds.iter().map(move |kind| upcast(kind))
    }
    match stage {
        Stage::Source => all(connectors::SOURCES, |kind| kind)
            .chain(all(platform::SOURCES, |kind| kind))
            .collect(),
        Stage::Extract => all(EXTRACTORS, |kind| kind).collect(),
        Stage::Transform => all(TRANSFORMS, |kind| kind).collect(),
        Stage::Load => std::iter::once(LAKE as &dyn Component)
            .chain(all(connectors::SINKS, |kind| kind))
            .collect(),
    }
}

const LAKE: &iceberg::Kind = &iceberg::Kind;

/// A stage whose component a pipeline file chooses, with its key in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Source,
    Extract,
    Transform,
    Load,
}

impl Stage {
    pub const ALL: [Self; 4] = [Self::Source, Self::Extract, Self::Transform, Self::Load];

    pub fn key(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Extract => "extract",
            Self::Transform => "transform",
            Self::Load => "load",
        }
    }
}

/// Whether a stage has a component of this name.
pub(super) fn is_component(stage: Stage, name: &str) -> bool {
    components(stage).iter().any(|kind| kind.name() == name)
}

/// The extractor that belongs to the source of this name.
pub(super) fn own_extractor(source: &str) -> Option<Box<dyn Extractor>> {
    let mut kinds = EXTRACTORS.iter().filter(|kind| kind.name() == source);
    kinds.find_map(|kind| kind.of_own_source())
}

/// The references that sources resolve themselves.
pub(super) fn kept_references() -> Vec<KeptReferences> {
    let of = |kind: &&dyn PlatformSourceKind| {
        let path = format!("{}.{}", Stage::Source.key(), kind.name());
        let own = kind.own_reference();
        own.map(|kind| KeptReferences { path, kind })
    };
    platform::SOURCES.iter().filter_map(of).collect()
}

/// The source of a pipeline.
#[derive(Debug)]
pub enum ConfiguredSource {
    Connector(Box<dyn Source>),
    Platform(Box<dyn PlatformSource>),
}

impl ConfiguredSource {
    /// Checks a configuration and makes the source.
    pub fn build(name: &str, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Self> {
        if let Some(kind) = platform::SOURCES.iter().find(|kind| kind.name() == name) {
            return Ok(Self::Platform(kind.build(config, engine)?));
        }
        let kind = connectors::find_source(name)?;
        Ok(Self::Connector(kind.build(config)?))
    }

    pub fn capabilities(&self) -> SourceCapabilities<'_> {
        match self {
            Self::Connector(source) => source.capabilities(),
            Self::Platform(source) => source.capabilities(),
        }
    }

    /// Checks the options that come from the environment, without any I/O.
    pub fn check_environment(&self, aws: &AwsVariables) -> Result<()> {
        match self {
            Self::Connector(source) => source.check_environment(aws),
            Self::Platform(_) => Ok(()),
        }
    }

    /// How the source is divided into splits, when that may change from run to run.
    pub fn division(&self) -> Option<&dyn Division> {
        match self {
            Self::Connector(source) => source.division(),
            Self::Platform(_) => None,
        }
    }

    /// The tables of the lake that it reads, for a source whose rows are those of the lake.
    pub fn tables(&self) -> Option<&NamedTables> {
        match self {
            Self::Connector(_) => None,
            Self::Platform(source) => source.tables(),
        }
    }

    /// Whether its rows may be those of an earlier run once more, without `--full`.
    pub fn repeats_rows(&self) -> bool {
        match self {
            Self::Connector(_) => false,
            Self::Platform(source) => source.repeats_rows(),
        }
    }

    /// Push settings, for a source that accepts pushes.
    pub fn push(&self) -> Option<&PushConfig> {
        match self {
            Self::Connector(_) => None,
            Self::Platform(source) => source.push(),
        }
    }

    /// The independently read parts, at least one, with stable names.
    pub async fn splits(&self, context: &PlatformContext) -> Result<Vec<Ident>> {
        match self {
            Self::Connector(source) => source.splits(&context.source).await,
            Self::Platform(source) => source.splits(context).await,
        }
    }

    /// Starts reading a split after `position`.
    pub async fn open(
        &self,
        split: &Ident,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Box<dyn SplitReader>> {
        match self {
            Self::Connector(source) => source.open(split, position, context.source).await,
            Self::Platform(source) => source.open(split, position, context).await,
        }
    }
}

/// The target of a pipeline.
#[derive(Debug)]
pub enum ConfiguredTarget {
    /// The lake itself: rows, position, quarantine and raw index are one commit.
    Lake(IcebergTarget),
    Sink(Box<dyn Target>),
}

impl ConfiguredTarget {
    /// Checks a configuration and makes the target.
    pub fn build(name: &str, config: &Document) -> Result<Self> {
        if LAKE.name() == name {
            return Ok(Self::Lake(LAKE.build(config)?));
        }
        let kind = connectors::find_sink(name)?;
        Ok(Self::Sink(kind.build(config)?))
    }

    /// The target, for display: `quakes.events`.
    pub fn describe(&self) -> String {
        match self {
            Self::Lake(target) => target.table.to_string(),
            Self::Sink(target) => target.describe(),
        }
    }

    /// The lake table that the rows are appended to.
    pub fn lake(&self) -> Option<&IcebergTarget> {
        match self {
            Self::Lake(target) => Some(target),
            Self::Sink(_) => None,
        }
    }

    fn sink(&self) -> Option<&dyn Target> {
        match self {
            Self::Lake(_) => None,
            Self::Sink(target) => Some(target.as_ref()),
        }
    }

    /// Whether a run replaces the whole content of the target. Such a run reads its source from the beginning and ends,
    /// also where the source could be followed.
    pub fn replaces(&self) -> bool {
        match self {
            Self::Lake(target) => target.replaces(),
            Self::Sink(target) => target.replaces(),
        }
    }

    /// Whether its sink keeps its own positions, so that a record can be sent to it again and lands once.
    pub fn is_transactional(&self) -> bool {
        self.sink().is_some_and(Target::is_transactional)
    }

    /// Opens the sink for one split of a run; `None` for the lake.
    pub async fn open(&self, context: SinkContext) -> Result<Option<Box<dyn Sink>>> {
        match self.sink() {
            Some(target) => Ok(Some(target.open(context).await?)),
            None => Ok(None),
        }
    }
}
