//! SQL over a real lake: store in SQLite, files on disk, nothing faked but the clock.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this is a test")]

mod cancelled;
mod changes;
mod columns;
mod common_forms;
mod common_types;
mod conversion;
mod damaged;
mod date_parts;
mod duckdb;
mod far_dates;
mod fixture;
mod forms;
mod frames;
mod functions;
mod groups;
mod hidden_names;
mod ignored_clauses;
mod inserted;
mod item_fields;
mod lifted_conditions;
mod lists;
mod memory;
mod merged;
mod messages;
mod named_windows;
mod nested;
mod null_conditions;
mod offsets;
mod oracle;
mod ordered_aggregates;
mod percentiles;
mod postgres;
mod raw;
mod refused;
mod rivals;
mod rows;
mod sampled;
mod set_comparisons;
mod subqueries;
mod system;
mod travel;
mod truth;
