//! The lake of an example, in a folder of this machine, and the time that the process takes.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use forebay_core::Clock;
use forebay_lake::Lake;
use forebay_store::Store;
use object_store::local::LocalFileSystem;

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

pub(crate) async fn open_lake(folder: &Path, clock: &Arc<dyn Clock>) -> Result<Lake, Failed> {
    let store = Store::open(&folder.join("store.db"), Arc::clone(clock)).await?;
    let objects = Arc::new(LocalFileSystem::new_with_prefix(folder)?);
    let root = format!("file://{}", folder.display());
    Ok(Lake::new(store, objects, root, Arc::clone(clock)))
}

/// User and system time of this process so far.
pub(crate) fn cpu_seconds() -> Result<f64, Failed> {
    let usage = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = usage
        .rsplit(')')
        .next()
        .ok_or("no fields")?
        .split_whitespace()
        .collect();
    let ticks = |at: usize| -> Result<f64, Failed> { Ok(fields.get(at).ok_or("short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
