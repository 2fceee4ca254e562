//! Rows as text: JSON and CSV, one way for every sink, for quarantine and for `forebay sql`.
//!
//! Every value has an unambiguous text: NaN and infinities are not nulls, an empty text is not NULL, and years that Arrow
//! cannot display are displayed. Nothing here depends on the target of the text.

mod csv;
mod instant;
mod json;

pub use csv::check_shown;
pub use csv::{Csv, no_text};
pub use instant::shown;
pub use json::{NullFields, json_writer, write_json_lines};
pub use json::{encoder_options, no_json, rows_as_json};
