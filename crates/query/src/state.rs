//! How the SQL engine is set up: UTC, microseconds, checked arithmetic, decimal literals, no files, no external tables, bounded memory.
//!
//! Nothing that can reach the machine is registered: no file formats, no table factories, and an object store
//! registry that knows the lake's own store and refuses every other address.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SessionStateDefaults, config::SessionConfig};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use forebay_lake::SpillFolder;
use object_store::ObjectStore;

use crate::address::{CATALOG, LAKE_URL, NO_NAMESPACE};
use crate::function::sized::ResultLimit;
use crate::function::{self, sized};
use crate::semantics::Semantics;
use crate::semantics::coerce::CommonTypes;
use crate::semantics::lifted::LiftedKeys;
use crate::semantics::operator::OwnOperators;
use crate::semantics::set_comparison::SetComparisons;
use crate::spill_pool::SpillPool;
use crate::{ntile, optimize, physical, types, wide};

/// Rows in one batch between operators.
const BATCH_ROWS: usize = 8_192;
/// Parquet footers kept in memory.
const FOOTER_CACHE_BYTES_MAX: usize = 64 << 20;
/// Memory of all transforms of one engine together.
const TRANSFORM_MEMORY_BYTES_MAX: usize = 256 << 20;

/// Limits of an interactive query.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    pub(crate) memory_bytes: usize,
    pub(crate) spill_bytes: u64,
    pub(crate) spill_dir: Option<PathBuf>,
    pub(crate) threads: usize,
}

/// Memory of one partition, below which fewer are better than more: each holds tables and buffers of its own.
const PARTITION_BYTES_MIN: usize = 16 << 20;
/// Memory that a sort keeps for merging what it has spilled: at most this, and one part in so many of all.
const MERGE_BYTES_MAX: usize = 10 << 20;
const MERGE_SHARE: usize = 16;

impl Resources {
    fn partitions(&self) -> usize {
        let fitting = (self.memory_bytes / PARTITION_BYTES_MIN).max(1);
        self.threads.min(fitting)
    }

    fn merge_bytes(&self) -> usize {
        (self.memory_bytes / MERGE_SHARE).min(MERGE_BYTES_MAX)
    }
}

/// State for SQL over batches in memory: one thread, nothing on disk, no store.
pub(crate) fn for_transforms() -> Result<SessionState> {
    let mut config = config(1);
    // The result of a transform becomes a table, whose strings are Utf8.
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(TRANSFORM_MEMORY_BYTES_MAX)))
        .with_disk_manager_builder(
            DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
        )
        .with_object_store_registry(Arc::new(OnlyLake(None)))
        .build_arc()?;
    Ok(state(config, runtime, ResultLimit::TRANSFORM))
}

/// State for queries over the lake.
#[derive(Debug)]
pub(crate) struct QueryState {
    pub(crate) session: SessionState,
    /// Why nothing can be spilled: queries run even on a full or read-only disk.
    pub(crate) spill_failure: Option<Arc<str>>,
}

/// State for queries over the lake.
pub(crate) fn for_queries(lake: Arc<dyn ObjectStore>, resources: &Resources) -> Result<QueryState> {
    let mut spill_failure = None;
    let mut folder = None;
    let mode = match &resources.spill_dir {
        Some(root) => match SpillFolder::create(root) {
            Ok(made) => {
                let mode = DiskManagerMode::Directories(vec![made.path().to_owned()]);
                folder = Some(Arc::new(made));
                mode
            }
            Err(error) => {
                spill_failure = Some(format!("{}: {error}", root.display()).into());
                DiskManagerMode::Disabled
            }
        },
        None => DiskManagerMode::OsTmpDirectory,
    };
    let pool = Arc::new(SpillPool::new(resources.memory_bytes));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::clone(&pool) as Arc<dyn MemoryPool>)
        .with_disk_manager_builder(
            DiskManagerBuilder::default()
                .with_mode(mode)
                .with_max_temp_directory_size(resources.spill_bytes),
        )
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES_MAX)
        .with_object_store_registry(Arc::new(OnlyLake(Some(lake))))
        .build_arc()?;
    let limit = ResultLimit::of_memory(resources.memory_bytes);
    // The lake's catalog has an `information_schema` of its own.
    let mut config = config(resources.partitions())
        .with_information_schema(false)
        .with_extension(pool);
    let execution = &mut config.options_mut().execution;
    execution.sort_spill_reservation_bytes = resources.merge_bytes();
    if let Some(folder) = folder {
        // Answers hold it too: the folder is there as long as one of them.
        config = config.with_extension(folder);
    }
    Ok(QueryState {
        session: state(config, runtime, limit),
        spill_failure,
    })
}

fn config(threads: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_batch_size(BATCH_ROWS)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, NO_NAMESPACE)
        .with_information_schema(true);
    let options: &mut ConfigOptions = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.parse_float_as_decimal = true;
    options.execution.time_zone = Some("+00:00".to_owned());
    options.execution.parquet.enable_page_index = true;
    // It compares the metadata of fields too, which a union of casts has in one plan and not in the other. Values are checked
    // against the schema whenever a batch is made.
    options.execution.skip_physical_aggregate_schema_check = true;
    options.explain.show_schema = false;
    config
}

fn state(config: SessionConfig, runtime: Arc<RuntimeEnv>, limit: ResultLimit) -> SessionState {
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(expr_planners())
        .with_type_planner(types::planner())
        .with_scalar_functions(scalars(limit))
        .with_aggregate_functions(aggregates())
        .with_window_functions(windows())
        .with_table_function_list(SessionStateDefaults::default_table_functions())
        .with_analyzer_rules(analyzer_rules(limit))
        .with_optimizer_rules(optimize::rules())
        .with_physical_optimizer_rules(physical::rules(limit))
        .build()
}

/// Ours before the engine's own.
fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(OwnOperators::new())];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}

/// The engine's rules between ours: [`SetComparisons`], [`LiftedKeys`] and [`CommonTypes`] before types are settled, [`Semantics`] after.
fn analyzer_rules(limit: ResultLimit) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(SetComparisons),
        Arc::new(LiftedKeys),
        Arc::new(CommonTypes),
    ];
    rules.extend(Analyzer::new().rules);
    rules.push(Arc::new(Semantics::new(limit)));
    rules
}

/// The engine's own with bounds, and ours: of two with one name the later counts.
fn scalars(limit: ResultLimit) -> Vec<Arc<ScalarUDF>> {
    let own = SessionStateDefaults::default_scalar_functions();
    let own = own.into_iter().map(function::time_text::of_instants);
    let own = own.map(function::series::with_instants);
    let own = own.map(function::nested::with_items);
    let own = own.map(|function| limit.bound(function));
    let own = own.map(function::map::with_keys_of_each_row);
    let own = own.map(function::peers::with_literals);
    let mut functions: Vec<Arc<ScalarUDF>> = own.collect();
    functions.extend(function::all());
    functions.push(sized::cast_to());
    functions
}

/// The engine's own in their forms for moving frames, with a `sum` and an `avg` that do not wrap round: of two with one name the
/// later counts.
fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let own = SessionStateDefaults::default_aggregate_functions().into_iter();
    let own = own
        .map(wide::over_frames)
        .map(wide::with_own_order)
        .map(wide::with_exact_weight);
    let mut functions: Vec<Arc<AggregateUDF>> = own.collect();
    functions.extend(wide::all());
    functions
}

/// The engine's own, with an `ntile` that is SQL's: of two with one name the later counts.
fn windows() -> Vec<Arc<WindowUDF>> {
    let mut functions = SessionStateDefaults::default_window_functions();
    functions.push(ntile::ntile());
    functions
}

/// Answers for the lake's address and no other: not for `file://`, which the engine's own registry would serve.
#[derive(Debug)]
struct OnlyLake(Option<Arc<dyn ObjectStore>>);

impl ObjectStoreRegistry for OnlyLake {
    fn register_store(
        &self,
        _: &url::Url,
        _: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &url::Url) -> Result<Arc<dyn ObjectStore>> {
        match &self.0 {
            Some(store) if url.as_str().starts_with(LAKE_URL) => Ok(store.clone()),
            _ => Err(DataFusionError::Configuration(format!(
                "SQL may not reach {url}"
            ))),
        }
    }
}
