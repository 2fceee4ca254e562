//! The characters that give a CSV text its structure.

/// The characters of the format. All ASCII, so they are never part of another character in UTF-8 or Latin-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub delimiter: u8,
    pub quote: Option<u8>,
    /// `None`: a quote inside quotes is doubled.
    pub escape: Option<u8>,
    pub comment: Option<u8>,
    /// Blanks around a field are not part of it.
    pub trim: bool,
    /// A blank line is a record of one empty field.
    pub blank_records: bool,
}

impl Dialect {
    /// Commas and double quotes, as RFC 4180 has them.
    pub const COMMAS: Self = Self {
        delimiter: b',',
        quote: Some(b'"'),
        escape: None,
        comment: None,
        trim: false,
        blank_records: false,
    };
}
