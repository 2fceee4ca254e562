//! What a source reads: its URL and parameters, as the position remembers them.
//!
//! A changed URL may name the same records, on another host or with another page size, or others. Reading it without being
//! asked could load every row twice, and going on in the middle could leave rows out, so that is left to the user.

use forebay_core::{Error, Result};
use url::Url;

use super::cursor::resource_identity;
use super::fetch::Fetcher;
use super::position::Progress;

/// The URL of a pipeline file.
#[derive(Debug)]
pub(super) struct Resource {
    url: Url,
    /// Secrets are covered in it: a renewed one does not change what is read.
    pub(super) identity: String,
}

impl Resource {
    pub(super) fn of(fetcher: &Fetcher) -> Self {
        let url = fetcher.requests.resource(&fetcher.config);
        let identity = hex::encode(resource_identity(&fetcher.requests.covered(&url)));
        Self { url, identity }
    }

    /// Positions of earlier versions do not always know what was read.
    fn has_changed(&self, progress: &Progress) -> bool {
        let read = progress.resource.as_ref();
        read.is_some_and(|read| *read != self.identity)
    }

    /// Says that nothing is requested, and which command reads again.
    pub(super) fn report_read(&self, progress: &Progress, fetcher: &Fetcher) {
        let pipeline = fetcher.context.pipeline.as_str();
        let url = fetcher.requests.shown(&self.url);
        if self.has_changed(progress) {
            tracing::warn!(
                pipeline,
                url,
                "the URL has changed since the source was read to its end, and nothing was requested: a source without `cursor` is read once; \
                 `forebay run {pipeline} --full` loads it in addition, `forebay pipeline reset {pipeline}` drops the loaded rows first"
            );
        } else {
            tracing::info!(
                pipeline,
                url,
                "nothing was requested: a source without `cursor` is read once; `forebay run {pipeline} --full` reads it again"
            );
        }
    }

    /// Says that a source with a cursor goes on from the newest record of the URL that was read before.
    pub(super) fn report_newest(&self, progress: &Progress, fetcher: &Fetcher) {
        if !self.has_changed(progress) {
            return;
        }
        let (Some(cursor), Some(newest)) = (&fetcher.config.cursor, &progress.newest) else {
            return;
        };
        let pipeline = fetcher.context.pipeline.as_str();
        tracing::warn!(
            pipeline,
            url = fetcher.requests.shown(&self.url),
            newest = cursor.format.show(newest),
            "the URL has changed since the last pass: of the new one, only records from the newest that was loaded are requested; \
             `forebay run {pipeline} --full` loads all of it in addition, `forebay pipeline reset {pipeline}` drops the loaded rows first"
        );
    }

    /// Refuses to go on in the middle of a pass that began with another URL.
    ///
    /// # Errors
    /// `source_changed`: its next page is not the one that follows.
    pub(super) fn refuse_changed(&self, progress: &Progress, fetcher: &Fetcher) -> Result<()> {
        let Some(pass) = progress.pass.as_ref() else {
            return Ok(());
        };
        if !self.has_changed(progress) {
            return Ok(());
        }
        let pipeline = fetcher.context.pipeline.as_str();
        let message = format!(
            "the URL has changed to {} in the middle of a pass, after page {}: what is next in the list that was being read may \
             be elsewhere in this one",
            fetcher.requests.shown(&self.url),
            pass.pages
        );
        Err(Error::config("source_changed", message).with_hint(format!(
            "put `url` and `params` back until the pass has ended, or run `forebay pipeline reset {pipeline}` to drop the loaded \
             rows and read the new one, or `forebay run {pipeline} --full` to load it in addition"
        )))
    }
}
