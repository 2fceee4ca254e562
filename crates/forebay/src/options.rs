//! The options that every command has.

use std::path::PathBuf;

use clap::Args;

use crate::output::Format;
use crate::settings::LogFormat;

/// Heading of the options that every command has.
const GLOBAL: &str = "Global options";

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where Forebay keeps its data: catalog, raw zone, tables [default: PROJECT/.forebay]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", env = "FOREBAY_WORKSPACE")]
    pub(crate) workspace: Option<PathBuf>,
    /// The folder with `forebay.toml` and `pipelines/`
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "DIR",
        default_value = ".",
        env = "FOREBAY_PROJECT"
    )]
    pub(crate) project: PathBuf,
    /// Output format on stdout
    #[arg(long, global = true, value_enum, default_value_t, help_heading = GLOBAL)]
    pub(crate) format: Format,
    /// No progress on stderr
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) no_progress: bool,
    /// Only results and errors
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub(crate) quiet: bool,
    /// More detail on stderr (-v, -vv)
    #[arg(long, short, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Log format [default: `log.format` of forebay.toml, text]
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_enum,
        value_name = "FORMAT",
        env = "FOREBAY__LOG__FORMAT"
    )]
    pub(crate) log: Option<LogFormat>,
}
