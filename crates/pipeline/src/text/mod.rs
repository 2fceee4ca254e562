//! Rows as text: JSON and CSV, one way for every sink, for quarantine and for `forebay sql`.
//!
//! Every value has a text that says which one it is: NaN and infinities are not nulls, an empty text is not NULL, and years that
//! Arrow cannot show are shown. Nothing here knows where the text goes.

mod csv;
mod instant;
mod json;

pub use csv::Csv;
pub use instant::shown;
pub use json::{NullFields, json_writer, write_json_lines};
pub(crate) use json::{encoder_options, no_json};
