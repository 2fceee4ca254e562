//! The receiving end of the fetching thread, held by the run.

use async_trait::async_trait;
use forebay_core::{Chunk, Result};
use tokio::sync::mpsc;

use crate::source::SplitReader;

pub(super) struct Reader {
    pub(super) chunks: mpsc::Receiver<Result<Chunk>>,
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        self.chunks.recv().await.transpose()
    }
}
