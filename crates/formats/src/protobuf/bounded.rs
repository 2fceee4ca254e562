//! A writer that takes a bounded number of bytes.

use std::io::{Error, ErrorKind, Result, Write};

/// Adds to `bytes` up to a bound; what goes beyond it is an error.
pub(super) struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
    left: usize,
    is_full: bool,
}

impl<'a> Bounded<'a> {
    pub(super) fn new(bytes: &'a mut Vec<u8>, max: usize) -> Self {
        Self {
            bytes,
            left: max,
            is_full: false,
        }
    }

    /// Whether there was more than the bound.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            self.is_full = true;
            return Err(Error::from(ErrorKind::FileTooLarge));
        };
        self.left = left;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
