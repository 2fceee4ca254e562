//! The suite, with the store in a SQLite file.

use tempfile::TempDir;

use crate::world::sqlite_rows as rows;
use crate::world::*;

/// `None` never: SQLite is in the program.
async fn world() -> Option<World> {
    Some(World::in_file().await)
}

fn new_url() -> Option<(String, Option<TempDir>)> {
    let (url, dir) = file_url();
    Some((url, Some(dir)))
}

#[path = "suite/mod.rs"]
mod suite;
