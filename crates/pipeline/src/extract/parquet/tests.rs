//! Parquet files, good and hostile.
