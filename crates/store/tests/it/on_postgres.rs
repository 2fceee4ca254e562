//! The suite, with the store on a Postgres server.

use tempfile::TempDir;

use crate::world::postgres_rows as rows;
use crate::world::*;

/// `None`, with a line, where no Postgres is installed.
async fn world() -> Option<World> {
    World::on_server().await
}

fn new_url() -> Option<(String, Option<TempDir>)> {
    Some((schema_url()?, None))
}

#[path = "suite/mod.rs"]
mod suite;
