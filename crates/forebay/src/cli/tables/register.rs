//! `forebay tables register`: takes a table that another engine has made into the catalog. Nothing is copied.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use forebay_core::{RefName, Result, TableName};

use crate::say;
use crate::wire::Workspace;

#[derive(Debug, Args)]
pub(crate) struct RegisterTable {
    /// Its name here, as `namespace.table`
    table: TableName,
    /// Its newest metadata file, `….metadata.json`: a path or a URL below the storage of the workspace
    metadata: String,
    /// The branch to register it on
    #[arg(long, default_value = "main")]
    branch: RefName,
}

impl RegisterTable {
    pub(super) async fn run(self, workspace: &Workspace) -> Result<ExitCode> {
        let location = location(&self.metadata);
        let author = workspace.author();
        let lake = workspace.lake();
        let registered = lake.register_external(&self.branch, &self.table, &location, &author);
        let registered = registered.await?;
        let columns = registered.schema().fields().len();
        let columns = match columns {
            1 => "1 column".to_owned(),
            columns => format!("{columns} columns"),
        };
        say::good(format_args!("registered {} ({columns})", self.table));
        Ok(ExitCode::SUCCESS)
    }
}

/// A URL as it is; a path as the URL of the file.
fn location(given: &str) -> String {
    if given.contains("://") {
        return given.to_owned();
    }
    let path = Path::new(given).canonicalize();
    path.map_or_else(
        |_| given.to_owned(),
        |path| format!("file://{}", path.display()),
    )
}
